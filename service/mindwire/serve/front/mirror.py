"""What the front door shows of a worker's stream: the same to clients as the stream itself would be."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mindwire.errors import ContractError
from mindwire.options import AdaptationCommand
from mindwire.serve.front.wire import SIGNAL, Introduction, Report
from mindwire.sinks.clients import Clients
from mindwire.sinks.feed import REMEMBERED_EVENTS, LatencyHistogram
from mindwire.sinks.messages import Encoding, Message, event_payload
from mindwire.sinks.subscription import Subscription
from mindwire.status import SHOWN_KINDS, Event, StreamState, StreamStatus


class RelayHub:
    """The websocket clients of a worker's stream; a :class:`mindwire.api.streams.Hub`, all on the event loop.

    Each message comes once per encoding, however many clients want it, and only while one does.

    Parameters
    ----------
    stream : str
        Name of the stream.
    follow : callable
        Told a feed and whether it is wanted, whenever that changes.
    """

    def __init__(self, stream: str, follow: Callable[[str, bool], None]) -> None:
        self.latency: dict[str, LatencyHistogram] = {}
        self.signal_hello: dict[str, Any] = {}
        self._clients = Clients(stream)
        self._follow = follow
        self._followed: set[str] = set()
        self._state: Event | None = None
        self._events: deque[Event] = deque(maxlen=REMEMBERED_EVENTS)

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

    def recent_events(self) -> list[Event]:
        """The last events, oldest first, at most :data:`mindwire.sinks.feed.REMEMBERED_EVENTS`."""
        return list(self._events)

    def subscribe(self, hello: dict[str, Any], encoding: Encoding = Encoding.JSON) -> Subscription:
        """A queue of everything from now on, beginning with ``hello`` and the latest state."""
        subscription = self._clients.subscribe(hello, self._state, encoding)
        self._follow_what_is_wanted()
        return subscription

    def subscribe_signal(self) -> Subscription:
        """A queue of the display signal, beginning with a JSON ``hello`` that says what the blocks hold."""
        subscription = self._clients.subscribe_signal(self.signal_hello)
        self._follow_what_is_wanted()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a client."""
        self._clients.unsubscribe(subscription)
        self._follow_what_is_wanted()

    def begin_anew(self) -> None:
        """Ask for everything again: the worker is another one."""
        self._followed.clear()
        self._follow_what_is_wanted()

    def event(self, event: Event) -> None:
        """Pass on an event; the latest of kind ``state`` is what new clients hear first."""
        if event.kind not in SHOWN_KINDS:
            self._events.append(event)
        if event.kind == "state":
            self._state = event
        self._clients.offer([Message(event_payload(event))])

    def relay(self, feed: str, payloads: Sequence[bytes]) -> None:
        """Pass on messages of one feed as the worker has encoded them."""
        if feed == SIGNAL:
            self._clients.show([Message(payload, expendable=True) for payload in payloads])
            return
        encoding = Encoding(feed)
        text = encoding is Encoding.JSON
        self._clients.offer_encoded(
            encoding,
            [Message.ready(encoding, payload.decode() if text else payload, expendable=True) for payload in payloads],
        )

    def miss(self, n: int) -> None:
        """Count messages that were lost on the way here."""
        self._clients.miss(n)

    def close(self) -> None:
        """Send clients away."""
        self._clients.close()

    def _follow_what_is_wanted(self) -> None:
        wanted = {encoding.value for encoding in self._clients.encodings}
        if self._clients.n_viewers:
            wanted.add(SIGNAL)
        for feed in wanted ^ self._followed:
            self._follow(feed, feed in wanted)
        self._followed = wanted


class MirroredStream:
    """A worker's stream; a :class:`mindwire.api.streams.StreamLike`.

    Parameters
    ----------
    name : str
    introduction : Introduction
    follow : callable
        Told a feed and whether it is wanted, whenever that changes.
    adapt : callable
        Hands an adaptation command to the worker.
    """

    def __init__(
        self,
        name: str,
        introduction: Introduction,
        *,
        follow: Callable[[str, bool], None],
        adapt: Callable[[AdaptationCommand], None],
    ) -> None:
        self.name = name
        self.hub = RelayHub(name, follow)
        self._adapt = adapt
        self.introduce(introduction)

    @property
    def ready(self) -> bool:
        """Whether predictions are fresh."""
        return bool(self._said["ready"])

    @property
    def hung(self) -> bool:
        """Whether the stream's loop hangs, by the worker's last report."""
        return bool(self._said.get("hung"))

    def hello(self) -> dict[str, Any]:
        """The first message of the websocket."""
        return dict(self._hello)

    def status(self) -> StreamStatus:
        """What the worker last said, or what became of it since."""
        return StreamStatus.model_validate(self._said)

    def command(self, command: AdaptationCommand) -> None:
        """Have an adaptation command carried out between two chunks.

        Raises
        ------
        ContractError
            The model aligns nothing online, or no signal is there yet.
        """
        if self._said["adaptation"] is None and self._said["decoder_adaptation"] is None:
            msg = (
                f"There is no adaptation of stream {self.name!r} to {command.action}: its model aligns nothing online, "
                "or it has seen no signal yet."
            )
            raise ContractError(msg)
        self._adapt(command)

    # ── said by the keeper of the worker ─────────────────────────────────────────────────────────────

    def introduce(self, introduction: Introduction) -> None:
        """The stream has been built, perhaps once more."""
        self._hello: Mapping[str, Any] = introduction.hello
        self.hub.signal_hello = introduction.signal_hello
        self._out_of_reach = False  # what the new one says of its state, it says itself
        self.report(introduction.report)
        self.hub.begin_anew()

    def report(self, report: Report) -> None:
        """What the stream says of itself now."""
        self._said: Mapping[str, Any] = report.status
        self.hub.latency = {stage: LatencyHistogram(counts, total) for stage, (counts, total) in report.latency.items()}
        if self._out_of_reach:
            self._out_of_reach = False
            self._tell_state(StreamState.STALE)

    def unreachable(self, state: StreamState, reason: str) -> None:
        """The stream can say nothing itself; this is why."""
        before = StreamState(self._said["state"])
        if (before, self._said["state_reason"]) == (state, reason):
            return
        changed = {"state": state.value, "state_reason": reason, "state_since_unix": time.time(), "ready": False}
        changed["hung"] = state is StreamState.FAILED  # as its worker is
        nothing: dict[str, Any] = {"source": None, "last_prediction_age_s": None, "quality": []}
        self._said = {**self._said, **changed, **nothing}
        self._out_of_reach = True
        self._tell_state(before)

    def _tell_state(self, before: StreamState) -> None:
        data = {"state": self._said["state"], "previous": before.value}
        self.hub.event(Event(self.name, "state", self._said["state_reason"], time.time(), data))
