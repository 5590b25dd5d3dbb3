"""The way of one stream's messages from a worker to the front door: encoded here, once, and only when wanted there."""

from __future__ import annotations

import logging
from collections.abc import Collection

from mindwire.serve.front.wire import SIGNAL, Frames, Link, Missed, Order, Told
from mindwire.sinks.feed import Feed, Item
from mindwire.sinks.hub import unix_offset
from mindwire.sinks.messages import Encoding, Message, prediction_payload, textual
from mindwire.status import Event
from mindwire.types import Prediction
from mindwire_models.contract import Contract

log = logging.getLogger(__name__)


class Uplink(Feed):
    """Sends a stream's events always, its predictions and its display signal while somebody follows them.

    While the front door takes nothing, what waits stays in the bounded inbox, where the newest wins.

    Parameters
    ----------
    stream : str
        Name of the stream.
    contract : Contract
    link : Link
        To the front door.
    """

    def __init__(self, stream: str, contract: Contract, link: Link[Order]) -> None:
        super().__init__(stream, contract)
        self._link = link
        self._encodings: set[Encoding] = set()
        self._viewed = False

    @property
    def n_clients(self) -> int:
        """In how many encodings predictions are followed now."""
        return len(self._encodings)

    @property
    def n_viewers(self) -> int:
        """Whether the display signal is followed now."""
        return int(self._viewed)

    def publish(self, prediction: Prediction) -> None:
        """Take one prediction; its latency is the stream's own hub's to observe."""
        if self._encodings:
            self._post(prediction)

    def follow(self, feed: str, *, wanted: bool) -> None:
        """Begin or end to send a feed."""
        if feed == SIGNAL:
            self._viewed = wanted
        elif wanted:
            self._encodings.add(Encoding(feed))
        else:
            self._encodings.discard(Encoding(feed))

    def catch_up(self) -> None:
        """Send what waits, now that the front door takes it again."""
        super()._fan_out()

    def _fan_out(self) -> None:
        if not self._link.full:
            super()._fan_out()

    def _deliver(self, items: Collection[Item], missed: int) -> None:
        if missed:
            self._link.send(Missed(self.stream, missed))
        messages: list[Message] = []
        blocks: list[bytes] = []
        for item in items:
            if isinstance(item, bytes):
                blocks.append(item)
            elif isinstance(item, Prediction):
                messages.append(Message(prediction_payload(item, item.time + unix_offset())))
            else:
                self._send(messages)
                messages = []
                self._tell(item)
        self._send(messages)
        if blocks:
            self._link.send(Frames(self.stream, SIGNAL, blocks))

    def _send(self, messages: list[Message]) -> None:
        if not messages:
            return
        for encoding in self._encodings:
            encoded = [message.encoded(encoding) for message in messages]
            payloads = [one.encode() if isinstance(one, str) else one for one in encoded]
            self._link.send(Frames(self.stream, encoding.value, payloads))

    def _tell(self, event: Event) -> None:
        try:
            self._link.send(Told(self.stream, event.kind, event.message, event.unix_time, textual(event.data)))
        except (TypeError, ValueError, ArithmeticError, RecursionError):
            # one odd event is lost; the stream and its clients go on
            log.exception("Stream %s: an event could not be encoded and was left out.", self.stream)

    def _end(self) -> None:
        self.catch_up()
