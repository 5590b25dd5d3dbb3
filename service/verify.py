"""Whether a recording of a live run gives the predictions it contains.

The recorder notes in the events what the pipeline was given and when: which signal, from which sample
on, with which bundle, options and commands. Replayed with the same, every prediction must come out again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from service.errors import BundleError, RecordingError, UsageError
from service.inference.decoder import Decoder
from service.pipeline import AdaptationCommand, Pipeline, PipelineOptions
from service.sources.lsl_discovery import EVENTS_TYPE, PREDICTIONS_TYPE
from service.sources.recording import RecordedStream, Recording
from service.types import Chunk, Prediction, Reason

_OUTLET = "Mindwire-"


def run_details(bundle: Bundle, options: PipelineOptions) -> dict[str, Any]:
    """What of a run a recording must know to repeat it.

    Parameters
    ----------
    bundle : Bundle
    options : PipelineOptions

    Returns
    -------
    dict
        JSON-serialisable.
    """
    return {"model": {"name": bundle.name, "sha256": bundle.sha256}, "options": asdict(options)}


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A live run as its recording tells it.

    Parameters
    ----------
    stream : str
        Name of the stream in the service.
    model_name, model_sha256 : str
    options : PipelineOptions
        With the commands given during the run.
    signal_id : int
        The signal's stream in the file.
    starts : tuple of float
        Time of the first sample after each connection, in seconds.
    times : ndarray of float64, shape (n_predictions,)
    probabilities : ndarray of float32, shape (n_predictions, n_classes)
        Rows of NaN are invalid predictions.
    """

    stream: str
    model_name: str
    model_sha256: str
    options: PipelineOptions
    signal_id: int
    starts: tuple[float, ...]
    times: NDArray[np.float64]
    probabilities: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Verification:
    """What comparing a recorded run with its replay found.

    Parameters
    ----------
    compared : int
        Predictions that both have and both hold for valid.
    largest_difference : float
        Among these, in probability; 0 when there is none.
    at_time : float or None
        Where.
    validity_differs : int
        Predictions that only one of the two holds for valid.
    missing : int
        Replayed predictions within the recorded span that the recording lacks: skipped live, or lost.
    unknown : int
        Recorded predictions that the replay does not give.
    """

    compared: int
    largest_difference: float
    at_time: float | None
    validity_differs: int
    missing: int
    unknown: int

    def agrees(self, tolerance: float) -> bool:
        """Whether the recording gives the predictions it contains; those skipped live are no contradiction."""
        return (
            self.compared > 0
            and self.largest_difference <= tolerance
            and not self.validity_differs
            and not self.unknown
        )


def recorded_run(recording: Recording, stream: str | None = None) -> RecordedRun:
    """Find the run that a recording tells of.

    Parameters
    ----------
    recording : Recording
    stream : str or None
        Name of the stream in the service, when the recording holds several.

    Returns
    -------
    RecordedRun

    Raises
    ------
    RecordingError
        The recording holds no run, or not all it takes to repeat it.
    UsageError
        It holds several and none is named.
    """
    outlets = {
        s.info.name.removeprefix(_OUTLET): s
        for s in recording.streams
        if s.info.type == PREDICTIONS_TYPE and s.info.name.startswith(_OUTLET)
    }
    if stream is None and len(outlets) > 1:
        msg = f"{recording.path} holds the runs {', '.join(sorted(outlets))}; choose one with --stream NAME."
        raise UsageError(msg)
    name = stream or next(iter(outlets), "")
    if name not in outlets:
        there = ", ".join(sorted(outlets)) or "none"
        msg = (
            f"{recording.path}: expected predictions of {name or 'a live run'}, found {there}; "
            "verify what mindwire serve --record wrote."
        )
        raise RecordingError(msg)
    events = _events(recording, name)
    begun = [event for event in events if event["kind"] == "recording" and "time" in event["data"]]
    if not begun or begun[0]["data"].get("reconnect"):
        msg = f"{recording.path} does not hold the beginning of the run {name}, which its alignment depends on."
        raise RecordingError(msg)
    first = begun[0]["data"]
    commands = tuple(
        AdaptationCommand(
            event["data"]["action"],
            event["data"].get("updates", 0),
            event["data"]["segment"],
            event["data"]["at"],
            event["data"].get("steps", 0),
        )
        for event in events
        if event["kind"] == "adaptation"
    )
    times, probabilities = _predictions(recording, outlets[name])
    return RecordedRun(
        stream=name,
        model_name=first["model"]["name"],
        model_sha256=first["model"]["sha256"],
        options=replace(_options(first["options"]), commands=commands),
        signal_id=_signal(recording, first["source"]),
        starts=tuple(float(event["data"]["time"]) for event in begun),
        times=times,
        probabilities=probabilities,
    )


def verify(
    recording: Recording,
    run: RecordedRun,
    bundle: Bundle,
    decoder: Decoder,
    on_samples: Callable[[int], None] | None = None,
) -> Verification:
    """Replay a recorded run and compare.

    Parameters
    ----------
    recording : Recording
    run : RecordedRun
    bundle : Bundle
        Must be the one the run had.
    decoder : Decoder
    on_samples : callable or None
        Told the samples taken so far.

    Returns
    -------
    Verification

    Raises
    ------
    BundleError
        The bundle is another one.
    """
    if bundle.sha256 != run.model_sha256:
        msg = (
            f"{recording.path} was made with {run.model_name} ({run.model_sha256[:12]}), found {bundle.name} "
            f"({bundle.sha256[:12]}); give that bundle with --model."
        )
        raise BundleError(msg)
    source = recording.source(run.signal_id)
    pipeline = Pipeline(bundle.contract, source.info, decoder, run.options)
    replayed: list[Prediction] = []
    taken = 0
    for chunk in _from_starts(source.chunks(), run.starts, 0.5 / source.info.sfreq):
        replayed += pipeline.process(chunk)
        pipeline.drain_events()
        taken += len(chunk)
        if on_samples is not None:
            on_samples(taken)
    replayed += pipeline.finish()
    return compare(run, replayed, 0.5 * pipeline.hop_samples / bundle.contract.sfreq)


def compare(run: RecordedRun, replayed: list[Prediction], tolerance_s: float) -> Verification:
    """Compare recorded predictions with replayed ones by their times.

    Parameters
    ----------
    run : RecordedRun
    replayed : list of Prediction
    tolerance_s : float
        How far apart the times of one prediction may be: clocks are measured twice.

    Returns
    -------
    Verification
    """
    times = np.array([prediction.time for prediction in replayed])
    if not len(times) or not len(run.times):
        return Verification(0, 0.0, None, 0, 0, len(run.times))
    at = np.clip(np.searchsorted(times, run.times), 1, max(len(times) - 1, 1)) - 1
    nearer = np.minimum(at + 1, len(times) - 1)
    at = np.where(np.abs(times[nearer] - run.times) < np.abs(times[at] - run.times), nearer, at)
    known = np.abs(times[at] - run.times) < tolerance_s
    valid_live = ~np.isnan(run.probabilities).any(axis=1)
    valid_again = np.array([replayed[k].valid for k in at])
    both = known & valid_live & valid_again
    again = np.array([replayed[k].probabilities for k in at])
    differences = np.where(both, np.abs(again - run.probabilities).max(axis=1), 0.0)
    worst = int(np.argmax(differences))
    within = (times >= run.times[0] - tolerance_s) & (times <= run.times[-1] + tolerance_s)
    return Verification(
        compared=int(both.sum()),
        largest_difference=float(differences[worst]),
        at_time=float(run.times[worst]) if both.any() else None,
        validity_differs=int((known & (valid_live != valid_again)).sum()),
        missing=int(within.sum() - len(np.unique(at[known]))),
        unknown=int((~known).sum()),
    )


def _from_starts(chunks: Iterator[Chunk], starts: tuple[float, ...], tolerance_s: float) -> Iterator[Chunk]:
    """What the live pipeline was given: from the first start on, broken at each reconnection."""
    left = list(starts)
    begun = False
    for chunk in chunks:
        rest = chunk
        while left:
            at = int(np.searchsorted(rest.times, left[0] - tolerance_s))
            if at == len(rest):
                break
            if begun and at:
                yield Chunk(rest.samples[:at], rest.times[:at], rest.broken)
            broken = Reason.RECONNECT if begun else Reason.NONE
            rest = Chunk(rest.samples[at:], rest.times[at:], broken | (rest.broken if not at else Reason.NONE))
            begun = True
            left.pop(0)
        if begun:
            yield rest


def _events(recording: Recording, name: str) -> list[dict[str, Any]]:
    """The run's events in their order; what is no event of ours is left out."""
    found: list[dict[str, Any]] = []
    for stream in recording.streams:
        if stream.info.type == EVENTS_TYPE and stream.info.name == f"{_OUTLET}{name}-events":
            for chunk in recording.source(stream.stream_id).chunks():
                for text in chunk.samples[:, 0]:
                    try:
                        event = json.loads(text)
                    except ValueError:
                        continue
                    if isinstance(event, dict) and isinstance(event.get("data"), dict) and "kind" in event:
                        found.append(event)
    return found


def _predictions(recording: Recording, stream: RecordedStream) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    chunks = list(recording.source(stream.stream_id).chunks())
    if not chunks:
        msg = f"{recording.path} holds no prediction of {stream.info.name}; nothing can be verified."
        raise RecordingError(msg)
    return np.concatenate([c.times for c in chunks]), np.concatenate([c.samples for c in chunks]).astype(np.float32)


def _signal(recording: Recording, source: Mapping[str, str]) -> int:
    """The signal's stream in the file: the very outlet, or one of the same identity."""
    signals = [stream for stream in recording.streams if stream.is_signal]
    for key in ("uid", "source_id", "name"):
        same = [stream for stream in signals if source.get(key) and getattr(stream.info, key) == source[key]]
        if len(same) == 1:
            return same[0].stream_id
    msg = f"{recording.path} does not hold the signal {source.get('name')!r} that its predictions were made of."
    raise RecordingError(msg)


def _options(document: Mapping[str, Any]) -> PipelineOptions:
    """Options from JSON, which has lists where they have tuples."""
    try:
        options = PipelineOptions(**{**document, "commands": ()})
    except TypeError as error:
        msg = f"The recording was made with options that this version of Mindwire does not know ({error})."
        raise RecordingError(msg) from error
    return replace(options, channels=tuple(options.channels) if options.channels else None)
