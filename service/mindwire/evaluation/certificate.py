"""Certificate of recorded runs: every prediction and decision derived again, and what is known of time, signal and software."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import MindwireError
from mindwire.evaluation.pseudo_online import Progress, file_sha256
from mindwire.inference.load import Device, Engine
from mindwire.offline.recorded_bundles import find_bundle, load_models
from mindwire.offline.recorded_run import RecordedRun, recorded_run, run_names, without_model
from mindwire.offline.verify import Replayed, Verification, verify
from mindwire.offline.verify_control import place
from mindwire.sessions.document import MODELS
from mindwire.sources.recording import Recording, open_recording
from mindwire.sources.xdf_clock import split_at_resets
from mindwire.sources.xdf_file import XdfStream
from mindwire.types import PLAUSIBLE_AGE_S, STAGES, SUSPECT
from mindwire_models.bundle import SUMS, load_bundle
from mindwire_models.text import counted

_MOST_EVENTS = 200
_MOST_POINTS = 400
# Events of a run that say nothing of its results, or have a table of their own.
_PLAIN_EVENTS = frozenset({"state", "validity", "recording"})


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Number, median, 99th percentile and maximum of some durations in milliseconds."""

    n: int
    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Quantiles | None:
        """Return the quantiles of the values that are numbers; None without any."""
        known = values[np.isfinite(values)]
        if not len(known):
            return None
        p50, p99 = np.percentile(known, [50, 99])
        return cls(len(known), float(p50), float(p99), float(known.max()))


@dataclass(frozen=True, slots=True)
class Clock:
    """Offsets between the clock of a stream's sender and the recorder's, as LSL measured them, in seconds.

    ``range_s`` is their largest minus their smallest, ``drift_ppm`` the slope of the line that is fitted to them, the residuals
    their distances from it. ``resets`` of the clock begin a line of their own.
    """

    stream: str
    n_offsets: int
    resets: int
    range_s: float | None = None
    drift_ppm: float | None = None
    residual_rms_s: float | None = None
    residual_max_s: float | None = None

    @classmethod
    def of(cls, stream: XdfStream) -> Clock:
        """Return what a stream's clock offsets say."""
        offsets = np.array(stream.offsets).reshape(-1, 2)
        name, n, resets = stream.info.name, len(offsets), max(0, len(stream.clock) - 1)
        if n < 3:  # a line fits two exactly
            return cls(name, n, resets)
        parts = split_at_resets(offsets)
        lines = [line.apply(part[:, 0]) - part[:, 0] for part, line in zip(parts, stream.clock, strict=True)]
        residuals = np.concatenate([part[:, 1] - line for part, line in zip(parts, lines, strict=True)])
        spread = max(float(np.ptp(part[:, 1])) for part in parts)
        drift = max((line.slope for line in stream.clock), key=abs)
        rms, largest = float(np.sqrt(np.mean(residuals**2))), float(np.abs(residuals).max())
        return cls(name, n, resets, spread, drift * 1e6, rms, largest)


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A model by its identity, and the hashes of all files of the bundle that was found for it."""

    name: str
    sha256: str
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SignalRecord:
    """Interruptions of the signal, and validity of the predictions, as they are derived again."""

    samples: int
    gaps: int
    gap_seconds: float
    clock_resets: int
    reconnections: int
    skipped: int
    valid: int
    invalid: Mapping[str, int]  # number of invalid predictions by reason; one may have several


@dataclass(frozen=True, slots=True)
class AdaptationRecord:
    """History of the alignment as it is derived again: its updates, and its drift from where it first was ready."""

    updates: int
    good_seconds: float
    drift: float
    largest_drift: float
    frozen: bool
    points: Sequence[tuple[float, float]] = ()  # seconds since the first, and drift


@dataclass(frozen=True, slots=True)
class RunCertificate:
    """Findings on one run of one recording.

    ``faults`` are contradictions and damage, ``lacking`` what the recording does not allow to confirm; a sentence each.
    """

    file: str
    sha256: str
    size_bytes: int
    stream: str = ""
    confirmed: bool = False
    faults: Sequence[str] = ()
    lacking: Sequence[str] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
    begun_unix: float | None = None
    models: Sequence[ModelRecord] = ()
    software: Mapping[str, Any] = field(default_factory=dict)
    engine: str = ""
    predictions: Mapping[str, Any] = field(default_factory=dict)
    first_difference: Mapping[str, Any] | None = None
    decisions: Mapping[str, Any] | None = None
    axes: Mapping[str, Any] | None = None
    input: Mapping[str, Any] | None = None
    latency_ms: Mapping[str, Quantiles] = field(default_factory=dict)
    decision_age_ms: Quantiles | None = None
    signal: SignalRecord | None = None
    clocks: Sequence[Clock] = ()
    adaptation: AdaptationRecord | None = None
    policies: Sequence[Mapping[str, Any]] = ()
    events: Sequence[Mapping[str, Any]] = ()
    further_events: int = 0

    @property
    def label(self) -> str:
        """Name of the run for people."""
        return f"{self.file}, {self.stream}" if self.stream else self.file


@dataclass(frozen=True, slots=True)
class Search:
    """Bundles that those of the runs are ``named`` to be and others among which they may be, engine and tolerance."""

    named: Sequence[Path] = ()
    bundles: Sequence[Path] = ()
    engine: Engine = "auto"
    device: Device = "auto"
    tolerance: float = 1e-6

    def places(self, run: RecordedRun) -> list[Path]:
        """Return where a run's bundles may be, those of its session included."""
        return [*self.named, *self.bundles, *bundles_in(run.recording.path.parent / MODELS)]


def bundles_in(folder: Path) -> list[Path]:
    """Return a folder itself if it is a bundle, else the bundles in it."""
    if (folder / SUMS).is_file():
        return [folder]
    return sorted(path.parent for path in folder.glob(f"*/{SUMS}"))


def certify_recording(path: Path, search: Search, progress: Progress | None = None) -> list[RunCertificate]:
    """Return the certificates of all runs in a recording; one that says why where there is none."""
    basis = RunCertificate(path.name, file_sha256(path), path.stat().st_size)
    try:
        recording = open_recording(path)
        names = run_names(recording)
        if not names:
            why = "it holds no run of Mindwire's service with --record, so nothing in it can be derived again."
            if without_model(recording):
                why = "it was recorded without a model, so it holds no predictions."
            return [replace(basis, faults=(f"{path.name} cannot be certified: {why}",))]
        return [_certify(replace(basis, stream=name), recording, search, progress) for name in names]
    except MindwireError as error:
        return [replace(basis, faults=(f"{path.name} cannot be certified: {error}",))]


def _certify(basis: RunCertificate, recording: Recording, search: Search, progress: Progress | None) -> RunCertificate:
    try:
        run = recorded_run(recording, basis.stream)
    except MindwireError as error:
        return replace(basis, faults=(f"The run {basis.stream} cannot be certified: {error}",))
    known = _known(basis, run, search)
    try:
        bundles, decoders = load_models(run, search.places(run), search.engine, search.device)
        total = run.recording.source(run.input_id).n_samples
        on_samples = None if progress is None else lambda done: progress(done, total)
        found = verify(run, bundles, decoders, search.tolerance, on_samples=on_samples)
    except MindwireError as error:
        return replace(known, faults=(f"Nothing of {basis.label} could be derived again: {error}",))
    return _with_findings(known, run, found, f"{decoders[0].engine} on {decoders[0].device}")


def _known(basis: RunCertificate, run: RecordedRun, search: Search) -> RunCertificate:
    """Return a certificate with what a recording says without its model."""
    streams = {stream.stream_id: stream for stream in run.recording.streams}
    device = None if run.signal_id is None else streams[run.signal_id]
    latency, at_decisions, lacking = _latencies(run)
    if not run.software:
        lacking.append("The recording does not say with which version of Mindwire it was made.")
    if device is None or len(device.offsets) < 3:
        lacking.append(
            "The recording holds fewer than three clock offsets of the device, so the uncertainty of its clock is unknown."
        )
    lacking += [
        f"{counted(short, 'sample')} of {stream.info.name} missing, which the end of the file counts."
        for stream in streams.values()
        if (short := (stream.footer_count or 0) - stream.n_samples) > 0
    ]
    shown = [event for event in run.events if event["kind"] not in _PLAIN_EVENTS]
    described = ("name", "type", "source_id", "hostname", "sfreq", "n_channels")
    return replace(
        basis,
        lacking=tuple(lacking),
        source={key: getattr(run.info, key) for key in described},
        begun_unix=next((event.get("unix_time") for event in run.events if event["kind"] == "recording"), None),
        models=tuple(_models(run, search)),
        software=run.software,
        latency_ms=latency,
        decision_age_ms=at_decisions,
        clocks=tuple(Clock.of(one) for one in (device, streams[run.input_id]) if one is not None),
        policies=tuple(_policies(run)),
        events=tuple(
            {key: event.get(key) for key in ("kind", "unix_time", "message")} for event in shown[:_MOST_EVENTS]
        ),
        further_events=max(0, len(shown) - _MOST_EVENTS),
    )


def _models(run: RecordedRun, search: Search) -> Iterator[ModelRecord]:
    """Yield the models that a run used, with the files of those whose bundles are found."""
    for model in run.used:
        files: Mapping[str, str] = {}
        with suppress(MindwireError):
            path, _ = find_bundle(*model, search.places(run))
            files = dict(sorted(load_bundle(path).digests.items()))
        yield ModelRecord(model.name, model.sha256, files)


def _latencies(run: RecordedRun) -> tuple[dict[str, Quantiles], Quantiles | None, list[str]]:
    """Return the ages and stages of all predictions, the ages at decisions, and what is unknown of them."""
    timing = run.timing
    if timing is None:
        return {}, None, ["The recording does not hold when predictions were published, so latencies are unknown."]
    missing = abs(len(run.times) - len(timing.times))
    lacking = [f"{counted(missing, 'prediction')} without the time of publication."] if missing else []
    ages = timing.values[:, 1]
    if not ((PLAUSIBLE_AGE_S[0] * 1e3 <= ages) & (ages <= PLAUSIBLE_AGE_S[1] * 1e3)).all():
        return {}, None, [*lacking, "The source's clock does not compare with the service's, so latencies are unknown."]
    columns = {"age": ages} | {stage: timing.values[:, 2 + k] for k, stage in enumerate(STAGES)}
    latency = {name: found for name, values in columns.items() if (found := Quantiles.of(values)) is not None}
    decided = set[float]() if run.decisions is None else set(run.decisions.times.tolist())
    return latency, Quantiles.of(ages[[time in decided for time in timing.times.tolist()]]), lacking


def _policies(run: RecordedRun) -> Iterator[dict[str, Any]]:
    """Yield the control policies by their hashes, each with the prediction from which on it counts, and pauses."""
    for number, options in enumerate(run.pipelines):
        if options.policy is not None:
            yield {"pipeline": number, "seq": options.first_seq, "hash": options.policy.hash, "paused": None}
        for command in options.control:
            policy = command.policy and command.policy.hash
            yield {"pipeline": number, "seq": command.seq, "hash": policy, "paused": command.paused}


def _with_findings(known: RunCertificate, run: RecordedRun, found: Verification, engine: str) -> RunCertificate:
    """Return a certificate with what verification found."""
    device, control = found.input, found.control
    lacking = [
        (run.outside, "prediction", "from before the run or after its end left out"),
        (found.unchecked, "prediction", "cannot be checked: the recording lacks their samples"),
        (control.axes_unrecorded if control else 0, "position", "of the axes not recorded"),
        (device.missed if device else 0, "sample", "of the model's input missing from the device's recorded stream"),
    ]
    return replace(
        known,
        confirmed=found.agrees,
        faults=tuple(_faults(run, found)),
        lacking=(*known.lacking, *(f"{counted(n, noun)} {what}." for n, noun, what in lacking if n)),
        engine=engine,
        predictions={
            "recorded": len(run.times),
            "confirmed": found.confirmed,
            "valid": found.compared,
            "equal": found.equal,
            "largest_difference": found.largest_difference,
            "unchecked": found.unchecked,
        },
        first_difference=_first_difference(found),
        decisions=None if control is None else {"confirmed": control.decisions, "different": control.decisions_differ},
        axes=None if control is None else {"confirmed": control.axes, "different": control.axes_differ},
        input=None
        if device is None
        else {"same": device.same, "different": device.different, "missing": device.missed},
        signal=_signal(run, found),
        adaptation=_adaptation(found.replayed),
    )


def _faults(run: RecordedRun, found: Verification) -> Iterator[str]:
    """Yield what contradicts the recording, or is damaged, a sentence each."""
    if wrong := len(run.times) - found.confirmed - found.unchecked:
        yield (
            f"{counted(wrong, 'recorded prediction')} not as the recorded EEG gives them "
            f"({place(found.first_time, found.first_seq)}; largest difference {found.largest_difference:.3g})."
        )
    control, device = found.control, found.input
    if control and control.decisions_differ:
        yield f"{counted(control.decisions_differ, 'decision')} not as the control policy makes them ({control.where})."
    if control and control.axes_differ:
        yield f"{counted(control.axes_differ, 'position')} of the axes not as the control policy gives them ({control.where})."
    if device is not None and device.different:
        yield (
            f"{counted(device.different, 'sample')} that the model was given not as the device's own recorded stream "
            f"has them ({place(device.at_time, None)})."
        )
    yield from found.damage
    if found.lacking and not found.damage:
        yield f"Nothing proves what the model was given: {found.lacking}."
    if not found.confirmed:
        yield "No prediction could be confirmed."


def _first_difference(found: Verification) -> dict[str, Any] | None:
    """Return what differs first, its time in seconds and its prediction's number; of a sample that of the first window with it."""
    differences: list[tuple[float, str, int | None]] = []
    if found.first_time is not None:
        differences.append((found.first_time, "prediction", found.first_seq))
    if (control := found.control) and control.at_time is not None:
        differences.append((control.at_time, "decision" if control.decisions_differ else "axes", control.seq))
    if found.input and (time := found.input.at_time) is not None:
        predictions = found.replayed.predictions if found.replayed else []
        differences.append((time, "sample", next((p.seq for p in predictions if p.time >= time), None)))
    return dict(zip(("time", "what", "seq"), min(differences), strict=True)) if differences else None


def _signal(run: RecordedRun, found: Verification) -> SignalRecord:
    replayed = found.replayed or Replayed([], (), (), 0.0)
    gaps = [event.data for _, event in replayed.events if event.kind == "gap"]
    resets = sum(event.data["count"] for _, event in replayed.events if event.kind == "clock_reset")
    invalid = Counter(label for p in replayed.predictions if not p.valid for label in (p.reasons & ~SUSPECT).labels)
    return SignalRecord(
        samples=run.recording.source(run.input_id).n_samples,
        gaps=sum(gap["count"] for gap in gaps),
        gap_seconds=float(sum(gap["seconds"] for gap in gaps)),
        clock_resets=resets,
        reconnections=sum(e["kind"] == "recording" and e["data"].get("begins") is False for e in run.events),
        skipped=found.skipped,
        valid=sum(p.valid for p in replayed.predictions),
        invalid=dict(invalid.most_common()),
    )


def _adaptation(replayed: Replayed | None) -> AdaptationRecord | None:
    points = replayed.adaptation if replayed else []
    if not points:
        return None
    updates = sum(b.version != a.version for a, b in pairwise(points) if a.pipeline == b.pipeline)
    last, drifts = points[-1], [point.drift for point in points]
    thin = points[:: max(1, len(points) // _MOST_POINTS)]
    return AdaptationRecord(
        updates=updates,
        good_seconds=last.good_seconds,
        drift=last.drift,
        largest_drift=max(drifts),
        frozen=last.frozen,
        points=[(point.time - points[0].time, point.drift) for point in thin],
    )
