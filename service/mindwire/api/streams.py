"""What the API needs of a stream, and where its routes find the streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from starlette.requests import HTTPConnection

from mindwire.options import AdaptationCommand
from mindwire.sinks.feed import LatencyHistogram
from mindwire.sinks.messages import Encoding
from mindwire.sinks.subscription import Subscription
from mindwire.status import Event, StreamStatus


class Hub(Protocol):
    """Where a stream's websocket clients subscribe; lives on the event loop."""

    @property
    def n_clients(self) -> int:
        """Clients that receive predictions now."""
        ...

    @property
    def n_viewers(self) -> int:
        """Clients that receive the display signal now."""
        ...

    @property
    def sent(self) -> int:
        """Messages handed to clients since the start."""
        ...

    @property
    def dropped(self) -> int:
        """Messages that slow clients missed since the start."""
        ...

    @property
    def latency(self) -> Mapping[str, LatencyHistogram]:
        """Latency of all predictions so far, per stage."""
        ...

    def recent_events(self) -> list[Event]:
        """The last events, oldest first."""
        ...

    def subscribe(self, hello: dict[str, Any], encoding: Encoding) -> Subscription:
        """A queue of everything from now on, beginning with ``hello`` and the latest state."""
        ...

    def subscribe_signal(self) -> Subscription:
        """A queue of the display signal, beginning with a ``hello`` that says what the blocks hold."""
        ...

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a client."""
        ...


class StreamLike(Protocol):
    """A running stream as the API sees it; every method is quick and may be called from any thread."""

    @property
    def name(self) -> str:
        """Name of the stream, unique in this service."""
        ...

    @property
    def ready(self) -> bool:
        """Whether predictions are fresh."""
        ...

    @property
    def hung(self) -> bool:
        """Whether the loop hung and has not since shown that it moves."""
        ...

    @property
    def hub(self) -> Hub:
        """Where websocket clients subscribe."""
        ...

    def status(self) -> StreamStatus:
        """Everything ``/v1/streams/{stream}`` says."""
        ...

    def command(self, command: AdaptationCommand) -> None:
        """Have an adaptation command carried out soon; raises ContractError when there is nothing to command."""
        ...

    def hello(self) -> dict[str, Any]:
        """The first message of the websocket."""
        ...


Streams = Mapping[str, StreamLike]


async def up_to_date() -> None:
    """Bring up to date what streams say of themselves: nothing to do for those of this process."""


def streams_of(connection: HTTPConnection) -> Streams:
    """The streams that the application was created with."""
    streams: Streams = connection.app.state.streams
    return streams


def unknown_stream(name: str, streams: Streams) -> str:
    """One sentence for a client that asked for a stream there is not."""
    known = ", ".join(sorted(streams)) or "none"
    return f"There is no stream {name!r}; there are: {known}."
