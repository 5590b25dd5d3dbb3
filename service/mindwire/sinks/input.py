"""A pipeline's input, sample by sample, on an outlet of the service's own, for the recorder.

A recorder of the device's own stream is interrupted when the device is, and resumes at another moment than the service does;
only the service knows its input. This outlet lives as long as the recording, and sends the samples with the times that the
pipeline was given, and marks where the signal was discontinuous.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from mindwire.sources.liblsl import pylsl
from mindwire.sources.lsl_discovery import INPUT_TYPE
from mindwire.sources.own_input import RUN, InputMark, known_info
from mindwire.types import Chunk, SignalInfo

# LSL counts the buffer of a stream without a rate in hundreds of samples.
_BUFFER_SECONDS = 60


class InputOutlet:
    """Outlet of one stream's input; it has one channel more than the signal.

    Parameters
    ----------
    stream : str
        Name of the stream; the outlet is ``Mindwire-{stream}-input``.
    source_id : str
        Its identity.
    info : SignalInfo
        The signal; numbers at a regular rate.
    details : mapping
        Bundle and options, to repeat the run; see :func:`mindwire.offline.recorded_run.run_details`.
    """

    def __init__(self, stream: str, source_id: str, info: SignalInfo, details: Mapping[str, Any] | None = None) -> None:
        self._form = _form(info)
        # Without a nominal rate every sample keeps the time it has, and no program takes the outlet for a signal.
        outlet = pylsl.StreamInfo(
            f"Mindwire-{stream}-input",
            INPUT_TYPE,
            info.n_channels + 1,
            pylsl.IRREGULAR_RATE,
            getattr(pylsl, f"cf_{info.dtype}"),
            source_id,
        )
        desc = outlet.desc()
        desc.append_child_value("manufacturer", "Mindwire")
        desc.append_child_value("encoding", "what the pipeline was given; the last channel marks breaks")
        if details is not None:
            _describe(desc, info, details)
        self._outlet = pylsl.StreamOutlet(outlet, 0, max(1, math.ceil(_BUFFER_SECONDS * info.sfreq / 100)))

    def fits(self, info: SignalInfo) -> bool:
        """Return true if the outlet is that of this signal."""
        return self._form == _form(info)

    def push(self, chunk: Chunk, mark: InputMark) -> None:
        """Send the pipeline's next chunk, copied, with the mark of its first sample."""
        rows = np.zeros((len(chunk), chunk.samples.shape[1] + 1), dtype=chunk.samples.dtype)
        rows[:, :-1] = chunk.samples
        rows[0, -1] = mark
        self._outlet.push_chunk(rows, chunk.times.tolist())


def _describe(desc: pylsl.info.XMLElement, info: SignalInfo, details: Mapping[str, Any]) -> None:
    """Describe the channels as the service knows them, and everything that repeats the run."""
    run = json.dumps({"source": asdict(info), **details})
    desc.append_child_value(RUN, run)
    known = known_info(info, details)
    channels = desc.append_child("channels")
    for label, unit in zip(
        known.labels or ("",) * info.n_channels, known.units or ("",) * info.n_channels, strict=True
    ):
        channel = channels.append_child("channel")
        channel.append_child_value("label", label)
        channel.append_child_value("unit", unit)
        channel.append_child_value("type", "EEG")
    mark = channels.append_child("channel")
    mark.append_child_value("label", "break")
    mark.append_child_value("type", "Misc")


def _form(info: SignalInfo) -> tuple[object, ...]:
    return info.name, info.type, info.source_id, info.n_channels, info.dtype, info.labels, info.units
