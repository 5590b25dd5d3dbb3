"""Life of a service with worker processes, from their start to their end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

from mindwire.api.app import create_app
from mindwire.api.guard import Access
from mindwire.api.streams import Streams
from mindwire.errors import MindwireError
from mindwire.serve.gateway.gateway import Gateway
from mindwire.serve.gateway.routes import GatewayRoutes
from mindwire.serve.jobs import closing, training_jobs
from mindwire.serve.listening import listening, stop_on_signals
from mindwire.serve.specs import Specs

log = logging.getLogger(__name__)


async def serve_gateway(
    specs: Specs, n_workers: int, sock: socket.socket, access: Access, announce: Callable[[], None]
) -> list[MindwireError]:
    """Run the service in ``n_workers`` processes until it is stopped; returns the refusal that ended it, if one did.

    ``announce`` is called when the streams begin. Raises MindwireError if a worker cannot start or refuses its settings.
    """
    stop = asyncio.Event()
    settings = specs.settings
    refused: list[MindwireError] = []
    without_streams: set[int] = set()
    n_workers_with_streams = min(n_workers, len(settings.stream))

    def on_refused(number: int, error: MindwireError) -> None:
        without_streams.add(number)
        if not specs.kept and (not settings.wait or len(without_streams) >= n_workers_with_streams):
            refused.append(error)
            stop.set()
        else:
            message = "The streams of worker %d are refused, the others go on: %s"
            log.error(message, number, error, extra={"worker": number})

    with tempfile.TemporaryDirectory(prefix="mindwire-") as folder, stop_on_signals(stop):
        gateway = Gateway(specs, n_workers, Path(folder), str(sock.getsockname()[1]), on_refused)
        starting, stopping = asyncio.ensure_future(gateway.start()), asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: starting.cancel())
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            if not stop.is_set():
                announce()
                streams = cast("Streams", gateway.streams)  # all but their commands, which are forwarded
                jobs = training_jobs(specs, streams, gateway.use_model)
                app = create_app(
                    streams,
                    access,
                    refresh=gateway.refresh,
                    instead=GatewayRoutes(gateway).router(),
                    models=specs.models,
                    registry=gateway,
                    training=jobs,
                )
                async with closing(jobs), listening(app, sock, stop):
                    gateway.supervise()
                    await stop.wait()
                    await gateway.stop()
        finally:
            stopping.cancel()
            await gateway.stop()
    return refused
