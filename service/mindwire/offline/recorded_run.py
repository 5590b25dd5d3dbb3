"""A live run as its recording tells it: what it takes to repeat it, and what it predicted.

The recorder's events say with which bundle, options and commands the pipeline ran; three outlets of the
service's own say what it was given, what it predicted and what happened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mindwire.errors import BundleError, RecordingError, UsageError
from mindwire.options import AdaptationCommand, PipelineOptions
from mindwire.sources.markers import EVENTS_TYPE, INPUT_TYPE, PREDICTIONS_TYPE
from mindwire.sources.own_input import own_inputs, same_device
from mindwire.sources.recording import RecordedStream, Recording
from mindwire.sources.xdf import XdfRecording
from mindwire.types import SignalInfo
from mindwire_models.bundle import Bundle, load_bundle
from mindwire_models.training_record import TrainedSource
from mindwire_models.zoo import zoo_bundle_path

_OUTLET = "Mindwire-"


def run_details(bundle: Bundle, options: PipelineOptions) -> dict[str, Any]:
    """Return what a recording needs to repeat a run: the bundle and the options; JSON-serialisable."""
    trained = None if options.trained is None else options.trained.model_dump(mode="json")
    options_ = asdict(replace(options, trained=None)) | {"trained": trained}
    model = {"name": bundle.name, "sha256": bundle.sha256, "path": str(bundle.path.resolve())}
    return {"model": model, "options": options_}


def known_of(options: PipelineOptions, info: SignalInfo) -> dict[str, Any]:
    """Channels, unit and rate of a source where the user gave them or the bundle remembers them; JSON-serialisable."""
    used = options.for_source(info)
    return {"channels": used.channels, "unit": used.unit, "sfreq": used.sfreq}


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A live run as its recording tells it.

    ``options`` are without commands, and of the first pipeline; ``pipelines`` are the options with the commands to each
    pipeline and the state that it began with: the run's first, and one more for each time the stream died. ``input_id`` and
    ``signal_id`` are the streams in the file that hold the pipeline's input and the device's own signal. Rows of
    ``probabilities``, shape (n_predictions, n_classes), are NaN where a prediction is invalid.
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


def recorded_run(recording: Recording, stream: str | None = None) -> RecordedRun:
    """Find the run that a recording tells of; ``stream`` is its name in the service, when the recording holds several.

    Raises
    ------
    RecordingError
        The recording holds no run, or not all it takes to repeat it.
    UsageError
        It holds several and none is named.
    """
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
        there = ", ".join(sorted(outlets)) or "none"
        msg = (
            f"{recording.path}: expected predictions of {name or 'a live run'}, found {there}; "
            "verify what mindwire serve --record wrote."
        )
        raise RecordingError(msg)
    first: Mapping[str, Any] | None = None
    commands: list[list[AdaptationCommand]] = []
    states: list[str | None] = []
    for event in _events(recording, name):
        data = event["data"]
        if event["kind"] == "recording" and data.get("begins"):
            first = first or data
            commands.append([])
            states.append(data.get("state", first["options"].get("state")))
        elif event["kind"] == "adaptation" and commands:
            commands[-1].append(
                AdaptationCommand(
                    data["action"], data.get("updates", 0), data["segment"], data["at"], data.get("steps", 0)
                )
            )
    if first is None or name not in inputs:
        msg = f"{recording.path} does not hold the beginning of the run {name}; none of its predictions can be checked."
        raise RecordingError(msg)
    info = msgspec.convert(first["source"], SignalInfo)
    device = same_device(recording.streams, info)
    options = _options(first["options"])
    times, probabilities = _predictions(recording, outlets[name])
    return RecordedRun(
        recording=recording,
        stream=name,
        model_name=first["model"]["name"],
        model_sha256=first["model"]["sha256"],
        model_path=Path(path) if (path := first["model"].get("path")) else None,
        options=options,
        info=info,
        pipelines=tuple(
            replace(options, commands=tuple(given), state=state) for given, state in zip(commands, states, strict=True)
        ),
        input_id=inputs[name].stream_id,
        signal_id=None if device is None else device.stream_id,
        times=times,
        probabilities=probabilities,
    )


def _own(recording: Recording, kind: str, suffix: str) -> dict[str, RecordedStream]:
    """The service's own outlets of one kind, by the name of the stream in the service."""
    return {
        stream.info.name.removeprefix(_OUTLET).removesuffix(suffix): stream
        for stream in recording.streams
        if stream.info.type == kind and stream.info.name.startswith(_OUTLET) and stream.info.name.endswith(suffix)
    }


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


def _predictions(recording: XdfRecording, stream: RecordedStream) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    parts = list(recording.as_sent(stream.stream_id))
    if not parts:
        msg = f"{recording.path} holds no prediction of {stream.info.name}; nothing can be verified."
        raise RecordingError(msg)
    return (
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.values for part in parts]).astype(np.float32),
    )


def _options(document: Mapping[str, Any]) -> PipelineOptions:
    """Options from JSON, which has lists where they have tuples."""
    trained = document.get("trained")
    try:
        source = None if trained is None else TrainedSource.model_validate(trained)
        options = PipelineOptions(**{**document, "commands": (), "trained": source})
    except (TypeError, ValueError) as error:
        msg = f"The recording was made with options that this version of Mindwire does not know ({error})."
        raise RecordingError(msg) from error
    return replace(options, channels=tuple(options.channels) if options.channels else None)


def bundle_path(given: Path | None, recordings: Sequence[Recording], default: Path | None) -> tuple[Path | None, str]:
    """The bundle that recordings of live runs were made with, unless another is given, or the default where they say nothing.

    The sentence tells people which bundle was found; it is empty where none was looked for.

    Raises
    ------
    BundleError
        The bundle of the recordings is no longer where it was, or has changed, or they were made with several.
    """
    if given is not None:
        return given, ""
    made_with = {own.model_sha256: own for recording in recordings for own in own_inputs(recording.streams)}
    if not made_with:
        return default, ""
    if len(made_with) > 1:
        names = ", ".join(f"{own.model_name} ({own.model_sha256[:12]})" for own in made_with.values())
        msg = f"The recordings were made with several bundles: {names}; say which one with --model BUNDLE."
        raise BundleError(msg)
    [own] = made_with.values()
    return find_bundle(own.model_name, own.model_sha256, own.model_path)


def find_bundle(name: str, sha256: str, path: Path | None) -> tuple[Path, str]:
    """The bundle that a recording was made with, if it is still what it was at ``path``, and a sentence on it for people.

    Raises
    ------
    BundleError
        It is not there any more, or another is there.
    """
    for place in (path, zoo_bundle_path()):
        with suppress(BundleError):
            if place is not None and load_bundle(place).sha256 == sha256:
                return place, f"With {name} ({sha256[:12]}) from {place}, which the recording was made with."
    where = f"which is no longer at {path}, or has changed" if path else "and does not say where that is"
    msg = (
        f"The recording was made with the bundle {name} ({sha256[:12]}), {where}; say where it is with --model BUNDLE."
    )
    raise BundleError(msg)
