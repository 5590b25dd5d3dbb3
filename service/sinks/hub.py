"""The websocket hub: fans a stream's predictions out to any number of clients, none of which can hold it up.

The stream's thread only appends to a bounded inbox and wakes the event loop; everything else happens on the
loop. Each client has a bounded queue in which the newest wins; what it misses is counted and told to it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contract import Contract
from service.sinks.messages import (
    PROTOCOL_VERSION,
    Encoding,
    Message,
    event_payload,
    prediction_payload,
    signal_block,
)
from service.sinks.subscription import Subscription
from service.status import Event
from service.types import Prediction

log = logging.getLogger(__name__)

LATENCY_BUCKETS_MS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 125.0, 250.0, 500.0, 1000.0)
DISPLAY_RATE = 125.0
DISPLAY_BLOCK_SECONDS = 0.04
REMEMBERED_EVENTS = 200


def unix_offset() -> float:
    """Seconds to add to an LSL time for seconds since the epoch; LSL's clock is the monotonic one."""
    return time.time() - time.monotonic()


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

    def observe(self, milliseconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(LATENCY_BUCKETS_MS, milliseconds)] += 1
        self.total_ms += milliseconds


class PredictionHub:
    """Websocket fan-out of one stream; a :class:`service.status.Sink`.

    The sink's methods are called from the stream's thread, ``subscribe``, ``unsubscribe`` and the
    properties from the event loop's.

    Parameters
    ----------
    stream : str
        Name of the stream.
    contract : Contract
        Gives channels, rate and unit of the signal for display.
    capacity : int
        Most messages that wait for one client, and for the event loop.
    to_unix : callable
        Returns the seconds to add to an LSL time for seconds since the epoch.
    """

    def __init__(
        self,
        stream: str,
        contract: Contract,
        *,
        capacity: int = 64,
        to_unix: Callable[[], float] = unix_offset,
    ) -> None:
        self.stream = stream
        self.latency: dict[str, LatencyHistogram] = {}
        self.encoding_failures = 0
        self._contract = contract
        self._capacity = capacity
        self._to_unix = to_unix
        self._lock = threading.Lock()
        self._inbox: deque[Prediction | Event | bytes] = deque()
        self._missed = 0
        self._woken = False
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clients: set[Subscription] = set()
        self._viewers: set[Subscription] = set()
        self._state: Event | None = None
        self._events: deque[Event] = deque(maxlen=REMEMBERED_EVENTS)
        self._past_sent = 0
        self._past_dropped = 0
        self._decimation = max(1, round(contract.sfreq / DISPLAY_RATE))
        self._pending: list[NDArray[np.float32]] = []
        self._pending_samples = 0
        self._pending_time = 0.0
        self._last_time = 0.0

    # ── the stream's thread ──────────────────────────────────────────────────────────────────────────

    def publish(self, prediction: Prediction) -> None:
        """Take one prediction."""
        if self._clients:
            self._post(prediction)
        for stage, milliseconds in prediction.latency_ms.items():
            histogram = self.latency.get(stage)
            if histogram is None:
                histogram = LatencyHistogram()
                # replaced, not changed: whoever iterates over the old one is not disturbed
                self.latency = {**self.latency, stage: histogram}
            histogram.observe(milliseconds)

    def event(self, event: Event) -> None:
        """Take one event; the latest of kind ``state`` is what new clients hear first."""
        self._post(event)

    def signal(self, times: NDArray[np.float64], samples: NDArray[np.float32]) -> None:
        """Take conditioned samples for display.

        Parameters
        ----------
        times : ndarray of float64, shape (n_samples,)
            LSL time in seconds.
        samples : ndarray of float32, shape (n_samples, n_channels)
            In the contract's unit; copied before this returns.
        """
        if not self._viewers or len(times) == 0:
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
        """Send clients away; may be called more than once and from any thread."""
        self._closed = True
        self._wake(self._close_all)

    def _post(self, item: Prediction | Event | bytes) -> None:
        with self._lock:
            if isinstance(item, Event):
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
    def n_clients(self) -> int:
        """Clients that receive predictions now."""
        return len(self._clients)

    @property
    def n_viewers(self) -> int:
        """Clients that receive the display signal now."""
        return len(self._viewers)

    @property
    def sent(self) -> int:
        """Messages handed to clients since the start."""
        return self._past_sent + sum(client.sent for client in (*self._clients, *self._viewers))

    @property
    def dropped(self) -> int:
        """Messages that slow clients missed since the start."""
        return self._past_dropped + sum(client.dropped for client in (*self._clients, *self._viewers))

    def recent_events(self) -> list[Event]:
        """The last events, oldest first, at most :data:`REMEMBERED_EVENTS`."""
        with self._lock:
            return list(self._events)

    def subscribe(self, hello: dict[str, Any], encoding: Encoding = Encoding.JSON) -> Subscription:
        """A queue of everything from now on, beginning with ``hello`` and the latest state.

        Parameters
        ----------
        hello : dict
            The stream's own introduction.
        encoding : Encoding
        """
        state = self._catch_up()
        subscription = Subscription(self.stream, encoding, self._capacity)
        subscription.offer(Message(hello))
        if state is not None:
            subscription.offer(Message(event_payload(state)))
        return self._enter(self._clients, subscription)

    def subscribe_signal(self) -> Subscription:
        """A queue of the display signal, beginning with a JSON ``hello`` that says what the blocks hold."""
        self._catch_up()
        subscription = Subscription(self.stream, Encoding.JSON, self._capacity, told=False)
        hello = {
            "type": "hello",
            "version": PROTOCOL_VERSION,
            "stream": self.stream,
            "channels": list(self._contract.channels),
            "unit": self._contract.unit,
            "sfreq": self._contract.sfreq / self._decimation,
        }
        subscription.offer(Message(hello))
        return self._enter(self._viewers, subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a client."""
        for group in (self._clients, self._viewers):
            if subscription in group:
                group.remove(subscription)
                self._past_sent += subscription.sent
                self._past_dropped += subscription.dropped
        subscription.close()

    def _enter(self, group: set[Subscription], subscription: Subscription) -> Subscription:
        if self._closed:
            subscription.close()
        else:
            group.add(subscription)
        return subscription

    def _catch_up(self) -> Event | None:
        """Deliver what waits to those already here; returns the state that a newcomer must be told.

        One lock covers both, so that a newcomer hears each state once and in order.
        """
        with self._lock:
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

    def _empty_inbox(self) -> tuple[deque[Prediction | Event | bytes], int]:
        items, self._inbox = self._inbox, deque()
        missed, self._missed = self._missed, 0
        return items, missed

    def _deliver(self, items: Collection[Prediction | Event | bytes], missed: int) -> None:
        if missed:
            for client in self._clients:
                client.miss(missed)
        blocks = [Message(item, expendable=True) for item in items if isinstance(item, bytes)]
        _offer(self._viewers, blocks)
        messages = []
        for item in items:
            if isinstance(item, bytes):
                continue
            try:
                messages.append(self._message(item))
            except (TypeError, ValueError, ArithmeticError, RecursionError):
                # one odd message is lost and counted; the stream and its clients go on
                self.encoding_failures += 1
                log.exception("Stream %s: a message could not be encoded and was left out.", self.stream)
        _offer(self._clients, messages)

    def _message(self, item: Prediction | Event) -> Message:
        if isinstance(item, Event):
            message = Message(event_payload(item))
        else:
            message = Message(prediction_payload(item, item.time + self._to_unix()), expendable=True)
        for encoding in {client.encoding for client in self._clients}:
            message.frame(encoding)
        return message

    def _close_all(self) -> None:
        self._fan_out()
        for client in (*self._clients, *self._viewers):
            client.close()


def _offer(clients: set[Subscription], messages: list[Message]) -> None:
    """Give messages to clients; what has piled up while the loop was late goes out in one write each."""
    if not messages:
        return
    frames = {
        encoding: b"".join(message.frame(encoding) for message in messages)
        for encoding in {client.encoding for client in clients}
    }
    for client in clients:
        if not client.write_at_once(frames[client.encoding], len(messages)):
            for message in messages:
                client.offer(message)
