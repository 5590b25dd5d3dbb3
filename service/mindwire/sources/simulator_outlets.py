"""Simulated participants on the network: each an EEG outlet and a marker outlet of LSL, in real time.

Any LSL program can use them. One thread drives any number; time stamps are explicit, so they do not depend on the thread's
timing.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from mindwire.errors import ArgumentError
from mindwire.sources.liblsl import pylsl
from mindwire.sources.simulator import Simulator


class SimulatorOutlets:
    """The two outlets of one simulated participant.

    Parameters
    ----------
    simulator : Simulator
        Its ``info.name`` is the EEG outlet's name; the marker outlet's is that with ``-Markers``.
    type : str
        LSL type of the EEG outlet; the marker outlet's is ``Markers``.
    source_id : str or None
        Identifies the outlet across restarts; the marker outlet's is that with ``-markers``. None derives it from the
        name and the seed.
    chunk_samples : int
        Samples per push.
    """

    def __init__(
        self,
        simulator: Simulator,
        *,
        type: str = "EEG",  # noqa: A002 - LSL's own word
        source_id: str | None = None,
        chunk_samples: int = 10,
    ) -> None:
        if chunk_samples < 1:
            msg = f"A chunk must have at least one sample, found {chunk_samples}."
            raise ArgumentError(msg)
        signal = simulator.info
        self.simulator = simulator
        self.name = signal.name
        self.type = type
        self.source_id = source_id or f"{signal.name}-{simulator.seed}"
        self.marker_name = f"{signal.name}-Markers"
        self._chunk_samples = chunk_samples
        info = pylsl.StreamInfo(signal.name, type, signal.n_channels, signal.sfreq, pylsl.cf_float32, self.source_id)
        desc = info.desc()
        desc.append_child_value("manufacturer", "Mindwire")
        acquisition = desc.append_child("acquisition")
        acquisition.append_child_value("model", "simulator")
        acquisition.append_child_value("seed", str(simulator.seed))
        info.set_channel_labels(signal.labels)
        info.set_channel_units(signal.units)
        info.set_channel_types("EEG")
        self._eeg = pylsl.StreamOutlet(info, chunk_samples, 30)
        markers = pylsl.StreamInfo(
            self.marker_name, "Markers", 1, pylsl.IRREGULAR_RATE, pylsl.cf_string, f"{self.source_id}-markers"
        )
        self._markers = pylsl.StreamOutlet(markers)
        self._epoch = 0.0
        self.begin(pylsl.local_clock())

    @property
    def deadline(self) -> float:
        """LSL time of the next chunk's last sample, at which the chunk is due."""
        return self._epoch + (self.simulator.samples_read + self._chunk_samples - 1) / self.simulator.sfreq

    def begin(self, now: float) -> None:
        """Give the next sample the LSL time ``now``."""
        self._epoch = now - self.simulator.samples_read / self.simulator.sfreq

    def push(self) -> None:
        """Push the next chunk, and the cues in it."""
        chunk = self.simulator.read(self._chunk_samples)
        self._eeg.push_chunk(chunk.samples, (self._epoch + chunk.times).tolist())
        for marker in self.simulator.drain_markers():
            self._markers.push_sample([marker.label], self._epoch + marker.time)


def drive(outlets: Sequence[SimulatorOutlets], stop: threading.Event, duration: float | None = None) -> None:
    """Push every outlet's chunks when they are due.

    After a stall the overdue chunks follow at once with the stamps they should have had, as from an amplifier that buffers.
    """
    now = pylsl.local_clock()
    for outlet in outlets:
        outlet.begin(now)
    end = float("inf") if duration is None else now + duration
    while outlets and not stop.is_set():
        first = min(outlets, key=lambda outlet: outlet.deadline)
        if first.deadline >= end:
            break
        wait = first.deadline - pylsl.local_clock()
        if wait > 0 and stop.wait(wait):
            break
        first.push()
