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
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
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
from mindwire.config import SECRETS, Settings, StreamSpec
from mindwire.errors import MindwireError, ServiceError, UsageError
from mindwire.serve.gateway.address import Address, Answer
from mindwire.serve.gateway.process import WorkerStart
from mindwire.serve.gateway.worker import ANSWER_S, RemoteStream, Worker, share_streams
from mindwire.serve.jobs import closing, training_jobs
from mindwire.serve.listening import listening, stop_on_signals
from mindwire.serve.specs import Specs, changed
from mindwire.session_names import TASK_COMMANDS
from mindwire.sinks.messages import event_payload
from mindwire.status import REMEMBERED_EVENTS

log = logging.getLogger(__name__)

# The end as a whole takes less than two seconds; a worker needs a little longer than its streams.
_STOP_WORKERS_S = 1.3
_USUAL_HOP = 10
_SLOW_S = 25.0
# Requests that change nothing of a stream's description.
_UNCONFIGURED = ("markers", "clock", "display_delay")
_MAX_PATH = 100  # of a Unix socket; the system's temporary folder may be anywhere


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
                    instead=gateway.routes(),
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


_Stream = Annotated[RemoteStream, Depends(one_stream)]


class _Present(Mapping[str, RemoteStream]):
    """Streams by name as they are now."""

    def __init__(self, now: Callable[[], Mapping[str, RemoteStream]]) -> None:
        self._now = now

    def __getitem__(self, name: str) -> RemoteStream:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def values(self) -> ValuesView[RemoteStream]:
        return self._now().values()

    def items(self) -> ItemsView[str, RemoteStream]:
        return self._now().items()


class Gateway:
    """All workers and their streams, by name in the order of the settings; a :class:`mindwire.api.registry.Registry`.

    Parameters
    ----------
    specs : Specs
    n_workers : int
    folder : Path
        Private to the workers.
    instance : str
        Distinguishes the LSL outlets of this service from those of another on the same host.
    on_refused : callable
        As of a :class:`Worker`.
    """

    trusted = False

    def __init__(
        self,
        specs: Specs,
        n_workers: int,
        folder: Path,
        instance: str,
        on_refused: Callable[[int, MindwireError], None],
    ) -> None:
        self._specs = specs
        self._folder = folder
        self._instance = instance
        self._changing = asyncio.Lock()  # one change after the other
        shares = share_streams({spec.id: self._hop(spec) for spec in specs.settings.stream}, n_workers)
        self._workers = [
            Worker(number, names, self._worker_start, on_refused=on_refused, on_noted=self._note_from)
            for number, names in enumerate(shares, 1)
        ]
        streams = {name: stream for worker in self._workers for name, stream in worker.streams.items()}
        self._streams = {spec.id: streams[spec.id] for spec in specs.settings.stream}  # replaced as a whole
        self.streams = _Present(lambda: self._streams)
        self._tasks: list[asyncio.Task[None]] = []
        self._refreshing: asyncio.Future[list[bool]] | None = None

    def _hop(self, spec: StreamSpec) -> int:
        return spec.hop or self.settings.hop or _USUAL_HOP

    def _worker_start(self, worker: Worker) -> WorkerStart:
        """Return what a worker is started with now."""
        share = tuple(spec for spec in self.settings.stream if spec.id in worker.streams)
        settings = self.settings.model_copy(update={"stream": share})
        path = str(self._folder / f"{worker.number}.socket")
        address = Address(path) if len(path.encode()) <= _MAX_PATH else Address(token=secrets.token_urlsafe(24))
        return WorkerStart(
            settings.model_dump_json(exclude={*SECRETS, *(f"{name}_file" for name in SECRETS)}),
            address,
            str(self._folder),
            self._instance,
            worker.number,
            worker.restarts,
        )

    # ── streams as configuration ─────────────────────────────────────────────────────────────────────

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._specs.settings

    async def add(self, spec: StreamSpec, *, check: bool = False) -> StreamSpec:
        """Add a stream to the worker that has least to do."""
        async with self._changing:
            self._specs.check_new(spec)
            spec = self._specs.completed(spec)
            body = msgspec.json.encode(spec.to_json())
            worker = self._idlest()
            await worker.change("POST", "/v1/streams?check=true", body)
            if check:
                return spec
            await self._put(spec.id, spec)
            try:
                stream = await worker.add(spec.id, body)
            except BaseException:
                await self._put(spec.id, None)
                raise
            self._streams = {**self._streams, spec.id: stream}
        return spec

    async def change(self, name: str, fields: Mapping[str, Any], *, check: bool = False) -> StreamSpec:
        """Change fields of a stream's description; None takes the stream's own value away."""
        async with self._changing:
            before = self._specs[name]
            after = self._specs.completed(changed(before, fields))
            given = after.to_json()
            body = msgspec.json.encode({key: given.get(key) for key in StreamSpec.model_fields})
            worker, target = self._streams[name].worker, f"/v1/streams/{name}"
            await worker.change("PATCH", f"{target}?check=true", body)
            if check:
                return after
            await self._put(name, after)
            try:
                await worker.change("PATCH", target, body)
            except BaseException:
                await self._put(name, before)
                raise
        return after

    async def remove(self, name: str) -> None:
        """End a stream."""
        async with self._changing:
            before, worker = self._specs[name], self._streams[name].worker
            await self._put(name, None)
            try:
                if not worker.failed:
                    await worker.change("DELETE", f"/v1/streams/{name}")
            except BaseException:
                await self._put(name, before)
                raise
            worker.remove(name)
            self._streams = {key: stream for key, stream in self._streams.items() if key != name}

    def note(self, name: str, **fields: Any) -> None:
        """Keep fields that have changed already."""
        self._specs.note(name, fields)

    def model_path(self, reference: str) -> Path:
        """Return the folder of a bundle that is in use."""
        return self._specs.model_path(reference)

    async def use_model(self, name: str, reference: str) -> None:
        """Give a stream a model of the folder, as ``POST /v1/streams/{stream}/model`` does."""
        body = msgspec.json.encode({"model": reference, "when": "ready"})
        if (stream := self._streams.get(name)) is None:
            msg = f"The stream {name!r} is not there any more."
            raise UsageError(msg)
        kind = "application/json"
        answer = await stream.ask("/model", method="POST", body=body, content_type=kind, patience=_SLOW_S)
        if answer is None or answer.status >= 400:
            msg = stream.described["state_reason"] if answer is None else msgspec.json.decode(answer.body)["detail"]
            raise ServiceError(msg)
        await self._note_from(stream)

    async def _put(self, name: str, spec: StreamSpec | None) -> None:
        await asyncio.to_thread(self._specs.put, name, spec)

    def _idlest(self) -> Worker:
        """Return the worker with the least to do of those that run."""
        hops = {spec.id: self._hop(spec) for spec in self.settings.stream}
        running = [worker for worker in self._workers if worker.address is not None]
        if not running:
            msg = "No worker process runs now. Try again later."
            raise ServiceError(msg)
        return min(running, key=lambda worker: sum(1 / hops[name] for name in worker.streams))

    async def _note_from(self, stream: RemoteStream) -> None:
        """Take over the description of a stream that its worker has changed."""
        async with self._changing:
            answer = await stream.ask("/config")
            if answer is not None and answer.status == 200 and self._streams.get(stream.name) is stream:
                given = msgspec.json.decode(answer.body)
                fields = {key: given.get(key) for key in StreamSpec.model_fields if key != "id"}
                await asyncio.to_thread(self._specs.note, stream.name, fields)

    # ── run ──────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Start all workers at once; raises the first error that one of them reports."""
        await asyncio.gather(*(worker.start() for worker in self._workers))

    def supervise(self) -> None:
        """Start workers that end again, from now on."""
        self._tasks = [asyncio.create_task(worker.supervise()) for worker in self._workers]

    async def stop(self) -> None:
        """End all workers in order, so that every client is notified."""
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
        router.add_api_route("/v1/streams", self._list, methods=["GET"])
        router.add_api_route("/v1/streams/{stream}", _show, methods=["GET"])
        router.add_api_route("/v1/streams/{stream}/events", _list_events)
        router.add_api_route("/v1/streams/{stream}/control", self._forward, methods=["GET", "PUT"])
        router.add_api_route("/v1/streams/{stream}/recording", self._forward, methods=["GET", "POST", "DELETE"])
        router.add_api_route("/v1/streams/{stream}/model", self._forward, methods=["GET", "POST"])
        router.add_api_route("/v1/streams/{stream}/task", self._forward, methods=["GET", "POST"])
        router.add_api_route("/v1/streams/{stream}/display_delay", self._forward, methods=["GET", "DELETE"])
        tasks = (f"task/{command}" for command in TASK_COMMANDS)
        swaps = ("model/promote", "model/drop", "model/rollback")
        for command in ("adaptation", "control/pause", "control/resume", *_UNCONFIGURED, *swaps, *tasks):
            router.add_api_route(f"/v1/streams/{{stream}}/{command}", self._forward, methods=["POST"])
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

    async def _forward(self, stream: _Stream, request: Request) -> Response:
        rest = request.scope["path"].removeprefix(f"/v1/streams/{stream.name}")
        kind = request.headers.get("content-type", "")
        answer = await stream.ask(
            rest, method=request.method, body=await request.body(), content_type=kind, patience=_patience(request)
        )
        if answer is None:
            raise HTTPException(503, f"{stream.described['state_reason']} Try again later.")
        if request.method != "GET" and answer.status < 400 and rest.split("/")[1] not in (*_UNCONFIGURED, "task"):
            await self._note_from(stream)
        return _passed_on(answer)


async def _show(stream: _Stream) -> Response:
    answer = await stream.ask("")
    return _json(stream.described) if answer is None else _passed_on(answer)


async def _list_events(stream: _Stream) -> Response:
    """Return the worker's events and the gateway's own, oldest first."""
    answer = await stream.ask("/events")
    events = [] if answer is None else msgspec.json.decode(answer.body)
    events += [msgspec.structs.asdict(event_payload(own)) for own in stream.events]
    return _json(sorted(events, key=lambda event: event["unix_time"])[-REMEMBERED_EVENTS:])


def _patience(request: Request) -> float:
    """Return the seconds that a worker may take: recordings and tasks wait for LabRecorder, and a first model for its decoder."""
    ends = ("/recording", "/task", *(f"/task/{command}" for command in TASK_COMMANDS), "/model")
    waits = request.scope["path"].endswith(ends) and request.method != "GET"
    return _SLOW_S if waits else ANSWER_S


def _passed_on(answer: Answer) -> Response:
    return Response(answer.body, answer.status, media_type=answer.content_type)


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")
