"""Websocket fan-out of a stream's predictions to any number of clients, none of which can hold it up.

The stream's thread only appends to a bounded inbox, in which the newest wins, and wakes the event loop; all else happens
there. Each client has a bounded queue, in which the newest wins too; what a client misses is counted and reported to it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from mindwire.signal.labels import bare_label
from mindwire.sinks.display import DisplaySignal
from mindwire.sinks.message_types import Hello, SignalHello
from mindwire.sinks.messages import (
    PROTOCOL_VERSION,
    Encoding,
    Message,
    control_messages,
    event_payload,
    prediction_payload,
    shadow_message,
)
from mindwire.sinks.subscription import STOPPED, Subscription
from mindwire.status import PASSING_KINDS, REMEMBERED_EVENTS, Event, Sink
from mindwire.types import Prediction
from mindwire_models.contract import Contract
from mindwire_models.electrodes import position
from mindwire_models.errors import ArgumentError

log = logging.getLogger(__name__)


class PredictionHub(Sink):
    """Websocket fan-out of one stream; a :class:`mindwire.status.Sink`.

    The sink's methods are called from the stream's thread, all others from the event loop's.

    Parameters
    ----------
    stream : str
        Name of the stream.
    contract : Contract
        Gives channels, rate and unit of the signal for display.
    capacity : int
        Most messages that wait for one client, and for the event loop.

    Attributes
    ----------
    goodbye : Goodbye
        How clients are closed when the stream ends.
    instance : str
        Name of this beginning of the stream; the sequence numbers of another one start again.
    """

    def __init__(self, stream: str, contract: Contract, *, capacity: int = 64) -> None:
        self.stream = stream
        self.instance = uuid.uuid4().hex[:12]
        self.goodbye = STOPPED
        self._contract = contract
        self._capacity = capacity
        self._display = DisplaySignal(contract.sfreq)
        self._lock = threading.Lock()
        self._inbox: deque[Prediction | Event | Message | bytes] = deque()
        self._missed = 0
        self._woken = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._state: Event | None = None
        self._events: deque[Event] = deque(maxlen=REMEMBERED_EVENTS)
        self._closed = False
        self._listeners: set[Subscription] = set()
        self._viewers: set[Subscription] = set()
        self._past_sent = 0
        self._past_dropped = 0

    # ── the stream's thread ──────────────────────────────────────────────────────────────────────────

    def publish(self, prediction: Prediction) -> None:
        """Take one prediction."""
        if self._listeners:
            self._post(prediction)

    def event(self, event: Event) -> None:
        """Take one event; the latest of kind ``state`` is what new clients are sent first."""
        self._post(event)

    def shadow(self, prediction: Prediction) -> None:
        """Take one prediction of a model that runs in the shadow."""
        if self._listeners:
            self._post(shadow_message(prediction))

    def use_contract(self, contract: Contract) -> None:
        """Show the signal of another model; clients that see other channels or another rate now have to connect again."""
        before, self._contract = self._contract, contract
        if (before.channels, before.unit, before.sfreq) != (contract.channels, contract.unit, contract.sfreq):
            self._display = DisplaySignal(contract.sfreq)
            self._wake(self._end_views)

    def signal(self, times: NDArray[np.float64], samples: NDArray[np.floating[Any]]) -> None:
        """Take conditioned samples, ``(n_samples, n_channels)`` in the contract's unit, for display."""
        if not self._viewers or len(times) == 0:
            self._display.clear()
        elif (block := self._display.block(times, samples)) is not None:
            self._post(block)

    def close(self) -> None:
        """Close all clients' queues; may be called more than once and from any thread."""
        self._closed = True
        self._wake(self._end)

    def _post(self, item: Prediction | Event | Message | bytes) -> None:
        with self._lock:
            if isinstance(item, Event):
                if item.kind not in PASSING_KINDS:  # the history is of the service
                    self._events.append(item)
                if item.kind == "state":
                    self._state = item
            if self._loop is None:
                return
            if len(self._inbox) >= self._capacity:
                self._drop_expendable()
            self._inbox.append(item)
            asleep, self._woken = not self._woken, True
        if asleep:
            self._wake(self._deliver)

    def _drop_expendable(self) -> None:
        """Make room in the inbox; only an event loop that stalls makes this necessary."""
        kept = [item for item in self._inbox if _is_kept(item)]
        if len(kept) == len(self._inbox):
            del kept[0]
        self._missed += sum(not isinstance(item, bytes) for item in self._inbox) - len(kept)
        self._inbox = deque(kept)

    def _wake(self, callback: Callable[[], object]) -> None:
        if self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:  # the server has stopped and its loop is closed
            with self._lock:
                self._loop = None
                self._woken = False
                self._inbox.clear()

    # ── the event loop ───────────────────────────────────────────────────────────────────────────────

    @property
    def n_clients(self) -> int:
        """Number of clients that receive predictions now."""
        return len(self._listeners)

    @property
    def n_viewers(self) -> int:
        """Number of clients that receive the display signal now."""
        return len(self._viewers)

    @property
    def sent(self) -> int:
        """Number of messages handed to clients since the start."""
        return self._past_sent + sum(client.sent for client in self._listeners | self._viewers)

    @property
    def dropped(self) -> int:
        """Number of messages that slow clients missed since the start."""
        return self._past_dropped + sum(client.dropped for client in self._listeners | self._viewers)

    def recent_events(self) -> list[Event]:
        """Return the last events, oldest first, at most :data:`mindwire.status.REMEMBERED_EVENTS`."""
        with self._lock:
            return list(self._events)

    def subscribe(self, hello: Hello | Mapping[str, Any], encoding: Encoding = Encoding.JSON) -> Subscription:
        """Return a queue of everything from now on, which begins with ``hello`` and the latest state."""
        state = self._deliver()
        first = (hello,) if state is None else (hello, event_payload(state))
        return self._enter(self._listeners, Subscription(self.stream, encoding, self._capacity), *first)

    def subscribe_signal(self) -> Subscription:
        """Return a queue of the display signal, which begins with a JSON ``hello`` that describes the blocks."""
        self._deliver()
        hello = SignalHello(
            version=PROTOCOL_VERSION,
            stream=self.stream,
            channels=list(self._contract.channels),
            unit=self._contract.unit,
            sfreq=self._display.sfreq,
            positions=[_position(label) for label in self._contract.channels],
        )
        subscription = Subscription(self.stream, Encoding.JSON, self._capacity, report_drops=False)
        return self._enter(self._viewers, subscription, hello)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a client."""
        for group in (self._listeners, self._viewers):
            if subscription in group:
                group.remove(subscription)
                self._past_sent += subscription.sent
                self._past_dropped += subscription.dropped
        subscription.close()

    def _enter(
        self, group: set[Subscription], subscription: Subscription, *first: Struct | Mapping[str, Any]
    ) -> Subscription:
        for payload in first:
            subscription.offer(Message(payload))
        if self._closed:
            subscription.close(self.goodbye)
        else:
            group.add(subscription)
        return subscription

    def _deliver(self) -> Event | None:
        """Deliver to this loop, now and from now on; return the latest state, which later deliveries do not repeat."""
        with self._lock:  # one lock for all, so that a new client is sent each state once and in order
            self._loop, self._woken = asyncio.get_running_loop(), False
            items, self._inbox = self._inbox, deque()
            missed, self._missed = self._missed, 0
            state = self._state
        if missed:
            for client in self._listeners:
                client.miss(missed)
        for item in items:
            messages = [Message(item, expendable=True)] if isinstance(item, bytes) else self._messages(item)
            for client in self._viewers if isinstance(item, bytes) else self._listeners:
                for message in messages:
                    client.offer(message)
        return state

    def _messages(self, item: Prediction | Event | Message) -> list[Message]:
        """Return messages, encoded for all clients; none for what cannot be encoded, which is logged."""
        try:
            if isinstance(item, Event):
                messages = [Message(event_payload(item))]
            elif isinstance(item, Message):
                messages = [item]
            else:
                age_s = time.monotonic() - item.time  # LSL's clock is the monotonic one
                messages = [Message(prediction_payload(item, time.time() - age_s), expendable=True)]
                if item.control is not None:
                    messages += control_messages(item.control, item.seq, item.time, age_s)
            for encoding in {client.encoding for client in self._listeners}:
                for message in messages:
                    message.encoded(encoding)
        except (TypeError, ValueError, ArithmeticError, RecursionError):
            log.exception("A message could not be encoded and was left out.", extra={"stream": self.stream})
            return []
        return messages

    def _end_views(self) -> None:
        for client in self._viewers:
            client.close()

    def _end(self) -> None:
        self._deliver()
        for client in self._listeners | self._viewers:
            client.close(self.goodbye)


def _position(label: str) -> list[float] | None:
    """Return the place of a channel on the unit sphere, (x, y, z) to the right ear, nose and vertex; None without one."""
    try:
        return [round(float(value), 4) for value in position(bare_label(label))]
    except ArgumentError:
        return None


def _is_kept(item: Prediction | Event | Message | bytes) -> bool:
    """Return true for what a full inbox keeps longest: events, and predictions with a decision."""
    if isinstance(item, Prediction):
        return item.control is not None and item.control.decision is not None
    return isinstance(item, Event)
