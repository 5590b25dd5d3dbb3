"""The websocket hub: fans a stream's predictions out to any number of clients, none of which can hold it up.

Each client has a bounded queue in which the newest wins; what it misses is counted and told to it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from typing import Any

from mindwire.sinks.clients import Clients
from mindwire.sinks.feed import Feed, Item
from mindwire.sinks.messages import Encoding, Message, event_payload, prediction_payload
from mindwire.sinks.subscription import Subscription
from mindwire.status import Event
from mindwire.types import Prediction
from mindwire_models.contract import Contract

log = logging.getLogger(__name__)


def unix_offset() -> float:
    """Seconds to add to an LSL time for seconds since the epoch; LSL's clock is the monotonic one."""
    return time.time() - time.monotonic()


class PredictionHub(Feed):
    """Websocket fan-out of one stream; a :class:`mindwire.status.Sink`.

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
        super().__init__(stream, contract, capacity=capacity)
        self.encoding_failures = 0
        self._to_unix = to_unix
        self._clients = Clients(stream, capacity)

    @property
    def n_clients(self) -> int:
        """Clients that receive predictions now."""
        return self._clients.n_listeners

    @property
    def n_viewers(self) -> int:
        """Clients that receive the display signal now."""
        return self._clients.n_viewers

    @property
    def sent(self) -> int:
        """Messages handed to clients since the start."""
        return self._clients.sent

    @property
    def dropped(self) -> int:
        """Messages that slow clients missed since the start."""
        return self._clients.dropped

    def subscribe(self, hello: dict[str, Any], encoding: Encoding = Encoding.JSON) -> Subscription:
        """A queue of everything from now on, beginning with ``hello`` and the latest state.

        Parameters
        ----------
        hello : dict
            The stream's own introduction.
        encoding : Encoding
        """
        return self._clients.subscribe(hello, self.attach(), encoding)

    def subscribe_signal(self) -> Subscription:
        """A queue of the display signal, beginning with a JSON ``hello`` that says what the blocks hold."""
        self.attach()
        return self._clients.subscribe_signal(self.signal_hello())

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a client."""
        self._clients.unsubscribe(subscription)

    def close(self) -> None:
        """Send clients away; may be called more than once and from any thread."""
        self._clients.refuse()
        super().close()

    def _deliver(self, items: Collection[Item], missed: int) -> None:
        if missed:
            self._clients.miss(missed)
        self._clients.show([Message(item, expendable=True) for item in items if isinstance(item, bytes)])
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
        self._clients.offer(messages)

    def _message(self, item: Prediction | Event) -> Message:
        if isinstance(item, Event):
            message = Message(event_payload(item))
        else:
            message = Message(prediction_payload(item, item.time + self._to_unix()), expendable=True)
        for encoding in self._clients.encodings:
            message.frame(encoding)
        return message

    def _end(self) -> None:
        self._fan_out()
        self._clients.close()
