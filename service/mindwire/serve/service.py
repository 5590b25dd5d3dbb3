"""The service as a whole, from the settings to a clean end, in this process or in several."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from mindwire.api.guard import Access
from mindwire.api.server import bind_socket
from mindwire.config import Settings
from mindwire.errors import MindwireError
from mindwire.limits import raise_descriptor_limit, usable_cores
from mindwire.serve.listening import address, event_loop, with_tokens
from mindwire.serve.models import ModelStore
from mindwire.serve.named_sources import check_settings, named_after_sources

if TYPE_CHECKING:
    from mindwire.live.stream import Stream


def serve(
    settings: Settings,
    *,
    announce: Callable[[str], None],
    alongside: Callable[[Mapping[str, Stream]], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Run the service until it is stopped; ``announce`` takes lines for the terminal.

    Parameters
    ----------
    alongside : callable
        Given the streams, returns a context that is entered before they run and left when they have ended; not used
        with several worker processes.

    Raises
    ------
    UsageError
        No bundle or no stream is named.
    MindwireError
        The bundle cannot be loaded, the port is taken, or every stream is refused at the start (any, if not waited for).
    """
    raise_descriptor_limit()
    check_settings(settings)
    models = ModelStore(settings.models)
    settings = named_after_sources(settings)
    workers = min(settings.workers or usable_cores(), len(settings.stream))
    settings, notice = with_tokens(settings)
    access = Access(settings.token, settings.read_token, settings.allow_host, settings.allow_origin)
    with bind_socket(settings.host, settings.port) as sock:

        def listens() -> None:
            announce(f"Mindwire listens on {address(settings, sock)}")
            if notice:
                announce(notice)

        refused: list[MindwireError] = []
        if workers > 1:  # this process then needs nothing of what runs streams
            from mindwire.serve.gateway.gateway import serve_gateway

            with event_loop() as runner:
                refused = runner.run(serve_gateway(settings, workers, sock, access, listens))
        else:
            from mindwire.api.app import create_app
            from mindwire.serve.streams import build_streams, run_streams

            streams = build_streams(settings, instance=str(sock.getsockname()[1]))
            app = create_app(streams, access, models=models)
            listens()
            stop = asyncio.Event()

            def on_refused(error: MindwireError) -> None:
                refused.append(error)
                stop.set()

            with alongside(streams), event_loop() as runner:
                runner.run(run_streams(settings, app, sock, streams, stop, on_refused=on_refused))
    if refused:
        raise refused[0]
