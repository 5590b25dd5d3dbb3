"""The gateway: one port, one page and one REST interface for streams that worker processes run.

A reverse proxy. Requests for one stream, and its websockets, go to the worker that has it; answers about all streams
are put together from those of the workers. Access, limits of connections and the page are the gateway's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mindwire.api.app import create_app
from mindwire.api.guard import Access
from mindwire.config import Settings
from mindwire.errors import MindwireError
from mindwire.serve.gateway.address import Address, Answer
from mindwire.serve.gateway.process import WorkerStart
from mindwire.serve.gateway.worker import RemoteStream, Worker, share_streams
from mindwire.serve.listening import listen, stop_on_signals
from mindwire.sinks.messages import event_payload
from mindwire.status import REMEMBERED_EVENTS

log = logging.getLogger(__name__)

# The end as a whole takes less than two seconds; a worker needs a little longer than its streams.
_STOP_WORKERS_S = 1.3
_USUAL_HOP = 10
_MAX_PATH = 100


async def serve_gateway(
    settings: Settings, n_workers: int, sock: socket.socket, announce: Callable[[], None]
) -> list[MindwireError]:
    """Run the service in several processes until it is stopped.

    Parameters
    ----------
    settings : Settings
    n_workers : int
        Number of processes that run streams.
    sock : socket.socket
        Bound and listening.
    announce : callable
        Called when the streams begin.

    Returns
    -------
    list of MindwireError
        The refusal that ended the service.

    Raises
    ------
    MindwireError
        A worker cannot be started or refuses its settings.
    """
    stop = asyncio.Event()
    refused: list[MindwireError] = []
    without_streams: set[int] = set()

    def on_refused(number: int, error: MindwireError) -> None:
        without_streams.add(number)
        if not settings.wait or len(without_streams) == n_workers:
            refused.append(error)
            stop.set()
        else:
            log.error("The streams of worker %d are refused, the others go on: %s", number, error)

    access = Access(settings.token, tuple(settings.allow_host), tuple(settings.allow_origin))
    with tempfile.TemporaryDirectory(prefix="mindwire-") as folder, stop_on_signals(stop):
        starts = _worker_starts(settings, n_workers, str(sock.getsockname()[1]), Path(folder))
        workers = [Worker(start, on_refused=partial(on_refused, start.number)) for start in starts]
        gateway = Gateway([spec.id for spec in settings.stream], workers)
        try:
            await _run_unless_stopped(stop, gateway.start())
            if not stop.is_set():
                announce()
                app = create_app(gateway.streams, access=access, refresh=gateway.refresh, forward=gateway.forward)
                await listen(app, sock, stop, begin=gateway.supervise, end=gateway.stop)
        finally:
            await gateway.stop()
    return refused


def _worker_starts(settings: Settings, n_workers: int, instance: str, folder: Path) -> list[WorkerStart]:
    hops = {spec.id: spec.hop or settings.hop or _USUAL_HOP for spec in settings.stream}
    text = settings.model_dump_json(exclude={"token", "token_file"})
    starts = []
    for number, names in enumerate(share_streams(hops, n_workers), 1):
        path = str(folder / f"{number}.socket")
        if hasattr(socket, "AF_UNIX") and len(path.encode()) <= _MAX_PATH:
            address = Address(path)
        else:
            address = Address(token=secrets.token_urlsafe(24))
        starts.append(WorkerStart(text, names, instance, number, n_workers, 0, address, str(folder)))
    return starts


async def _run_unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` until it is done or ``stop`` is set."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    for task in (working, stopping):
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


@dataclass(slots=True)
class _Route:
    """Worker of one stream, and what the gateway knows of the stream."""

    worker: Worker
    stream: RemoteStream


class Gateway:
    """All workers, and the way to the worker of each stream.

    Parameters
    ----------
    names : sequence of str
        Streams in the order of the settings.
    workers : sequence of Worker
    """

    def __init__(self, names: Sequence[str], workers: Sequence[Worker]) -> None:
        self._workers = tuple(workers)
        worker_of = {name: worker for worker in workers for name in worker.streams}
        self._routes = {name: _Route(worker_of[name], worker_of[name].streams[name]) for name in names}
        self._tasks: list[asyncio.Task[None]] = []
        self._refreshing: asyncio.Future[list[bool]] | None = None
        self._stopped = False

    @property
    def streams(self) -> dict[str, RemoteStream]:
        """The streams of all workers."""
        return {name: route.stream for name, route in self._routes.items()}

    async def start(self) -> None:
        """Start all workers at once; raises the first error that one of them reports."""
        await asyncio.gather(*(worker.start() for worker in self._workers))

    def supervise(self) -> None:
        """Start workers that end again, from now on."""
        self._tasks = [asyncio.create_task(worker.supervise()) for worker in self._workers]

    async def stop(self) -> None:
        """End all workers in order, so that every client hears it."""
        if self._stopped:
            return
        self._stopped = True
        await asyncio.gather(*(worker.stop(_STOP_WORKERS_S) for worker in self._workers))
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    # ── requests ─────────────────────────────────────────────────────────────────────────────────────

    async def refresh(self) -> None:
        """Bring the descriptions of all streams up to date; concurrent callers share one refresh."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.gather(*(worker.refresh() for worker in self._workers))
        await asyncio.shield(self._refreshing)

    async def forward(self, request: Request) -> Response | None:
        """Answer a request for one stream, for all streams or for the metrics; None for any other."""
        path, method = request.scope["path"], request.method
        if method == "GET" and path == "/metrics":
            return await self._metrics()
        if method == "GET" and path == "/v1/streams":
            await self.refresh()
            return _json([stream.described for stream in self.streams.values()])
        route, rest = self._route(path)
        if route is None or rest not in ("", "events", "adaptation"):
            return None
        return await self._answer(request, route, rest)

    async def _answer(self, request: Request, route: _Route, rest: str) -> Response:
        """Answer a request for one stream."""
        method = request.method
        answer = await route.worker.ask(
            request.scope["raw_path"].decode("latin-1"),
            method=method,
            body=await request.body(),
            content_type=request.headers.get("content-type", ""),
        )
        if rest == "events" and method == "GET":
            return _events(route.stream, answer)
        if answer is not None:
            return Response(answer.body, answer.status, media_type=answer.content_type)
        if rest == "" and method == "GET":
            return _json(route.stream.described)
        return JSONResponse({"detail": f"{route.stream.described['state_reason']} Try again later."}, 503)

    def _route(self, path: str) -> tuple[_Route | None, str]:
        """Return the route to the stream that a path names, and the rest of the path."""
        name, _, rest = path.removeprefix("/v1/streams/").partition("/")
        return (self._routes.get(name) if path.startswith("/v1/streams/") else None), rest

    async def _metrics(self) -> Response:
        from prometheus_client import CONTENT_TYPE_LATEST

        from mindwire.serve.gateway.metrics import exposition

        asked = await asyncio.gather(*(worker.ask("/metrics") for worker in self._workers))
        answers = {
            worker.number: answer.body
            for worker, answer in zip(self._workers, asked, strict=True)
            if answer is not None
        }
        return Response(await asyncio.to_thread(exposition, self._workers, answers), media_type=CONTENT_TYPE_LATEST)


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")


def _events(stream: RemoteStream, answer: Answer | None) -> Response:
    """The worker's events and the gateway's own, oldest first."""
    events = [event_payload(event) for event in stream.events]
    for event in events:
        del event["type"]
    if answer is not None:
        events += msgspec.json.decode(answer.body)
    return _json(sorted(events, key=lambda event: event["unix_time"])[-REMEMBERED_EVENTS:])
