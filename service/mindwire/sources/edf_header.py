"""Units and record times of EDF, BDF and GDF files, which MNE-Python does not report.

MNE takes values without a unit that it knows for volts, and the records of a discontinuous file (EDF+D, BDF+D) for
contiguous ones. The file itself states both.

References
----------
Kemp & Olivan 2003, "European data format 'plus' (EDF+)", https://www.edfplus.info/specs/edfplus.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import RecordingError
from mindwire.sources.recorded_stream import FORMATS

_FIXED_BYTES = 256
# Offsets of the channels' fields in bytes per channel: labels, physical dimensions, samples per record.
_LABELS, _DIMENSIONS, _GDF2_CODES, _COUNTS = 0, 96, 102, 216
_GDF_CODES = {4256: "V", 4274: "mV", 4275: "uV", 4276: "nV"}
_MICRO = ("\u03bcV", "\u00b5V", "\x83\xcaV", "uV")
_LEAST_PAUSE_SECONDS = 0.05
_ONSET = re.compile(rb"[+-]\d{1,12}(\.\d{0,12})?")


@dataclass(frozen=True, slots=True)
class EdfHeader:
    """Header of an EDF, BDF or GDF file.

    Units and factors are those of the channels but annotations: a unit is empty where none is stated, MNE-Python's factor one
    where it does not know the unit.
    """

    path: Path
    units: tuple[str, ...]
    factors: tuple[float, ...]
    discontinuous: bool = False  # there may be pauses between the data records
    record_seconds: float = 0.0
    n_bytes: int = 0  # of the header
    record_bytes: int = 0
    annotations: tuple[slice, ...] = ()  # bytes of each channel of annotations in a record

    @classmethod
    def read(cls, path: Path) -> EdfHeader:
        """Read a header that MNE-Python accepts."""
        try:
            with path.open("rb") as file:
                head = file.read(_FIXED_BYTES)
                if head.startswith(b"GDF"):
                    return cls._gdf(path, head, file.read(1 << 20))
                n = int(head[252:256])
                _check_fits(path, n)
                fields = file.read(n * _FIXED_BYTES)
            sample = 3 if head[0] == 0xFF else 2
            ends = list(accumulate(sample * int(text) for text in _texts(fields, n, _COUNTS, 8)))
            notes = [label in ("EDF Annotations", "BDF Annotations") for label in _texts(fields, n, _LABELS, 16)]
            units = tuple(unit for unit, note in zip(_texts(fields, n, _DIMENSIONS, 8), notes, strict=True) if not note)
            return cls(
                path,
                units,
                factors=tuple(1e-6 if unit in _MICRO else 1e-3 if unit == "mV" else 1.0 for unit in units),
                discontinuous=head[192:197] in (b"EDF+D", b"BDF+D"),
                record_seconds=float(head[244:252].decode("latin-1").replace(",", ".")),
                n_bytes=_FIXED_BYTES * (n + 1),
                record_bytes=ends[-1],
                annotations=tuple(slice(*part) for part, note in zip(pairwise([0, *ends]), notes, strict=True) if note),
            )
        except (OSError, ValueError) as error:
            msg = f"{path}: expected a recording in {FORMATS}, found something else or a damaged header."
            raise RecordingError(msg) from error

    @classmethod
    def _gdf(cls, path: Path, head: bytes, fields: bytes) -> EdfHeader:
        second = float(head[4:8]) >= 1.9
        n = int.from_bytes(head[252 : 254 if second else 256], "little")
        _check_fits(path, n)
        if not second:
            units = tuple(_texts(fields, n, _DIMENSIONS, 8))
            return cls(path, units, tuple(1e-6 if unit.startswith("uV") else 1.0 for unit in units))
        codes = np.frombuffer(fields, "<u2", n, n * _GDF2_CODES).tolist()
        units = tuple(_GDF_CODES.get(code, "" if code in (0, 512) else f"GDF unit {code}") for code in codes)
        return cls(path, units, tuple({"uV": 1e-6, "mV": 1e-3}.get(unit, 1.0) for unit in units))

    def records(self) -> tuple[NDArray[np.float64], list[tuple[float, str]]]:
        """Return the onset of each record, and the annotations, in seconds since the first record's onset.

        Raise RecordingError if a record does not state its time, or begins before the record before it.
        """
        onsets: list[float] = []
        texts: list[tuple[float, str]] = []
        with self.path.open("rb") as file:
            file.seek(self.n_bytes)
            while len(record := file.read(self.record_bytes)) == self.record_bytes:
                found = [part for note in self.annotations for part in _annotation_lists(record[note])]
                # The first list of a record holds its time and begins with an empty text.
                if not found or found[0][1][0]:
                    msg = (
                        f"{self.path}: expected the time of each data record, since the file says that it has pauses "
                        f"(EDF+D), found none in record {len(onsets) + 1}; export it as EDF+C without pauses, or as XDF."
                    )
                    raise RecordingError(msg)
                onsets.append(found[0][0])
                texts += [(onset, text) for onset, several in found for text in several if text]
        times = np.array(onsets)
        if len(times) > 1 and np.diff(times).min() < 0:
            at = int(np.argmin(np.diff(times))) + 2
            msg = f"{self.path}: expected data records in the order of time, found that record {at} begins before record {at - 1}."
            raise RecordingError(msg)
        first = onsets[0] if onsets else 0.0
        return times - first, [(onset - first, text) for onset, text in texts]

    def paused_records(self) -> tuple[NDArray[np.float64], list[tuple[float, str]]] | None:
        """Return :meth:`records` of a file with pauses, and None of one without.

        A file that is marked as continuous (EDF+C, BDF+C) has pauses where its records' own times leave some out; times
        that are only rounded do not.
        """
        if self.discontinuous:
            return self.records()
        if not self.annotations or not self.record_seconds > 0:
            return None
        try:
            onsets, annotations = self.records()
        except RecordingError:  # a continuous file need not state times
            return None
        off = np.abs(np.diff(onsets) - self.record_seconds)
        paused = (off > max(0.5 * self.record_seconds, _LEAST_PAUSE_SECONDS)).any()
        return (onsets, annotations) if paused else None


def _check_fits(path: Path, n_channels: int) -> None:
    """Refuse a header that claims to be longer than the file, before memory is allocated for its channels."""
    if n_channels < 1 or path.stat().st_size < _FIXED_BYTES * (n_channels + 1):
        msg = f"{n_channels} channels do not fit into the file"
        raise ValueError(msg)


def _texts(fields: bytes, n: int, offset: int, width: int) -> list[str]:
    parts = np.frombuffer(fields, f"S{width}", n, n * offset)
    return [part.decode("latin-1").strip("\x00 ") for part in parts.tolist()]


def _annotation_lists(channel: bytes) -> list[tuple[float, list[str]]]:
    """Parse the time-stamped annotation lists of a record (onset, texts); malformed ones are left out."""
    lists = []
    for part in channel.split(b"\x00"):
        head, *texts = part.split(b"\x14")
        onset = head.partition(b"\x15")[0]  # a duration may follow
        if texts and _ONSET.fullmatch(onset):
            lists.append((float(onset), [text.decode("utf-8", "replace") for text in texts]))
    return lists
