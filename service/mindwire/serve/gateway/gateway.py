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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
from fastapi import APIRouter, Depends, HTTPException
from starlette.requests import Request
from starlette.responses import Response

from mindwire.api.app import create_app
from mindwire.api.guard import Access
from mindwire.api.routes import one_stream
from mindwire.api.streams import Streams
from mindwire.config import SECRETS, Settings
from mindwire.errors import MindwireError
from mindwire.serve.gateway.address import Address, Answer
from mindwire.serve.gateway.process import WorkerStart
from mindwire.serve.gateway.worker import RemoteStream, Worker, share_streams
from mindwire.serve.listening import listening, stop_on_signals
from mindwire.serve.models import ModelStore
from mindwire.sinks.messages import event_payload
from mindwire.status import REMEMBERED_EVENTS

log = logging.getLogger(__name__)

# The end as a whole takes less than two seconds; a worker needs a little longer than its streams.
_STOP_WORKERS_S = 1.3
_USUAL_HOP = 10
_MAX_PATH = 100  # of a Unix socket; the system's temporary folder may be anywhere


async def serve_gateway(
    settings: Settings, n_workers: int, sock: socket.socket, access: Access, announce: Callable[[], None]
) -> list[MindwireError]:
    """Run the service in ``n_workers`` processes until it is stopped; returns the refusal that ended it, if one did.

    ``announce`` is called when the streams begin. Raises MindwireError if a worker cannot start or refuses its settings.
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
            message = "The streams of worker %d are refused, the others go on: %s"
            log.error(message, number, error, extra={"worker": number})

    with tempfile.TemporaryDirectory(prefix="mindwire-") as folder, stop_on_signals(stop):
        starts = _worker_starts(settings, n_workers, str(sock.getsockname()[1]), Path(folder))
        workers = [Worker(start, on_refused=on_refused) for start in starts]
        gateway = Gateway([spec.id for spec in settings.stream], workers)
        starting, stopping = asyncio.ensure_future(gateway.start()), asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda _: starting.cancel())
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            if not stop.is_set():
                announce()
                streams = cast("Streams", gateway.streams)  # all but their commands, which are forwarded
                models, own = ModelStore(settings.models), gateway.routes()
                app = create_app(streams, access, refresh=gateway.refresh, instead=own, models=models)
                async with listening(app, sock, stop):
                    gateway.supervise()
                    await stop.wait()
                    await gateway.stop()
        finally:
            stopping.cancel()
            await gateway.stop()
    return refused


def _worker_starts(settings: Settings, n_workers: int, instance: str, folder: Path) -> list[WorkerStart]:
    hops = {spec.id: spec.hop or settings.hop or _USUAL_HOP for spec in settings.stream}
    text = settings.model_dump_json(exclude={*SECRETS, *(f"{name}_file" for name in SECRETS)})
    starts = []
    for number, names in enumerate(share_streams(hops, n_workers), 1):
        path = str(folder / f"{number}.socket")
        address = Address(path) if len(path.encode()) <= _MAX_PATH else Address(token=secrets.token_urlsafe(24))
        starts.append(WorkerStart(text, names, address, str(folder), instance, number))
    return starts


_Stream = Annotated[RemoteStream, Depends(one_stream)]


class Gateway:
    """All workers and their streams, by name in the order of the settings."""

    def __init__(self, names: Sequence[str], workers: Sequence[Worker]) -> None:
        self._workers = workers
        streams = {name: stream for worker in workers for name, stream in worker.streams.items()}
        self.streams = {name: streams[name] for name in names}
        self._tasks: list[asyncio.Task[None]] = []
        self._refreshing: asyncio.Future[list[bool]] | None = None

    async def start(self) -> None:
        """Start all workers at once; raises the first error that one of them reports."""
        await asyncio.gather(*(worker.start() for worker in self._workers))

    def supervise(self) -> None:
        """Start workers that end again, from now on."""
        self._tasks = [asyncio.create_task(worker.supervise()) for worker in self._workers]

    async def stop(self) -> None:
        """End all workers in order, so that every client hears it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(worker.stop(_STOP_WORKERS_S) for worker in self._workers))

    async def refresh(self) -> None:
        """Bring the descriptions of all streams up to date; concurrent callers share one refresh."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.gather(*(worker.refresh() for worker in self._workers))
        await asyncio.shield(self._refreshing)

    def routes(self) -> APIRouter:
        """Return the routes that workers answer, one or all of them."""
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/metrics", self._metrics)
        router.add_api_route("/v1/streams", self._list)
        router.add_api_route("/v1/streams/{stream}", _show)
        router.add_api_route("/v1/streams/{stream}/events", _list_events)
        router.add_api_route("/v1/streams/{stream}/control", _forward, methods=["GET", "PUT"])
        for command in ("adaptation", "control/pause", "control/resume"):
            router.add_api_route(f"/v1/streams/{{stream}}/{command}", _forward, methods=["POST"])
        return router

    async def _list(self) -> Response:
        await self.refresh()
        return _json([stream.described for stream in self.streams.values()])

    async def _metrics(self) -> Response:
        from prometheus_client import CONTENT_TYPE_LATEST

        from mindwire.api.metrics import service_blocks
        from mindwire.serve.gateway.metrics import merged

        asked = await asyncio.gather(*(worker.ask("/metrics") for worker in self._workers))
        answers = [None if answer is None else answer.body for answer in asked]
        text = await asyncio.to_thread(merged, self._workers, answers, service_blocks())
        return Response(text, media_type=CONTENT_TYPE_LATEST)


async def _show(stream: _Stream) -> Response:
    answer = await stream.ask("")
    return _json(stream.described) if answer is None else _passed_on(answer)


async def _list_events(stream: _Stream) -> Response:
    """Return the worker's events and the gateway's own, oldest first."""
    answer = await stream.ask("/events")
    events = [] if answer is None else msgspec.json.decode(answer.body)
    events += [{key: value for key, value in event_payload(own).items() if key != "type"} for own in stream.events]
    return _json(sorted(events, key=lambda event: event["unix_time"])[-REMEMBERED_EVENTS:])


async def _forward(stream: _Stream, request: Request) -> Response:
    rest = request.scope["path"].removeprefix(f"/v1/streams/{stream.name}")
    kind = request.headers.get("content-type", "")
    answer = await stream.ask(rest, method=request.method, body=await request.body(), content_type=kind)
    if answer is None:
        raise HTTPException(503, f"{stream.described['state_reason']} Try again later.")
    return _passed_on(answer)


def _passed_on(answer: Answer) -> Response:
    return Response(answer.body, answer.status, media_type=answer.content_type)


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")
