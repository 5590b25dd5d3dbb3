"""Simulated participants on the network: each an EEG outlet and a marker outlet of LSL, in real time.

Any LSL program can use them. One thread drives any number; time stamps are explicit, so they do not depend on the thread's
timing.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

from mindwire.errors import ArgumentError, SourceError
from mindwire.sources.following import FollowingParticipant
from mindwire.sources.liblsl import pylsl
from mindwire.sources.lsl_discovery import quote
from mindwire.sources.markers import DECISIONS, DECISIONS_TYPE, OUTLET
from mindwire.sources.simulator import Simulator
from mindwire.sources.steering import SteeringParticipant

_SEARCH_EVERY_S = 0.5  # interval of the questions if an outlet has taken the place of another


class DecisionInlet:
    """Decisions of a running service, or other texts of it, from their LSL outlet, whenever it appears.

    Parameters
    ----------
    stream : str or None
        Stream of the service; None takes the only outlet of decisions on the network.
    ending : str
        Of the outlet's name.
    """

    def __init__(self, stream: str | None = None, ending: str = DECISIONS) -> None:
        name = f"name={quote(f'{OUTLET}{stream}{ending}')}" if stream else f"starts-with(name,{quote(OUTLET)})"
        ends = f"substring(name,string-length(name)-{len(ending) - 1})={quote(ending)}"
        self._stream = stream
        self._resolver = pylsl.ContinuousResolver(pred=f"type={quote(DECISIONS_TYPE)} and {name} and {ends}")
        self._inlet: pylsl.StreamInlet | None = None
        self._uid = ""
        self._search_at = -math.inf

    def pull(self) -> list[tuple[float, str]]:
        """Return the texts since the last call, with their LSL times, without waiting.

        Raises
        ------
        SourceError
            Several outlets of decisions are on the network.
        """
        if (now := pylsl.local_clock()) >= self._search_at:
            self._search_at = now + _SEARCH_EVERY_S
            self._find()
        if self._inlet is None:
            return []
        rows, times = self._inlet.pull_chunk()
        return [(time, row[0]) for row, time in zip(rows, times, strict=True)]

    def _find(self) -> None:
        """Take an outlet that has appeared, also in the place of one that has gone: a service that restarts opens another."""
        found = {info.uid(): info for info in self._resolver.results()}
        if self._uid in found or not found:
            return
        if self._stream is None and len(found) > 1:
            names = ", ".join(sorted(info.name() for info in found.values()))
            msg = f"Several outlets of decisions are on the network ({names}); choose a stream with --decisions."
            raise SourceError(msg)
        self._uid, info = max(found.items(), key=lambda one: one[1].created_at())
        self._inlet = pylsl.StreamInlet(info, processing_flags=pylsl.proc_clocksync)


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
    steering : tuple of participant and DecisionInlet, or None
        The simulator's intention, which sees these decisions.
    followed : DecisionInlet or None
        Markers that the participant follows; without markers of its own there is no outlet of them.
    """

    def __init__(
        self,
        simulator: Simulator,
        *,
        type: str = "EEG",  # noqa: A002 - LSL's own word
        source_id: str | None = None,
        chunk_samples: int = 10,
        steering: tuple[SteeringParticipant | FollowingParticipant, DecisionInlet] | None = None,
        followed: DecisionInlet | None = None,
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
        self._steering, self._followed = steering, followed
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
        self._markers = pylsl.StreamOutlet(markers) if followed is None else None
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
        """Push the next chunk, and the cues in it; what the service has decided until now has been seen."""
        if self._steering is not None:
            participant, inlet = self._steering
            now = self.simulator.samples_read / self.simulator.sfreq
            if self._followed is not None and isinstance(participant, FollowingParticipant):
                for time, label in self._followed.pull():
                    participant.hear(time - self._epoch, label)
            for _, label in inlet.pull():
                participant.see(now, label)
        chunk = self.simulator.read(self._chunk_samples)
        self._eeg.push_chunk(chunk.samples, (self._epoch + chunk.times).tolist())
        for marker in self.simulator.drain_markers():
            assert self._markers is not None  # noqa: S101 - a participant who follows gives none
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
