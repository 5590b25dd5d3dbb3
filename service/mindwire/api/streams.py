"""Streams as the API needs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, cast

from starlette.requests import HTTPConnection

from mindwire.control.policy import ControlPolicy
from mindwire.control.setting import ControlSetting
from mindwire.live.latency import Latency
from mindwire.live.model_swap import ModelSwap
from mindwire.options import AdaptationCommand
from mindwire.sinks.hub import PredictionHub
from mindwire.sinks.message_types import Hello
from mindwire.status import StreamStatus

if TYPE_CHECKING:
    from mindwire.live.recordings import Recordings
    from mindwire.sinks.sent_markers import SentMarkers


class StreamLike(Protocol):
    """A running stream; all is quick and may be called from any thread."""

    name: str
    hub: PredictionHub
    latency: Latency
    swap: ModelSwap
    markers: SentMarkers  # that are sent to the stream
    control_setting: ControlSetting  # as commanded; a pipeline takes it between two chunks

    @property
    def recordings(self) -> Recordings:
        """Beginning and end of recordings."""

    @property
    def hung(self) -> bool:
        """True from when the loop hung until it has shown that it moves."""

    def status(self) -> StreamStatus:
        """Return all that ``/v1/streams/{stream}`` says."""

    def command(self, command: AdaptationCommand) -> None:
        """Have an adaptation command carried out soon; raises ContractError when there is nothing to command."""

    def save_adaptation(self) -> None:
        """Write what was learnt to the stream's file; raises ContractError if it has none or nothing was learnt."""

    def control(self, policy: ControlPolicy | None = None, *, paused: bool | None = None) -> None:
        """Have the control policy or its pause changed soon; raises PolicyError if the policy does not fit the model."""

    def hello(self) -> Hello:
        """Return the first message of the websocket."""


Streams = Mapping[str, StreamLike]


def streams_of(connection: HTTPConnection) -> Streams:
    """Return the streams that the application was created with."""
    return cast("Streams", connection.app.state.streams)


def unknown_stream(name: str, streams: Streams) -> str:
    """Return one sentence for a client that asked for a stream there is not."""
    known = ", ".join(sorted(streams)) or "none"
    return f"There is no stream {name!r}; there are: {known}."
