"""From a stream's thread to the event loop: predictions, events and the display signal.

The stream's thread only appends to a bounded inbox, in which the newest wins, and wakes the loop; everything else
happens on the loop. What is done with it there is the subclass's business.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.sinks.messages import PROTOCOL_VERSION, signal_block
from mindwire.status import REMEMBERED_EVENTS, SHOWN_KINDS, Event
from mindwire.types import Prediction
from mindwire_models.contract import Contract

LATENCY_BUCKETS_MS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 125.0, 250.0, 500.0, 1000.0)
DISPLAY_RATE = 125.0
DISPLAY_BLOCK_SECONDS = 0.04
_BUCKETS = np.array(LATENCY_BUCKETS_MS)
# Latencies are counted so many at a time, because one by one they cost a stream's thread more than the prediction's way.
_OBSERVED_TOGETHER = 64

Item = Prediction | Event | bytes


@dataclass(slots=True)
class LatencyHistogram:
    """Cumulative distribution of one stage's latency, as Prometheus wants it.

    Attributes
    ----------
    counts : list of int
        Observations per bucket of :data:`LATENCY_BUCKETS_MS`, and above the last.
    total_ms : float
        Sum of all observations.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BUCKETS_MS) + 1))
    total_ms: float = 0.0

    def observe(self, milliseconds: Sequence[float]) -> None:
        """Count observations."""
        buckets = np.searchsorted(_BUCKETS, milliseconds)
        added = np.bincount(buckets, minlength=len(self.counts)).tolist()
        self.counts = [count + more for count, more in zip(self.counts, added, strict=True)]
        self.total_ms += sum(milliseconds)


class Feed(ABC):
    """One stream's way to the event loop; a :class:`mindwire.status.Sink`.

    The sink's methods are called from the stream's thread, everything else from the event loop's.

    Parameters
    ----------
    stream : str
        Name of the stream.
    contract : Contract
        Gives channels, rate and unit of the signal for display.
    capacity : int
        Most messages that wait for the event loop.

    """

    def __init__(self, stream: str, contract: Contract, *, capacity: int = 64) -> None:
        self.stream = stream
        self._latency: dict[str, LatencyHistogram] = {}
        self._observed: deque[Mapping[str, float]] = deque()
        self._counting = threading.Lock()
        self._contract = contract
        self._capacity = capacity
        self._lock = threading.Lock()
        self._inbox: deque[Item] = deque()
        self._missed = 0
        self._woken = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._state: Event | None = None
        self._events: deque[Event] = deque(maxlen=REMEMBERED_EVENTS)
        self._decimation = max(1, round(contract.sfreq / DISPLAY_RATE))
        self._pending: list[NDArray[np.float32]] = []
        self._pending_samples = 0
        self._pending_time = 0.0
        self._last_time = 0.0

    # ── the stream's thread ──────────────────────────────────────────────────────────────────────────

    def publish(self, prediction: Prediction) -> None:
        """Take one prediction."""
        if self.n_clients:
            self._post(prediction)
        self._observed.append(prediction.latency_ms)
        if len(self._observed) >= _OBSERVED_TOGETHER:
            self._count_observed()

    def _count_observed(self) -> None:
        values: dict[str, list[float]] = {}
        with self._counting:
            for _ in range(len(self._observed)):
                for stage, milliseconds in self._observed.popleft().items():
                    values.setdefault(stage, []).append(milliseconds)
            for stage, some in values.items():
                if stage not in self._latency:
                    # replaced, not changed: whoever iterates over the old one is not disturbed
                    self._latency = {**self._latency, stage: LatencyHistogram()}
                self._latency[stage].observe(some)

    def event(self, event: Event) -> None:
        """Take one event; the latest of kind ``state`` is what new clients hear first."""
        self._post(event)

    def signal(self, times: NDArray[np.float64], samples: NDArray[np.floating[Any]]) -> None:
        """Take conditioned samples for display.

        Parameters
        ----------
        times : ndarray of float64, shape (n_samples,)
            LSL time in seconds.
        samples : ndarray, shape (n_samples, n_channels)
            In the contract's unit; copied before this returns.
        """
        if not self.n_viewers or len(times) == 0:
            self._pending_samples = 0
            self._pending.clear()
            return
        sfreq = self._contract.sfreq
        if self._pending and abs(times[0] - self._last_time) > 1.5 / sfreq:
            self._pending_samples = 0
            self._pending.clear()
        if not self._pending:
            self._pending_time = float(times[0])
        self._last_time = float(times[-1])
        self._pending.append(np.array(samples, dtype=np.float32))
        self._pending_samples += len(samples)
        if self._pending_samples < max(self._decimation, DISPLAY_BLOCK_SECONDS * sfreq):
            return
        block = np.concatenate(self._pending)
        factor = self._decimation
        whole = len(block) // factor * factor
        # a mean over each group keeps what the lower rate cannot show from folding back into the picture
        shown = block[:whole].reshape(-1, factor, block.shape[1]).mean(axis=1, dtype=np.float32)
        self._post(signal_block(self._pending_time, shown))
        self._pending = [block[whole:]] if whole < len(block) else []
        self._pending_samples = len(block) - whole
        self._pending_time += whole / sfreq

    def close(self) -> None:
        """Nothing more will come; may be called more than once and from any thread."""
        self._wake(self._end)

    def _post(self, item: Item) -> None:
        with self._lock:
            if isinstance(item, Event):
                if item.kind not in SHOWN_KINDS:  # the history is of the service
                    self._events.append(item)
                if item.kind == "state":
                    self._state = item
            if self._loop is None:
                return
            if len(self._inbox) >= self._capacity:
                self._jump()
            self._inbox.append(item)
            asleep, self._woken = not self._woken, True
        if asleep:
            self._wake(self._fan_out)

    def _jump(self) -> None:
        """Make room in the inbox, for the present; only an event loop that stalls makes this necessary."""
        kept = [item for item in self._inbox if isinstance(item, Event)]
        if len(kept) == len(self._inbox):
            del kept[0]
        self._missed += sum(not isinstance(item, bytes) for item in self._inbox) - len(kept)
        self._inbox = deque(kept)

    def _wake(self, callback: Callable[[], None]) -> None:
        loop = self._loop
        if loop is None:
            return
        try:
            loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the server has stopped and taken its loop along; there is nobody to tell
            with self._lock:
                self._loop = None
                self._woken = False
                self._inbox.clear()

    # ── the event loop ───────────────────────────────────────────────────────────────────────────────

    @property
    @abstractmethod
    def n_clients(self) -> int:
        """Who receives predictions now; while it is nobody, none are handed over."""

    @property
    @abstractmethod
    def n_viewers(self) -> int:
        """Who receives the display signal now."""

    @abstractmethod
    def _deliver(self, items: Collection[Item], missed: int) -> None:
        """Take what the inbox held, and how many predictions and events it had to drop before that."""

    @abstractmethod
    def _end(self) -> None:
        """Deliver the rest; nothing more will come."""

    @property
    def latency(self) -> dict[str, LatencyHistogram]:
        """Per stage, of all predictions so far."""
        self._count_observed()
        return self._latency

    @latency.setter
    def latency(self, told: dict[str, LatencyHistogram]) -> None:
        self._latency = told

    def recent_events(self) -> list[Event]:
        """The last events, oldest first, at most :data:`REMEMBERED_EVENTS`."""
        with self._lock:
            return list(self._events)

    def signal_hello(self) -> dict[str, Any]:
        """The first message of the display signal, which says what the blocks hold."""
        return {
            "type": "hello",
            "version": PROTOCOL_VERSION,
            "stream": self.stream,
            "channels": list(self._contract.channels),
            "unit": self._contract.unit,
            "sfreq": self._contract.sfreq / self._decimation,
        }

    def attach(self) -> Event | None:
        """Deliver to the running loop from now on; returns the latest state, which later deliveries do not repeat."""
        with self._lock:  # one lock for both, so that a newcomer hears each state once and in order
            self._loop = asyncio.get_running_loop()
            state = self._state
            items, missed = self._empty_inbox()
        self._deliver(items, missed)
        return state

    def _fan_out(self) -> None:
        with self._lock:
            self._woken = False
            items, missed = self._empty_inbox()
        self._deliver(items, missed)

    def _empty_inbox(self) -> tuple[deque[Item], int]:
        items, self._inbox = self._inbox, deque()
        missed, self._missed = self._missed, 0
        return items, missed
