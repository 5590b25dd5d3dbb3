"""The service as a whole, from the settings to a clean end, in this process or in several."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from mindwire.api.guard import Access
from mindwire.api.server import bind_socket
from mindwire.api.tls import Certificate
from mindwire.config import Settings
from mindwire.errors import MindwireError
from mindwire.limits import raise_descriptor_limit, usable_cores
from mindwire.serve.config_file import ConfigFile
from mindwire.serve.jobs import closing, training_jobs
from mindwire.serve.listening import address, event_loop, with_tokens
from mindwire.serve.named_sources import check_settings, named_after_sources
from mindwire.serve.specs import Specs

if TYPE_CHECKING:
    from mindwire.live.stream import Stream

_NO_STREAM = "No stream is configured yet; add one on the page or with POST /v1/streams."


def serve(
    settings: Settings,
    *,
    announce: Callable[[str], None],
    save: Path | None = None,
    alongside: Callable[[Mapping[str, Stream]], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Run the service until it is stopped; ``announce`` takes lines for the terminal.

    Parameters
    ----------
    save : Path or None
        Settings file that holds every change of the streams from now on.
    alongside : callable
        Given the streams, returns a context that is entered before they run and left when they have ended; not used
        with several worker processes.

    Raises
    ------
    UsageError
        No bundle is named.
    MindwireError
        The bundle cannot be loaded, the port is taken, or every stream is refused at the start (any, if not waited for).
    """
    raise_descriptor_limit()
    check_settings(settings)
    settings = named_after_sources(settings)
    workers = settings.workers or usable_cores()
    specs = Specs(settings, None if save is None else ConfigFile(save))
    settings, notice = with_tokens(settings)
    certificate = None
    if settings.tls_cert is not None and settings.tls_key is not None:
        certificate = Certificate(settings.tls_cert, settings.tls_key)
    access = Access(settings.token, settings.read_token, settings.allow_host, settings.allow_origin, certificate)
    with bind_socket(settings.host, settings.port) as sock:

        def listens() -> None:
            announce(f"Mindwire listens on {address(settings, sock)}")
            for line in (notice, None if settings.stream else _NO_STREAM):
                if line:
                    announce(line)

        refused: list[MindwireError] = []
        if workers > 1 or settings.ray is not None:  # this process then needs nothing of what runs streams
            from mindwire.serve.gateway.run import serve_gateway

            with event_loop() as runner:
                refused = runner.run(serve_gateway(specs, workers, sock, access, listens))
        else:
            from mindwire.api.app import create_app
            from mindwire.serve.registry import StreamRegistry, run_streams
            from mindwire.serve.streams import StreamBuilder

            streams = StreamRegistry(specs, StreamBuilder(settings, instance=str(sock.getsockname()[1])))
            jobs = training_jobs(specs, streams, streams.use_model)
            app = create_app(streams, access, models=specs.models, registry=streams, training=jobs)
            listens()
            stop = asyncio.Event()

            def on_refused(error: MindwireError) -> None:
                refused.append(error)
                stop.set()

            async def run() -> None:
                async with closing(jobs):
                    await run_streams(streams, app, sock, stop, on_refused=on_refused)

            with alongside(streams), event_loop() as runner:
                runner.run(run())
    if refused:
        raise refused[0]
