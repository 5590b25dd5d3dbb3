"""Outlet of the times of each prediction, for the recorder: LSL stamps tell when the signal was, not when it was decided on."""

from __future__ import annotations

from mindwire.sources.liblsl import pylsl
from mindwire.sources.markers import OUTLET, TIMING, TIMING_TYPE
from mindwire.types import STAGES, Prediction

_BUFFER_SECONDS = 60


class TimingOutlet:
    """Outlet ``Mindwire-{stream}-timing``: ``seq``, age of the window's last sample when published, and stages, in ms.

    The age is negative where the source's clock is not this machine's; a stage that was not measured is NaN.
    """

    def __init__(self, stream: str, source_id: str) -> None:
        labels = ["seq", "age", *STAGES]
        info = pylsl.StreamInfo(
            f"{OUTLET}{stream}{TIMING}", TIMING_TYPE, len(labels), pylsl.IRREGULAR_RATE, pylsl.cf_double64, source_id
        )
        info.set_channel_labels(labels)
        info.set_channel_units(["", *["ms"] * (len(labels) - 1)])
        info.desc().append_child_value("manufacturer", "Mindwire")
        self._outlet = pylsl.StreamOutlet(info, 1, _BUFFER_SECONDS)

    def push(self, prediction: Prediction) -> None:
        """Send the times of a prediction that has just been published."""
        age = (pylsl.local_clock() - prediction.time) * 1e3
        stages = [prediction.latency_ms.get(stage, float("nan")) for stage in STAGES]
        self._outlet.push_sample([float(prediction.seq), age, *stages], prediction.time)
