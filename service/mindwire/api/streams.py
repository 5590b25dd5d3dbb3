"""Streams as the API needs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

from starlette.requests import HTTPConnection

from mindwire.options import AdaptationCommand
from mindwire.sinks.hub import PredictionHub
from mindwire.status import StreamStatus


class DescribedStream(Protocol):
    """A stream of this or another process; all is quick and may be called from any thread."""

    @property
    def name(self) -> str:
        """Name of the stream, unique in this service."""
        ...

    @property
    def ready(self) -> bool:
        """True while predictions are fresh."""
        ...

    @property
    def hung(self) -> bool:
        """True from when the loop hung until it has shown that it moves."""
        ...

    def status(self) -> StreamStatus:
        """Return all that ``/v1/streams/{stream}`` says."""
        ...


class RunningStream(DescribedStream, Protocol):
    """A stream that this process runs."""

    hub: PredictionHub

    def command(self, command: AdaptationCommand) -> None:
        """Have an adaptation command carried out soon; raises ContractError when there is nothing to command."""
        ...

    def hello(self) -> dict[str, Any]:
        """Return the first message of the websocket."""
        ...


Streams = Mapping[str, DescribedStream]


async def up_to_date() -> None:
    """Do nothing: streams of this process are always described as they are."""


def streams_of(connection: HTTPConnection) -> Streams:
    """Return the streams that the application was created with."""
    return cast("Streams", connection.app.state.streams)


def running_streams_of(connection: HTTPConnection) -> Mapping[str, RunningStream]:
    """Return the same streams where this process runs them, as it does those that are asked for more than a status."""
    return cast("Mapping[str, RunningStream]", connection.app.state.streams)


def unknown_stream(name: str, streams: Mapping[str, object]) -> str:
    """Return one sentence for a client that asked for a stream there is not."""
    known = ", ".join(sorted(streams)) or "none"
    return f"There is no stream {name!r}; there are: {known}."
