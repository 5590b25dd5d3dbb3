"""Small writers of EDF, BDF and BrainVision files, sound or odd, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def _field(text: object, width: int) -> bytes:
    return str(text).encode("latin-1")[:width].ljust(width)


def edf_file(
    path: Path,
    values: np.ndarray,
    labels,
    onsets,
    annotations=(),
    *,
    unit="uV",
    kind="EDF+C",
    sfreq=100,
) -> Path:
    """Records of a second each with whole numbers of the unit; an onset of None leaves its record's time out."""
    bdf = kind.startswith("BDF")
    onsets = list(onsets)
    limit = 8388607 if bdf else 32767
    n, text_bytes = len(labels) + 1, 120
    channels = [*labels, "BDF Annotations" if bdf else "EDF Annotations"]
    width = 3 if bdf else 2
    head = b"\xffBIOSEMI" if bdf else _field(0, 8)
    head += _field("X X X X", 80) + _field("Startdate 02-JAN-2024 X X X", 80) + b"02.01.2403.04.05"
    head += _field(256 * (n + 1), 8) + _field(kind, 44) + _field(len(onsets), 8) + _field(1, 8) + _field(n, 4)
    head += b"".join(_field(label, 16) for label in channels) + _field("", 80 * n)
    head += b"".join(_field(unit, 8) for _ in labels) + _field("", 8)
    for low in (-limit, -limit):
        head += b"".join(_field(low, 8) for _ in channels) + b"".join(_field(limit, 8) for _ in channels)
    head += _field("", 80 * n) + b"".join(_field(sfreq, 8) for _ in labels) + _field(text_bytes // width, 8)
    head += _field("", 32 * n)
    body = b""
    pending = list(annotations)
    for record, onset in enumerate(onsets):
        block = values[record * sfreq : (record + 1) * sfreq].astype("<i4").T
        for row in block:
            body += row.astype("<i2").tobytes() if not bdf else row.copy().view("u1").reshape(-1, 4)[:, :3].tobytes()
        text = b"" if onset is None else b"%+.12g\x14\x14\x00" % round(onset, 9)
        here = [one for one in pending if record == len(onsets) - 1 or one[0] < (onset or 0) + 1]
        for time, label in here:
            pending.remove((time, label))
            text += b"%+.12g\x14%s\x14\x00" % (round(time, 9), label.encode())
        body += text.ljust(text_bytes, b"\x00")
    path.write_bytes(head + body)
    return path


def brainvision_file(path: Path, values: np.ndarray, labels, segments, *, sfreq=100) -> Path:
    """Microvolts with a cue a second before the end; segments are (first sample from 1, description, date)."""
    path.with_suffix(".eeg").write_bytes(values.astype("<f4").tobytes())
    channels = "\n".join(f"Ch{i}={label},,1,\xb5V" for i, label in enumerate(labels, 1))
    path.write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={path.stem}.eeg\nMarkerFile={path.stem}.vmrk\nDataFormat=BINARY\nDataOrientation=MULTIPLEXED\n"
        f"NumberOfChannels={len(labels)}\nSamplingInterval={1e6 / sfreq:g}\n\n[Binary Infos]\n"
        f"BinaryFormat=IEEE_FLOAT_32\n\n[Channel Infos]\n{channels}\n",
        encoding="utf-8",
    )
    marks = [("New Segment", "", 1, "20240102030405000000")]
    marks += [("New Segment", text, at, date) for at, text, date in segments]
    marks += [("Stimulus", "S  1", len(values) - sfreq + 1, "")]
    lines = "\n".join(
        f"Mk{i}={kind},{text},{at},1,0" + (f",{date}" if date else "")
        for i, (kind, text, at, date) in enumerate(marks, 1)
    )
    path.with_suffix(".vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={path.stem}.eeg\n\n[Marker Infos]\n{lines}\n",
        encoding="utf-8",
    )
    return path


def eeglab_file(path: Path, values: np.ndarray, labels, events, *, sfreq=100) -> Path:
    """Microvolts in one file; events are (latency from 1, type, duration in samples)."""
    from scipy.io import savemat

    rows = [{"type": kind, "latency": float(at), "duration": float(length)} for at, kind, length in events]
    document = {
        "setname": "x",
        "nbchan": len(labels),
        "pnts": len(values),
        "trials": 1,
        "srate": sfreq,
        "xmin": 0.0,
        "xmax": (len(values) - 1) / sfreq,
        "data": values.T.astype(np.float32),
        "chanlocs": np.array([(label,) for label in labels], dtype=[("labels", object)]),
        "event": np.array(
            [(row["type"], row["latency"], row["duration"]) for row in rows],
            dtype=[("type", object), ("latency", object), ("duration", object)],
        ),
        "ref": "common",
        "icaweights": np.empty((0, 0)),
    }
    savemat(path, {"EEG": document})
    return path


def gdf_file(path: Path, values: np.ndarray, labels, events, *, unit="uV", sfreq=100) -> Path:
    """GDF 1.25 in records of a second with whole numbers of the unit; events are (sample from 1, code)."""
    n, limit = len(labels), 32767
    head = b"GDF 1.25" + _field("X X", 80) + _field("run", 80) + _field("2024010203040500", 16)
    head += np.int64(256 * (n + 1)).tobytes() + bytes(44) + np.int64(len(values) // sfreq).tobytes()
    head += np.array([1, 1, n], "<u4").tobytes()
    head += b"".join(_field(label, 16) for label in labels) + _field("", 80 * n)
    head += b"".join(_field(unit, 8) for _ in labels)
    head += np.full(n, -limit, "<f8").tobytes() + np.full(n, limit, "<f8").tobytes()
    head += np.full(n, -limit, "<i8").tobytes() + np.full(n, limit, "<i8").tobytes()
    head += _field("", 80 * n) + np.full(n, sfreq, "<i4").tobytes() + np.full(n, 3, "<i4").tobytes() + bytes(32 * n)
    records = [values[at : at + sfreq].astype("<i2").T.tobytes() for at in range(0, len(values), sfreq)]
    table = b"\x01" + int(sfreq).to_bytes(3, "little") + len(events).to_bytes(4, "little")
    at, codes = zip(*events, strict=True)
    path.write_bytes(
        head + b"".join(records) + table + np.array(at, "<u4").tobytes() + np.array(codes, "<u2").tobytes()
    )
    return path
