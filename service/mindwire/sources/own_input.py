"""What a recording of a live run says of the device's signal that the device itself does not say.

The service writes channels, unit, rate and bundle into the description of its own stream
``Mindwire-{stream}-input``, so that the recording can be read without being told them again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mindwire.errors import SourceError
from mindwire.sources.recording import RecordedStream
from mindwire.sources.stream_xml import child_text, parse_xml
from mindwire.types import SignalInfo

# Element of the stream's description, and the stream's LSL type.
RUN = "run"
_TYPE = "Input"


@dataclass(frozen=True, slots=True)
class OwnInput:
    """A stream in a recording that says what a pipeline was given.

    Parameters
    ----------
    stream : RecordedStream
        The service's own stream.
    info : SignalInfo
        The device's signal as the service knew it.
    model_name, model_sha256 : str
        The bundle.
    model_path : Path or None
        Where it was.
    """

    stream: RecordedStream
    info: SignalInfo
    model_name: str
    model_sha256: str
    model_path: Path | None


def known_info(info: SignalInfo, details: Mapping[str, Any]) -> SignalInfo:
    """A device's signal with the channels, unit and rate that the user gave or the bundle remembered.

    Parameters
    ----------
    info : SignalInfo
        What the device says.
    details : mapping
        Of the run; its ``known`` has ``channels``, ``unit`` and ``sfreq``.

    Returns
    -------
    SignalInfo
    """
    known = details.get("known", {})
    channels, unit, sfreq = known.get("channels"), known.get("unit"), known.get("sfreq")
    labels = tuple(channels) if channels and len(channels) == info.n_channels else info.labels
    units = (str(unit),) * info.n_channels if unit else info.units
    changed = replace(info, labels=labels, units=units, sfreq=float(sfreq) if sfreq else info.sfreq)
    return info if changed == info else replace(changed, original=info, remarks=() if labels else info.remarks)


def own_inputs(streams: Sequence[RecordedStream]) -> list[OwnInput]:
    """The streams of a recording that say what a pipeline was given, and describe it.

    Parameters
    ----------
    streams : sequence of RecordedStream

    Returns
    -------
    list of OwnInput
        Without those of recordings that were made before there was a description.
    """
    found = []
    for stream in streams:
        if stream.info.type == _TYPE and stream.info.name.startswith("Mindwire-"):
            own = _own_input(stream)
            if own is not None:
                found.append(own)
    return found


def _own_input(stream: RecordedStream) -> OwnInput | None:
    try:
        run = json.loads(child_text(parse_xml(stream.header), f"desc/{RUN}"))
        device = signal_from_json(run["source"])
        model = run["model"]
        path = model.get("path")
        info = known_info(device, run)
        return OwnInput(stream, info, str(model["name"]), str(model["sha256"]), Path(path) if path else None)
    except (SourceError, ValueError, TypeError, KeyError, AttributeError):
        return None  # of an earlier version, or changed by somebody: then the streams speak for themselves


def signal_from_json(source: Mapping[str, Any]) -> SignalInfo:
    """A signal's description from JSON, which has lists where it has tuples."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in source.items()}
    return SignalInfo(**values)


def same_device(streams: Sequence[RecordedStream], info: SignalInfo) -> RecordedStream | None:
    """The device's own stream in a recording: the very outlet, or one of the same identity."""
    signals = [stream for stream in streams if stream.is_signal]
    for key in ("uid", "source_id", "name"):
        wanted = getattr(info, key)
        same = [stream for stream in signals if wanted and getattr(stream.info, key) == wanted]
        if len(same) == 1:
            return same[0]
    return None
