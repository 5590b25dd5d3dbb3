"""What the API needs of a stream, and where its routes find the streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from starlette.requests import HTTPConnection

from service.pipeline import AdaptationCommand
from service.sinks.hub import PredictionHub
from service.status import StreamStatus


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
    def hub(self) -> PredictionHub:
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


def streams_of(connection: HTTPConnection) -> Streams:
    """The streams that the application was created with."""
    streams: Streams = connection.app.state.streams
    return streams


def unknown_stream(name: str, streams: Streams) -> str:
    """One sentence for a client that asked for a stream there is not."""
    known = ", ".join(sorted(streams)) or "none"
    return f"There is no stream {name!r}; there are: {known}."
