"""Export of sessions and recordings as a BIDS data set of EEG, written by MNE-BIDS.

BIDS has no XDF: the signal is written as BrainVision files of 32-bit floats in microvolts, with a sample at every period.
Events lie at the sample that was taken when they happened, whatever the two clocks did meanwhile.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire import __version__
from mindwire.errors import MissingExtraError, RecordingError, SourceError, UsageError
from mindwire.sessions.document import Run, read_session, sessions_in
from mindwire.signal.labels import eeg_channels, parse_unit
from mindwire.signal.timebase import SignalPart, TimeBase
from mindwire.sources.markers import DECISIONS, DECISIONS_TYPE, OUTLET
from mindwire.sources.recording import RecordedSignal, Recording, Selector, open_recording
from mindwire.sources.stream_xml import child_text, parse_xml
from mindwire.types import Reason, SignalInfo
from mindwire_models.atomic import replace_file
from mindwire_models.text import counted

# A longer pause is not filled, but marked at the place where the signal goes on.
_MOST_FILLED_S = 60.0
_SKIP = "BAD_ACQ_SKIP"
_OFF = 0.01  # deviation of the rate that is reported
_JITTER_S = 0.25  # of time stamps that come in bursts
_VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "nV": 1e-9}
_TYPES = {"eeg", "eog", "ecg", "emg", "stim", "misc"}
_READ = (".xdf", ".xdfz", ".edf", ".bdf", ".gdf", ".vhdr", ".fif", ".set")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Choices of an export: of the data set as a whole, and what recordings do not state about their signal."""

    task: str = "imagery"
    name: str = "Sessions recorded with Mindwire"
    participant: str | None = None  # of recordings that are in no session
    line_freq: float | None = None  # of the mains, in hertz
    reference: str | None = None
    duration_s: float = 0.0  # of a cue
    unit: str | None = None
    channels: tuple[str, ...] | None = None
    rate: float | None = None
    stream: Selector | None = None
    marker_stream: str | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """A recording to export, and where it belongs: labels as BIDS has them, letters and digits alone."""

    path: Path
    subject: str
    session: str | None
    run: int
    details: Run | None = None  # of a run in a session


@dataclass(slots=True)
class Signal:
    """A signal with a sample at every period; ``values`` of shape (n_samples, n_channels), in the source's units.

    ``times`` and ``places`` are the time and index of each recorded sample, ``skips`` index and length of what was filled in
    with zeros, in samples; a length of 0 marks a longer pause, or a clock that was set back.
    """

    values: NDArray[np.float64]
    times: NDArray[np.float64]
    places: NDArray[np.intp]
    skips: list[tuple[int, int]] = field(default_factory=list)

    def place(self, time: float, most_s: float) -> int | None:
        """Return the index of the sample taken at a time, None if the nearest is further away than ``most_s``."""
        nearest = int(np.argmin(np.abs(self.times - time)))
        return int(self.places[nearest]) if abs(self.times[nearest] - time) <= most_s else None


def sources_in(path: Path, participant: str | None = None) -> list[Source]:
    """Return the recordings in a folder of sessions, of a participant, of a session, of recordings alone, or a single one.

    Raises
    ------
    RecordingError
        There is none, or two participants would have the same label.
    """
    sources: list[Source] = []
    people: dict[str, str] = {}
    for folder in sessions_in(path) if path.is_dir() else ():
        document = read_session(folder)
        subject = label(document.participant)
        if people.setdefault(subject, document.participant) != document.participant:
            msg = f"The participants {people[subject]} and {document.participant} would both be sub-{subject} in BIDS; export them one by one."
            raise RecordingError(msg)
        sources += [
            Source(folder / run.file, subject, label(document.date), run.run, run)
            for run in document.runs
            if run.status != "recording" and (folder / run.file).is_file()
        ]
    if not sources:
        files = sorted(one for one in path.iterdir() if one.suffix.casefold() in _READ) if path.is_dir() else [path]
        folder = path if path.is_dir() else path.parent
        subject = label(participant or folder.resolve().name)
        sources = [Source(file, subject, None, number) for number, file in enumerate(files, 1)]
    if not sources:
        msg = f"{path}: expected sessions or recordings, found none."
        raise RecordingError(msg)
    return sources


def label(text: str) -> str:
    """Return text as a label of BIDS, letters and digits alone; raises UsageError if nothing is left."""
    kept = re.sub(r"[^A-Za-z0-9]", "", text)
    if not kept:
        msg = f"Expected a name with letters or digits, which is all that BIDS takes, found {text!r}."
        raise UsageError(msg)
    return kept


def export_bids(sources: Sequence[Source], out: Path, options: ExportOptions) -> Iterator[str]:
    """Write the recordings as a BIDS data set, and yield a sentence for each.

    Raises
    ------
    RecordingError
        A recording cannot be read, or lacks what BIDS needs.
    UsageError
        Something is there already, and is not to be replaced.
    MissingExtraError
        MNE-BIDS is not installed.
    """
    try:
        import mne
        import mne_bids
        import pybv  # noqa: F401 - MNE-BIDS writes with it
    except ImportError as error:
        msg = "The export takes MNE-BIDS, which is not installed here; pip install '.[bids]' in Mindwire's folder."
        raise MissingExtraError(msg) from error
    task = label(options.task)
    described = out / "dataset_description.json"
    if not options.force and out.exists() and any(out.iterdir()) and not described.exists():
        msg = f"{out} is there and no BIDS data set; give another --out, or --force to write into it."
        raise UsageError(msg)
    paths = [
        mne_bids.BIDSPath(one.subject, one.session, task, run=f"{one.run:02d}", datatype="eeg", suffix="eeg", root=out)
        for one in sources
    ]
    for path in paths:
        header = path.copy().update(extension=".vhdr").fpath
        if header.exists() and not options.force:
            msg = f"{header} is there already; give another --out, or --force to replace it."
            raise UsageError(msg)
    with warnings.catch_warnings(), mne.use_log_level("ERROR"):
        warnings.simplefilter("ignore")
        for source, path in zip(sources, paths, strict=True):
            yield _export(source, path, options)
        before = json.loads(described.read_text(encoding="utf-8"))
        tools = [{"Name": "Mindwire", "Version": __version__}, {"Name": "MNE-BIDS", "Version": mne_bids.__version__}]
        named = before.get("Name", "").strip(" []")
        name = named if named and named != "Unspecified" else options.name
        authors: dict[str, list[str]] = (
            {"Authors": []} if any("Unspecified" in one for one in before.get("Authors", ())) else {}
        )
        text = json.dumps(before | authors | {"Name": name, "GeneratedBy": tools}, indent=4, ensure_ascii=False)
        replace_file(described, text + "\n")


def _export(source: Source, path: Any, options: ExportOptions) -> str:
    import mne
    import mne_bids

    recording = open_recording(source.path)
    recorded = recording.signal(options.stream)
    info, sfreq = recorded.info, options.rate or recorded.info.sfreq
    if not sfreq > 0:
        msg = f"{source.path}: {info.name!r} has no nominal rate; give the rate it really has with --rate."
        raise RecordingError(msg)
    signal = read_signal(recorded, sfreq)
    if not len(signal.values):
        msg = f"{source.path}: {info.name!r} holds no sample; leave the file out."
        raise RecordingError(msg)
    names, types, scales = _channels(source.path, info, options)
    about = mne.create_info(names, sfreq, types)
    about["line_freq"] = options.line_freq
    raw = mne.io.RawArray((signal.values * scales).T, about, verbose="ERROR")
    if source.details is not None:
        raw.set_meas_date(datetime.fromtimestamp(source.details.started.unix, UTC))
    cues = [(marker.time, marker.label, options.duration_s) for marker in recording.markers(options.marker_stream)]
    decisions = [(time, f"decision/{name}", 0.0) for time, name in _decisions(recording)]
    placed = [(signal.place(time, 1.0), text, duration) for time, text, duration in (*cues, *decisions)]
    events = [(place / sfreq, duration, text) for place, text, duration in placed if place is not None]
    events += [(place / sfreq, max(length, 1) / sfreq, _SKIP) for place, length in signal.skips]
    raw.set_annotations(mne.Annotations(*zip(*sorted(events), strict=True)) if events else None)
    mne_bids.write_raw_bids(raw, path, format="BrainVision", allow_preload=True, overwrite=options.force)
    sidecar = {"EEGReference": options.reference or _reference(recording, info), "Manufacturer": "n/a"}
    if signal.skips:
        sidecar["RecordingType"] = "discontinuous"
    mne_bids.update_sidecar_json(path.copy().update(extension=".json"), sidecar)
    lost = len(placed) - (len(events) - len(signal.skips))
    parts = [f"{counted(len(names), 'channel')}, {len(raw.times) / sfreq:.1f} s, {counted(len(cues), 'cue')}"]
    parts += [counted(len(decisions), "decision")] if decisions else []
    parts += [f"{counted(len(signal.skips), 'gap')} marked {_SKIP}"] if signal.skips else []
    measured = len(signal.values) / float(np.ptp(signal.times) or np.inf)
    if abs(measured / sfreq - 1) > _OFF:
        parts += [f"{measured:.1f} samples a second by their time stamps, not {sfreq:g}"]
    parts += [f"{counted(lost, 'event')} outside the signal left out"] if lost else []
    parts += [f"damage left out: {' '.join(recording.problems)}"] if recording.problems else []
    return f"{source.path} → {path.basename}: {', '.join(parts)}."


def read_signal(recorded: RecordedSignal, sfreq: float) -> Signal:
    """Read a signal whole, with zeros where samples are missing, so that every sample lies at its period."""
    timebase = TimeBase(sfreq, bridge_seconds=0.0)
    pieces: list[NDArray[np.float64]] = []
    signal = Signal(np.empty((0, recorded.info.n_channels)), np.empty(0), np.empty(0, np.intp))
    times, places, at = [signal.times], [signal.places], 0
    parts: list[SignalPart] = []
    stamps = [signal.times]
    for chunk in recorded.chunks():
        stamps.append(chunk.times)
        parts += timebase.push(np.asarray(chunk.samples, np.float64), chunk.times, chunk.discontinuity)
    for part in [*parts, *timebase.flush()]:
        if at and (part.discontinuity or part.missing):
            pause = float(part.times[0] - times[-1][-1]) - 1 / sfreq
            missing = round(pause * sfreq) if 0 < pause <= _MOST_FILLED_S else 0
            if missing or part.discontinuity & Reason.CLOCK_JUMP or abs(pause) > 1:
                signal.skips.append((at, missing))
            pieces.append(np.zeros((missing, recorded.info.n_channels)))
            at += missing
        pieces.append(part.samples)
        times.append(part.times)
        places.append(np.arange(at, at + len(part.times)))
        at += len(part.times)
    if pieces:
        signal.values = np.concatenate(pieces)
    signal.times, signal.places = np.concatenate(times), np.concatenate(places)
    stamped = np.concatenate(stamps)
    if len(stamped) == len(signal.times):  # where they contradict the rate, the stamps tell more than what follows them
        signal.times = np.where(np.abs(stamped - signal.times) > _JITTER_S, stamped, signal.times)
    return signal


def _channels(path: Path, info: SignalInfo, options: ExportOptions) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Return names, MNE's types, and factors to volts, those of other quantities 1."""
    labels = options.channels or info.labels or ()
    if options.channels is not None and len(labels) != info.n_channels:
        msg = f"{path}: --channels names {len(labels)} channels, {info.name!r} has {info.n_channels}."
        raise UsageError(msg)
    names = [one or f"{number}" for number, one in enumerate(labels or [""] * info.n_channels, 1)]
    if len(set(names)) < len(names):
        names = [f"{one}-{number}" for number, one in enumerate(names, 1)]
    eeg = set(eeg_channels(info))
    stated = [text.casefold() for text in info.types or [""] * info.n_channels]
    types = ["eeg" if k in eeg else text if text in _TYPES - {"eeg"} else "misc" for k, text in enumerate(stated)]
    scales = np.ones(info.n_channels)
    for k, kind in enumerate(types):
        unit = parse_unit(options.unit or (info.units or [""] * info.n_channels)[k])
        if unit is not None and kind not in ("stim", "misc"):
            scales[k] = _VOLTS[unit]
        elif kind == "eeg":
            msg = f"{path}: {info.name!r} states no unit for {names[k]}; give it with --unit, for example --unit uV."
            raise RecordingError(msg)
    return names, types, scales


def _decisions(recording: Recording) -> Iterator[tuple[float, str]]:
    """Yield times and classes of the decisions that the service recorded."""
    for stream in recording.streams:
        name = stream.info.name
        if stream.info.type == DECISIONS_TYPE and name.startswith(OUTLET) and name.endswith(DECISIONS):
            for chunk in recording.source(stream.stream_id).chunks():
                yield from zip(chunk.times.tolist(), map(str, chunk.samples[:, 0]), strict=True)


def _reference(recording: Recording, info: SignalInfo) -> str:
    """Return the reference that a stream's description names."""
    for stream in recording.streams:
        if stream.info.name == info.name and stream.header:
            with suppress(SourceError, ValueError):
                if text := child_text(parse_xml(stream.header), "desc/reference/label"):
                    return text
    return "n/a"
