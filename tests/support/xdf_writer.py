"""A small writer of XDF files, sound or broken, for tests; there is no maintained one for Python."""

from __future__ import annotations

import struct
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

UUID = bytes.fromhex("43a546dccbf5410fb30ed5467383cbe4")


def varlen(value: int, width: int | None = None) -> bytes:
    width = width or (1 if value < 256 else 4 if value < 1 << 32 else 8)
    return bytes([width]) + value.to_bytes(width, "little")


def chunk(tag: int, content: bytes, stream_id: int | None = None, length: int | None = None) -> bytes:
    """``length`` overrides the true one, for lies."""
    body = struct.pack("<H", tag) + (b"" if stream_id is None else struct.pack("<I", stream_id)) + content
    return varlen(len(body) if length is None else length) + body


def header_xml(
    name="EEG-Test",
    type="EEG",  # noqa: A002
    n_channels=2,
    sfreq=100.0,
    dtype="float32",
    labels=None,
    unit="microvolts",
    source_id="cap-1",
    extra="",
) -> str:
    channels = "".join(
        f"<channel><label>{escape(label)}</label><unit>{unit}</unit><type>EEG</type></channel>"
        for label in labels or ()
    )
    return (
        f"<?xml version='1.0'?><info><name>{escape(name)}</name><type>{type}</type>"
        f"<channel_count>{n_channels}</channel_count><nominal_srate>{sfreq!r}</nominal_srate>"
        f"<channel_format>{dtype}</channel_format><source_id>{source_id}</source_id><uid>u-{source_id}</uid>"
        f"<hostname>host</hostname><desc><channels>{channels}</channels>{extra}</desc></info>"
    )


def samples_content(values, times, dtype="float32") -> bytes:
    """Samples; a time of None is left out of the file."""
    parts = [varlen(len(times))]
    codes = {"float32": "<f4", "double64": "<f8", "int64": "<i8", "int32": "<i4", "int16": "<i2", "int8": "i1"}
    for row, time in zip(values, times, strict=True):
        parts.append(b"\x00" if time is None else b"\x08" + struct.pack("<d", time))
        if dtype == "string":
            for text in row:
                raw = text.encode()
                parts.append(varlen(len(raw)) + raw)
        else:
            parts.append(np.asarray(row, dtype=codes[dtype]).tobytes())
    return b"".join(parts)


class XdfWriter:
    """Collects chunks in order; ``write`` puts them into a file."""

    def __init__(self) -> None:
        self.parts: list[bytes] = [chunk(1, b"<?xml version='1.0'?><info><version>1.0</version></info>")]
        self._dtypes: dict[int, str] = {}

    def stream(self, stream_id=1, **header) -> XdfWriter:
        self._dtypes[stream_id] = header.get("dtype", "float32")
        return self.raw(chunk(2, header_xml(**header).encode(), stream_id))

    def samples(self, values, times, stream_id=1) -> XdfWriter:
        return self.raw(chunk(3, samples_content(values, times, self._dtypes[stream_id]), stream_id))

    def offset(self, time, value, stream_id=1) -> XdfWriter:
        return self.raw(chunk(4, struct.pack("<dd", time, value), stream_id))

    def boundary(self) -> XdfWriter:
        return self.raw(chunk(5, UUID))

    def footer(self, count, stream_id=1) -> XdfWriter:
        return self.raw(chunk(6, f"<info><sample_count>{count}</sample_count></info>".encode(), stream_id))

    def raw(self, data: bytes) -> XdfWriter:
        self.parts.append(data)
        return self

    def bytes(self) -> bytes:
        return b"XDF:" + b"".join(self.parts)

    def write(self, path: Path) -> Path:
        path.write_bytes(self.bytes())
        return path


def eeg_file(
    path: Path,
    samples: np.ndarray,
    sfreq: float,
    labels=None,
    *,
    start=1000.0,
    markers=(),
    chunk_samples=50,
    unit="microvolts",
    name="EEG-Test",
    source_id="cap-1",
    times=None,
) -> Path:
    """An EEG stream (id 1) and string markers (id 2), as a recorder writes them."""
    dtype = {"f4": "float32", "f8": "double64", "i2": "int16", "i4": "int32"}[samples.dtype.str[1:]]
    writer = XdfWriter()
    writer.stream(
        1,
        name=name,
        n_channels=samples.shape[1],
        sfreq=sfreq,
        dtype=dtype,
        labels=labels,
        unit=unit,
        source_id=source_id,
    )
    writer.stream(
        2, name=f"{name}-markers", type="Markers", n_channels=1, sfreq=0.0, dtype="string", source_id=f"{source_id}-m"
    )
    if times is None:
        times = start + np.arange(len(samples)) / sfreq
    for at in range(0, len(samples), chunk_samples):
        piece = slice(at, at + chunk_samples)
        writer.samples(samples[piece], times[piece].tolist())
        if at // chunk_samples % 20 == 0:
            writer.offset(float(times[at]), 0.0, 1).offset(float(times[at]), 0.0, 2).boundary()
    for time, label in markers:
        writer.samples([[label]], [time], 2)
    return writer.footer(len(samples)).footer(len(markers), 2).write(path)
