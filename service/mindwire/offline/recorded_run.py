"""A live run as its recording tells it: what it takes to repeat it, and what it predicted.

The recorder's events say with which bundle, options and commands the pipeline ran; three outlets of the
service's own say what it was given, what it predicted and what happened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from mindwire.control.controller import ControlCommand
from mindwire.control.policy import ControlPolicy, parse_policy
from mindwire.errors import MindwireError, RecordingError, UsageError
from mindwire.options import AdaptationCommand, PipelineOptions
from mindwire.provenance import machine, source_sha256
from mindwire.sources.markers import (
    AXES,
    AXES_TYPE,
    DECISIONS,
    DECISIONS_TYPE,
    EVENTS_TYPE,
    INPUT_TYPE,
    OUTLET,
    PREDICTIONS_TYPE,
    TIMING,
    TIMING_TYPE,
)
from mindwire.sources.own_input import own_inputs, same_device
from mindwire.sources.recording import RecordedStream, Recording
from mindwire.sources.xdf import XdfRecording
from mindwire.types import SignalInfo
from mindwire_models.bundle import Bundle
from mindwire_models.training_record import TrainedSource


def run_details(bundle: Bundle | None, options: PipelineOptions) -> dict[str, Any]:
    """Return what repeats a run, the bundle and the options, and what it is made with; JSON-serialisable.

    ``model`` is None for a stream without a model.
    """
    trained = None if options.trained is None else options.trained.model_dump(mode="json")
    # the recorder notes the policy and its commands with each pipeline
    options_ = asdict(replace(options, trained=None, policy=None, control=())) | {"trained": trained}
    model = bundle and {"name": bundle.name, "sha256": bundle.sha256, "path": str(bundle.path.resolve())}
    return {"model": model, "options": options_, "software": machine() | {"sha256": source_sha256()}}


def known_of(options: PipelineOptions, info: SignalInfo) -> dict[str, Any]:
    """Channels, unit and rate of a source where the user gave them or the bundle remembers them; JSON-serialisable."""
    used = options.for_source(info)
    return {"channels": used.channels, "unit": used.unit, "sfreq": used.sfreq}


class RecordedSamples(NamedTuple):
    """Samples of one of the service's own outlets, with the times it gave them."""

    times: NDArray[np.float64]
    values: NDArray[Any]


class RecordedModel(NamedTuple):
    """A model that a run used, and where its bundle was."""

    name: str
    sha256: str
    path: Path | None

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> RecordedModel:
        """Return the model that :func:`run_details` noted."""
        return cls(data["name"], data["sha256"], Path(path) if (path := data.get("path")) else None)


@dataclass(frozen=True, slots=True)
class ModelChange:
    """Step in the change of a run's model, after a number of samples of the signal.

    Another ``pipeline`` of a model joins the one in use with ``options``, or comes into use where these are None. Pipelines
    are numbered; 0 is the one that the signal began with.
    """

    samples: int
    pipeline: int
    model: RecordedModel
    options: PipelineOptions | None = None


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A live run as its recording tells it.

    ``options`` are without commands, and of the first pipeline; ``pipelines`` are the options with the commands to each
    pipeline and the state that it began with: the run's first, and one more for each time the stream died. ``input_id`` and
    ``signal_id`` are the streams in the file that hold the pipeline's input and the device's own signal. Rows of
    ``probabilities``, shape (n_predictions, n_classes), are NaN where a prediction is invalid. ``decisions`` are the classes
    decided, shape (n_decisions, 1), ``axes`` of shape (n_predictions, n_axes); None where the recording has no such stream.
    ``timing`` are the columns of :class:`mindwire.sinks.timing.TimingOutlet`, and ``software`` the versions, where the recording
    is of a version of Mindwire that writes them. ``models`` and ``changes`` are the model that each of the ``pipelines`` began
    with, and what came of it while it ran.
    ``classes`` are those of the columns of ``probabilities``.
    ``outside`` predictions in the file, left out, are earlier or later than the run.
    """

    recording: XdfRecording
    stream: str
    model_name: str
    model_sha256: str
    model_path: Path | None
    options: PipelineOptions
    info: SignalInfo
    pipelines: tuple[PipelineOptions, ...]
    input_id: int
    signal_id: int | None
    times: NDArray[np.float64]
    probabilities: NDArray[np.float32]
    decisions: RecordedSamples | None = None
    axes: RecordedSamples | None = None
    timing: RecordedSamples | None = None
    software: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[Mapping[str, Any], ...] = ()
    outside: int = 0
    models: tuple[RecordedModel, ...] = ()
    classes: tuple[str, ...] = ()
    changes: tuple[tuple[ModelChange, ...], ...] = ()

    @property
    def used(self) -> list[RecordedModel]:
        """Models that were in use, each once, in their order."""
        steps = [
            used
            for model, changes in zip(self.models, self.changes, strict=True)
            for used in (model, *(change.model for change in changes if change.options is None))
        ]
        return list({model.sha256: model for model in steps}.values())


def run_names(recording: Recording) -> list[str]:
    """Return the names of the streams, in the service, whose runs a recording holds."""
    return sorted(_own(recording, PREDICTIONS_TYPE, ""))


def without_model(recording: Recording) -> list[str]:
    """Return the names of the streams, in the service, that a recording holds and that ran without a model."""
    names = (own.stream.info.name for own in own_inputs(recording.streams) if not own.model_sha256)
    return sorted(name.removeprefix(OUTLET).removesuffix("-input") for name in names)


def recorded_run(recording: Recording, stream: str | None = None) -> RecordedRun:
    """Find the run that a recording tells of; ``stream`` is its name in the service, when the recording holds several.

    Raises
    ------
    RecordingError
        The recording holds no run, or not all it takes to repeat it.
    UsageError
        It holds several and none is named.
    """
    try:
        return _recorded_run(recording, stream)
    except MindwireError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, msgspec.MsgspecError) as error:
        msg = f"{recording.path}: the description of the run was damaged or changed ({type(error).__name__}: {error})."
        raise RecordingError(msg) from error


def _recorded_run(recording: Recording, stream: str | None) -> RecordedRun:
    if not isinstance(recording, XdfRecording):
        msg = f"{recording.path}: expected a recording in XDF; verify what mindwire serve --record wrote."
        raise RecordingError(msg)
    outlets = _own(recording, PREDICTIONS_TYPE, "")
    if stream is None and len(outlets) > 1:
        msg = f"{recording.path} holds the runs {', '.join(sorted(outlets))}; choose one with --stream NAME."
        raise UsageError(msg)
    name = stream or next(iter(outlets), "")
    inputs = _own(recording, INPUT_TYPE, "-input")
    if name not in outlets:
        undecoded = without_model(recording)
        if name in undecoded or (not name and undecoded):
            which = name or ", ".join(undecoded)
            msg = f"{recording.path}: {which} was recorded without a model, so there are no predictions to verify; train one from it."
            raise RecordingError(msg)
        there = ", ".join(sorted(outlets)) or "none"
        msg = (
            f"{recording.path}: expected predictions of {name or 'a live run'}, found {there}; "
            "verify what mindwire serve --record wrote."
        )
        raise RecordingError(msg)
    events = _events(recording, name)
    begun = _begun(events)
    if not begun or name not in inputs:
        msg = f"{recording.path} does not hold the beginning of the run {name}; none of its predictions can be checked."
        raise RecordingError(msg)
    first = begun[0].data
    info = msgspec.convert(first["source"], SignalInfo)
    device = same_device(recording.streams, info)
    options = _options(first["options"])
    ended = [event["data"]["ends"] for event in events if event["kind"] == "recording" and "ends" in event["data"]]
    # a pipeline whose numbers go on had another before it
    since = float(first["time"]) if first.get("first_seq") else float("-inf")
    begun_to_ended = since, float(ended[-1]) if ended and ended[-1] is not None else float("inf")
    predictions, outside = _within(begun_to_ended, _samples(recording, outlets[name]))
    if predictions is None or not len(predictions.times):
        msg = f"{recording.path} holds no prediction of {outlets[name].info.name}; nothing can be verified."
        raise RecordingError(msg)
    return RecordedRun(
        recording=recording,
        stream=name,
        model_name=first["model"]["name"],
        model_sha256=first["model"]["sha256"],
        model_path=Path(path) if (path := first["model"].get("path")) else None,
        options=options,
        info=info,
        pipelines=tuple(
            replace(
                _options(one.data["options"]),
                commands=tuple(one.commands.get(0, ())),
                state=_text(one.data.get("state", first["options"].get("state"))),
                policy=_policy(one.data.get("policy")),
                control=(*map(_control_command, one.data.get("control", ())), *one.control),
                first_seq=one.data.get("first_seq", 0),
            )
            for one in begun
        ),
        input_id=inputs[name].stream_id,
        signal_id=None if device is None else device.stream_id,
        times=predictions.times,
        probabilities=predictions.values.astype(np.float32),
        decisions=_within(begun_to_ended, _samples(recording, _own(recording, DECISIONS_TYPE, DECISIONS).get(name)))[0],
        axes=_within(begun_to_ended, _samples(recording, _own(recording, AXES_TYPE, AXES).get(name)))[0],
        outside=outside,
        timing=_within(begun_to_ended, _samples(recording, _own(recording, TIMING_TYPE, TIMING).get(name)))[0],
        software=first.get("software", {}),
        events=tuple(events),
        models=tuple(RecordedModel.of(one.data["model"]) for one in begun),
        classes=outlets[name].info.labels or (),
        changes=tuple(tuple(_changes(one)) for one in begun),
    )


@dataclass(frozen=True, slots=True)
class _Begun:
    """A pipeline's beginning as the recorder noted it, the commands to it and others that joined it, and changes of the model."""

    data: Mapping[str, Any]
    commands: dict[int, list[AdaptationCommand]] = field(default_factory=dict)
    changes: list[Mapping[str, Any]] = field(default_factory=list)
    control: list[ControlCommand] = field(default_factory=list)


def _begun(events: Sequence[Mapping[str, Any]]) -> list[_Begun]:
    """Return the pipelines of a run in their order."""
    begun: list[_Begun] = []
    for event in events:
        data = event["data"]
        if event["kind"] == "recording" and data.get("begins"):
            begun.append(_Begun(data))
        elif event["kind"] == "adaptation" and begun and "action" in data:
            begun[-1].commands.setdefault(data.get("pipeline", 0), []).append(
                AdaptationCommand(
                    data["action"], data.get("updates", 0), data["segment"], data["at"], data.get("steps", 0)
                )
            )
        elif event["kind"] == "model" and begun and "samples" in data:
            begun[-1].changes.append(data)
        elif event["kind"] == "control" and begun:
            begun[-1].control.append(_control_command(data))
    return begun


def _changes(begun: _Begun) -> Iterator[ModelChange]:
    """Yield the steps in the change of the model since a beginning."""
    models = {0: RecordedModel.of(begun.data["model"])}
    for data in begun.changes:
        number, options = data.get("pipeline", 0), None
        if "options" in data:
            models[number] = RecordedModel.of(data["model"])
            options = replace(_options(data["options"]), commands=tuple(begun.commands.get(number, ())))
        if number in models:  # otherwise it joined before the recording
            yield ModelChange(data["samples"], number, models[number], options)


def _text(value: str | Sequence[str] | None) -> str | None:
    """Join a text that an event holds in pieces, as later versions write it."""
    return value if value is None or isinstance(value, str) else "".join(value)


def _policy(document: Mapping[str, Any] | None) -> ControlPolicy | None:
    return None if document is None else parse_policy(json.dumps(document), "The recorded control policy")


def _control_command(data: Mapping[str, Any]) -> ControlCommand:
    return ControlCommand(data["seq"], _policy(data.get("policy")), data.get("paused"), data.get("time"))


def recorded_control(
    recording: Recording, signal: SignalInfo
) -> tuple[ControlPolicy | None, tuple[ControlCommand, ...]] | None:
    """Return the control policy of a live run and the commands to it by their times, for a replay of the run's signal.

    None where the recording holds no run of the signal, or one of a version without control.
    """
    source = signal.original or signal
    for name in _own(recording, PREDICTIONS_TYPE, ""):
        begun = _begun(_events(recording, name))
        first = begun[0].data if begun else {}
        if "policy" not in first or (first["source"]["name"], first["source"]["source_id"]) != (
            source.name,
            source.source_id,
        ):
            continue
        commands: list[ControlCommand] = []
        for one in begun:
            time = None if one.data is first else one.data["time"]
            if time is not None and (policy := _policy(one.data.get("policy"))) is not None:
                commands.append(ControlCommand(None, policy, time=time))
            initial = map(_control_command, one.data.get("control", ()))
            commands += [replace(command, seq=None, time=time) for command in initial]
            commands += [replace(command, seq=None, time=command.time or time) for command in one.control]
        return _policy(first["policy"]), tuple(commands)
    return None


def changes_of_model(recording: Recording) -> int:
    """Return how often other models came into use during the runs of a recording."""
    runs = [_begun(_events(recording, name)) for name in run_names(recording)]
    return sum(change.options is None for run in runs for begun in run for change in _changes(begun))


def _own(recording: Recording, kind: str, suffix: str) -> dict[str, RecordedStream]:
    """The service's own outlets of one kind, by the name of the stream in the service."""
    return {
        stream.info.name.removeprefix(OUTLET).removesuffix(suffix): stream
        for stream in recording.streams
        if stream.info.type == kind and stream.info.name.startswith(OUTLET) and stream.info.name.endswith(suffix)
    }


def _events(recording: Recording, name: str) -> list[dict[str, Any]]:
    """The run's events in their order; what is no event of ours is left out."""
    found: list[dict[str, Any]] = []
    for stream in recording.streams:
        if stream.info.type == EVENTS_TYPE and stream.info.name == f"{OUTLET}{name}-events":
            for chunk in recording.source(stream.stream_id).chunks():
                for text in chunk.samples[:, 0]:
                    try:
                        event = json.loads(text)
                    except ValueError:
                        continue
                    if isinstance(event, dict) and isinstance(event.get("data"), dict) and "kind" in event:
                        found.append(event)
    return found


def _samples(recording: XdfRecording, stream: RecordedStream | None) -> RecordedSamples | None:
    if stream is None:
        return None
    parts = list(recording.as_sent(stream.stream_id))
    if not parts:
        return RecordedSamples(np.empty(0), np.empty((0, stream.info.n_channels)))
    return RecordedSamples(
        np.concatenate([part.times for part in parts]), np.concatenate([part.values for part in parts])
    )


def _within(limits: tuple[float, float], samples: RecordedSamples | None) -> tuple[RecordedSamples | None, int]:
    """Return samples without those before the first time or, at the end, after the second, and how many were left out."""
    if samples is None:
        return None, 0
    late = np.flatnonzero(samples.times >= limits[0])
    inside = np.flatnonzero(samples.times <= limits[1])
    kept = slice(int(late[0]) if len(late) else len(samples.times), int(inside[-1]) + 1 if len(inside) else 0)
    within = RecordedSamples(samples.times[kept], samples.values[kept])
    return within, len(samples.times) - len(within.times)


def _options(document: Mapping[str, Any]) -> PipelineOptions:
    """Options from JSON, which has lists where they have tuples."""
    trained = document.get("trained")
    try:
        source = None if trained is None else TrainedSource.model_validate(trained)
        options = PipelineOptions(**{**document, "commands": (), "control": (), "trained": source})
    except (TypeError, ValueError) as error:
        msg = f"The recording was made with options that this version of Mindwire does not know ({error})."
        raise RecordingError(msg) from error
    return replace(options, channels=tuple(options.channels) if options.channels else None)
