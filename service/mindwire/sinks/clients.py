"""The websocket clients of one stream: all are offered the same messages, and none can hold the others up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mindwire.sinks.messages import Encoding, Message, event_payload
from mindwire.sinks.subscription import Subscription
from mindwire.status import Event


class Clients:
    """Who receives a stream's predictions, and who its display signal; lives on the event loop.

    Parameters
    ----------
    stream : str
        Name of the stream.
    capacity : int
        Most messages that wait for one client.
    """

    def __init__(self, stream: str, capacity: int = 64) -> None:
        self._stream = stream
        self._capacity = capacity
        self._closed = False
        self._listeners: dict[Encoding, set[Subscription]] = {encoding: set() for encoding in Encoding}
        self._viewers: set[Subscription] = set()
        self._past_sent = 0
        self._past_dropped = 0

    @property
    def n_listeners(self) -> int:
        """Clients that receive predictions now."""
        return sum(map(len, self._listeners.values()))

    @property
    def n_viewers(self) -> int:
        """Clients that receive the display signal now."""
        return len(self._viewers)

    @property
    def encodings(self) -> list[Encoding]:
        """In which encodings predictions are wanted now."""
        return [encoding for encoding, group in self._listeners.items() if group]

    @property
    def sent(self) -> int:
        """Messages handed to clients since the start."""
        return self._past_sent + sum(client.sent for client in self._all())

    @property
    def dropped(self) -> int:
        """Messages that slow clients missed since the start."""
        return self._past_dropped + sum(client.dropped for client in self._all())

    def subscribe(self, hello: Mapping[str, Any], state: Event | None, encoding: Encoding) -> Subscription:
        """A queue of everything from now on, beginning with ``hello`` and the latest state."""
        subscription = Subscription(self._stream, encoding, self._capacity)
        subscription.offer(Message(hello))
        if state is not None:
            subscription.offer(Message(event_payload(state)))
        return self._enter(self._listeners[encoding], subscription)

    def subscribe_signal(self, hello: Mapping[str, Any]) -> Subscription:
        """A queue of the display signal, beginning with ``hello`` as JSON."""
        subscription = Subscription(self._stream, Encoding.JSON, self._capacity, told=False)
        subscription.offer(Message(hello))
        return self._enter(self._viewers, subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a client."""
        for group in (*self._listeners.values(), self._viewers):
            if subscription in group:
                group.remove(subscription)
                self._past_sent += subscription.sent
                self._past_dropped += subscription.dropped
        subscription.close()

    def offer(self, messages: Sequence[Message]) -> None:
        """Give messages to everybody who receives predictions."""
        for encoding in self.encodings:
            self.offer_encoded(encoding, messages)

    def offer_encoded(self, encoding: Encoding, messages: Sequence[Message]) -> None:
        """Give messages to those who receive predictions in one encoding."""
        _offer(self._listeners[encoding], encoding, messages)

    def show(self, blocks: Sequence[Message]) -> None:
        """Give blocks of the display signal to those who receive it."""
        _offer(self._viewers, Encoding.JSON, blocks)

    def miss(self, n: int) -> None:
        """Count ``n`` messages that none of those who receive predictions can be given, and tell them."""
        for group in self._listeners.values():
            for client in group:
                client.miss(n)

    def refuse(self) -> None:
        """Let everybody who comes from now on go at once; may be called from any thread."""
        self._closed = True

    def close(self) -> None:
        """Let everybody go once they have what waits for them."""
        self._closed = True
        for client in self._all():
            client.close()

    def _all(self) -> Iterator[Subscription]:
        for group in (*self._listeners.values(), self._viewers):
            yield from group

    def _enter(self, group: set[Subscription], subscription: Subscription) -> Subscription:
        if self._closed:
            subscription.close()
        else:
            group.add(subscription)
        return subscription


def _offer(clients: set[Subscription], encoding: Encoding, messages: Sequence[Message]) -> None:
    """Give messages to clients; what has piled up while the loop was late goes out in one write each."""
    if not clients or not messages:
        return
    frames = b"".join(message.frame(encoding) for message in messages)
    for client in clients:
        if not client.write_at_once(frames, len(messages)):
            for message in messages:
                client.offer(message)
