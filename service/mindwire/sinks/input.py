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
from mindwire.sources.markers import INPUT_TYPE
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
        Bundle (``model``), and what is known of the signal (``known``).
    """

    def __init__(self, stream: str, source_id: str, info: SignalInfo, details: Mapping[str, Any]) -> None:
        n_channels = info.n_channels
        # Without a nominal rate every sample keeps the time it has, and no program takes the outlet for a signal.
        outlet = pylsl.StreamInfo(
            f"Mindwire-{stream}-input", INPUT_TYPE, n_channels + 1, pylsl.IRREGULAR_RATE, info.dtype, source_id
        )
        desc = outlet.desc()
        desc.append_child_value("manufacturer", "Mindwire")
        desc.append_child_value("encoding", "what the pipeline was given; the last channel marks breaks")
        desc.append_child_value(RUN, json.dumps({"source": asdict(info), **details}))
        known = known_info(info, details)
        outlet.set_channel_labels([*(known.labels or [""] * n_channels), "break"])
        outlet.set_channel_units([*(known.units or [""] * n_channels), ""])
        outlet.set_channel_types(["EEG"] * n_channels + ["Misc"])
        self._outlet = pylsl.StreamOutlet(outlet, 0, max(1, math.ceil(_BUFFER_SECONDS * info.sfreq / 100)))

    def push(self, chunk: Chunk, mark: InputMark) -> None:
        """Send the pipeline's next chunk, copied, with the mark of its first sample."""
        rows = np.zeros((len(chunk), chunk.samples.shape[1] + 1), dtype=chunk.samples.dtype)
        rows[:, :-1] = chunk.samples
        rows[0, -1] = mark
        self._outlet.push_chunk(rows, chunk.times.tolist())
