"""Discontinuities of recordings that MNE-Python reads, and the time of each sample.

MNE gives the samples of such a file without a pause; an annotation, a marker file or the data records state that samples are
missing between two of them, each format in its own way.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.sources.edf_header import EdfHeader

# MNE's own names of joined recordings, and of a stretch that was not acquired and holds zeros.
_JOINED = ("bad boundary", "edge boundary", "bad_disconnection")
_SKIPPED = "bad_acq_skip"
_BOUNDARY = "boundary"  # EEGLAB's; its duration is that of the signal which is no longer in the file
_BOUNDARY_CODE = "-99"  # the same, where EEGLAB's events are numbers
_SEGMENT = "new segment"  # BrainVision's
_RUN = "32766"  # GDF's start of a new run
_LOST = re.compile(r"lostsamples:\s*(\d{1,12})", re.IGNORECASE)
_SEGMENT_LINE = re.compile(r"^Mk\d+=New Segment,([^,]*),(\d{1,15}),[^,]*,[^,]*,?(\d{20})?", re.MULTILINE)
_MARKER_FILE = re.compile(r"^MarkerFile\s*=\s*(.+?)\s*$", re.MULTILINE)
_ROUNDING = 1e-3  # of a sample


@dataclass(frozen=True, slots=True)
class Timeline:
    """Times of samples, which consist of contiguous parts."""

    sfreq: float
    starts: NDArray[np.intp]  # first sample of each part; the first is 0
    times: NDArray[np.float64]  # seconds of each part's first sample
    breaks: NDArray[np.intp]  # samples before which others are missing
    kept: NDArray[np.bool_]  # samples that were acquired

    def at(self, samples: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the times of samples in seconds."""
        part = np.searchsorted(self.starts, samples, side="right") - 1
        result: NDArray[np.float64] = self.times[part] + (samples - self.starts[part]) / self.sfreq
        return result

    def of(self, seconds: float) -> float:
        """Return the time of an event that the file counts in seconds of signal, without pauses."""
        part = max(0, int(np.searchsorted(self.starts, seconds * self.sfreq + 0.5, side="right")) - 1)
        return float(self.times[part] + seconds - self.starts[part] / self.sfreq)


def cut(label: str, suffix: str) -> str:
    """Return the kind of an annotation which states that samples are missing; empty for an event."""
    text = label.strip().casefold().removeprefix("comment/")  # as MNE exports its own to BrainVision
    if text in _JOINED:
        return "joined"
    if text.startswith(_SEGMENT) or _LOST.match(text):
        return "segment"
    if text == _BOUNDARY or (suffix == ".set" and text.removesuffix(".0") == _BOUNDARY_CODE):
        return "boundary"
    if suffix == ".gdf" and text == _RUN:
        return "run"
    return "skipped" if text == _SKIPPED else ""


def timeline_of_records(header: EdfHeader, onsets: NDArray[np.float64], sfreq: float, n_samples: int) -> Timeline:
    """Return the timeline of an EDF+D or BDF+D file, by the onsets of its data records."""
    length = header.record_seconds
    starts = np.rint(np.arange(len(onsets)) * length * sfreq).astype(np.intp)
    missing = np.diff(onsets, prepend=onsets[:1] - length) - length
    inside = starts < n_samples
    gaps = np.abs(missing) > 0.5 / sfreq  # also where a record begins before the one before it ends
    return Timeline(sfreq, starts[inside], onsets[inside], starts[inside & gaps], np.ones(n_samples, dtype=bool))


def timeline_of_annotations(raw: Any, path: Path) -> Timeline:
    """Return the timeline of any other file, by its annotations and BrainVision's marker file."""
    sfreq, n = float(raw.info["sfreq"]), len(raw.times)
    suffix = path.suffix.casefold()
    kept = np.ones(n, dtype=bool)
    segments = _segment_gaps(path, sfreq) if suffix in (".vhdr", ".ahdr") else {}
    missing = {0: 0.0, **{first: gap for first, gap in segments.items() if 0 < first < n}}
    found = _annotations(raw, path)
    for onset, duration, label in zip(found.onset.tolist(), found.duration.tolist(), found.description, strict=True):
        kind = cut(label, suffix)
        first = math.ceil((onset - raw.first_time) * sfreq - _ROUNDING)
        known = duration if math.isfinite(duration) and duration > 0 else 0.0
        gap: float | None = None
        if kind == "skipped" or (kind == "joined" and known):
            kept[max(first, 0) : max(first + round(known * sfreq), 0)] = False
        elif kind == "segment":
            lost = _LOST.search(label)
            gap = int(lost[1]) / sfreq if lost else segments.get(first, 0.0)
        elif kind:
            gap = known if kind == "boundary" else 0.0
        if gap is not None and 0 < first < n:
            missing[first] = max(gap, missing.get(first, 0.0))
    starts = np.array(sorted(missing), dtype=np.intp)
    shift = np.cumsum([missing[int(start)] for start in starts])
    return Timeline(sfreq, starts, starts / sfreq + shift, starts[1:], kept)


def _annotations(raw: Any, path: Path) -> Any:
    """MNE's annotations; of EEGLAB's boundaries with the whole duration, which it cuts at the end of the file."""
    if path.suffix.casefold() == ".set" and _BOUNDARY in raw.annotations.description:
        import mne

        with mne.use_log_level("ERROR"):
            whole = mne.read_annotations(path)
        if whole.orig_time is None:
            return whole
    return raw.annotations


def _segment_gaps(path: Path, sfreq: float) -> dict[int, float]:
    """Seconds missing before each of BrainVision's segments by their dates, by first sample; 0 if unknown."""
    try:
        named = _MARKER_FILE.search(path.read_text("latin-1"))
        name = named[1].replace("$b", path.stem) if named else f"{path.stem}.vmrk"
        text = (path.parent / name).read_text("latin-1")
    except OSError:
        return {}
    segments = [(int(at) - 1, date) for _, at, date in _SEGMENT_LINE.findall(text)]
    gaps = {first: 0.0 for first, _ in segments}  # MNE leaves the first one out, wherever it is
    for before, after in pairwise(segments):
        with suppress(ValueError):  # a date is missing or impossible
            began, begins = (datetime.strptime(date, "%Y%m%d%H%M%S%f") for _, date in (before, after))  # noqa: DTZ007
            gaps[after[0]] = max((begins - began).total_seconds() - (after[0] - before[0]) / sfreq, 0.0)
    return gaps
