"""The gateway: one port, one page and one REST interface for streams that worker processes run.

A reverse proxy. Requests for one stream, and its websockets, go to the worker that has it; answers about all streams
are put together from those of the workers. Access, limits of connections and the page are the gateway's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mindwire.config import SECRETS, Settings, StreamSpec
from mindwire.errors import MindwireError, ServiceError, UsageError
from mindwire.serve.gateway.address import Address
from mindwire.serve.gateway.process import (
    LocalStarter,
    NoRoomError,
    Share,
    StartedWorker,
    Starter,
    WorkerReport,
    WorkerStart,
)
from mindwire.serve.gateway.shares import share_by_node
from mindwire.serve.gateway.worker import RemoteStream, Worker
from mindwire.serve.specs import Specs, changed

if TYPE_CHECKING:
    from mindwire.serve.gateway.ray_link import RayLink

log = logging.getLogger(__name__)

# The end as a whole takes less than two seconds; a worker needs a little longer than its streams.
_STOP_WORKERS_S = 1.3
_USUAL_HOP = 10
SLOW_S = 25.0


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
        self._starter: Starter = LocalStarter(folder)
        self._link: RayLink | None = None
        streams = specs.settings.stream
        nodes: dict[str, str | None] = dict.fromkeys(self._hops())
        if specs.settings.ray is not None:
            from mindwire.serve.gateway.ray_link import RayLink

            capacity = specs.settings.streams_per_core / _USUAL_HOP
            self._starter = self._link = RayLink(specs.settings.ray, folder, capacity, self._notify)
            nodes = {spec.id: spec.node for spec in streams}
        self.workers = [
            Worker(
                number,
                names,
                partial(self._start_worker, node),
                node=node,
                on_refused=on_refused,
                on_noted=self.note_from,
                on_learnt=self._keep_learnt,
            )
            for number, (node, names) in enumerate(share_by_node(self._hops(), nodes, n_workers), 1)
        ]
        remote = {name: stream for worker in self.workers for name, stream in worker.streams.items()}
        self._streams = {spec.id: remote[spec.id] for spec in streams}  # replaced as a whole
        self.streams = _Present(lambda: self._streams)
        self._tasks: list[asyncio.Task[None]] = []
        self._refreshing: asyncio.Future[list[bool]] | None = None

    def _hops(self) -> dict[str, int]:
        """Return the samples between predictions of each stream."""
        return {spec.id: spec.hop or self.settings.hop or _USUAL_HOP for spec in self.settings.stream}

    async def _start_worker(self, node: str | None, worker: Worker) -> StartedWorker:
        """Start a worker with its streams as they are now."""
        share = tuple(spec for spec in self.settings.stream if spec.id in worker.streams)
        settings = self.settings.model_copy(update={"stream": share})
        hops = self._hops()
        start = WorkerStart(
            settings.model_dump_json(exclude={*SECRETS, *(f"{name}_file" for name in SECRETS)}),
            Address(),
            instance=self._instance,
            number=worker.number,
            restarts=worker.restarts,
        )
        names = tuple(spec.id for spec in share)
        cost = sum(1 / hops[name] for name in names)
        return await self._starter.start(start, Share(names, cost, node, worker.lost_on))

    def _keep_learnt(self, report: WorkerReport) -> None:
        """Keep what a worker elsewhere has learnt of a person, for its successor."""
        path = self._folder / Path(report.learnt).name
        if report.content:
            path.write_bytes(report.content)
        else:
            path.unlink(missing_ok=True)

    def _notify(self, sentence: str) -> None:
        """Send an event that concerns all streams."""
        for stream in self._streams.values():
            stream.send("error", sentence, {"failures": 0})

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
            worker = self._idlest(spec.node)
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
            if self._link is not None and after.node != before.node:
                msg = "node: a stream stays where it is; remove it and add it with another node."
                raise UsageError(msg)
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
        answer = await stream.ask("/model", method="POST", body=body, content_type=kind, patience=SLOW_S)
        if answer is None or answer.status >= 400:
            msg = stream.described["state_reason"] if answer is None else msgspec.json.decode(answer.body)["detail"]
            raise ServiceError(msg)
        await self.note_from(stream)

    async def _put(self, name: str, spec: StreamSpec | None) -> None:
        await asyncio.to_thread(self._specs.put, name, spec)

    def _idlest(self, node: str | None) -> Worker:
        """Return the worker with the least to do of those that run, and see what the node sees."""
        hops = self._hops()
        placed = [one for one in self.workers if self._link is None or node is None or one.place == node]
        running = [worker for worker in placed if worker.address is not None]
        if not placed:
            msg = (
                f"node: no worker is at the node {node!r}; there is one where the settings have a stream at the start."
            )
            raise UsageError(msg)
        if not running:
            msg = "No worker process runs now. Try again later."
            raise ServiceError(msg)
        return min(running, key=lambda worker: sum(1 / hops[name] for name in worker.streams))

    async def note_from(self, stream: RemoteStream) -> None:
        """Take over the description of a stream that its worker has changed."""
        async with self._changing:
            answer = await stream.ask("/config")
            if answer is not None and answer.status == 200 and self._streams.get(stream.name) is stream:
                given = msgspec.json.decode(answer.body)
                fields = {key: given.get(key) for key in StreamSpec.model_fields if key != "id"}
                await asyncio.to_thread(self._specs.note, stream.name, fields)

    @property
    def ray_reached(self) -> bool | None:
        """True while the Ray cluster's head is reached; None without a cluster."""
        return None if self._link is None else self._link.reached

    # ── run ──────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Start all workers at once; raises the first error that one of them reports."""
        if self._link is not None:
            await self._link.open()
        try:
            await asyncio.gather(*(worker.start() for worker in self.workers))
        except NoRoomError as error:
            msg = f"A worker process {error}; start nodes with more, or give other --workers."
            raise ServiceError(msg) from error

    def supervise(self) -> None:
        """Start workers that end again, from now on."""
        self._tasks = [asyncio.create_task(worker.supervise()) for worker in self.workers]

    async def stop(self) -> None:
        """End all workers in order, so that every client is notified."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(worker.stop(_STOP_WORKERS_S) for worker in self.workers))
        if self._link is not None:
            await self._link.close()

    async def refresh(self) -> None:
        """Bring the descriptions of all streams up to date; concurrent callers share one refresh."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.gather(*(worker.refresh() for worker in self.workers))
        await asyncio.shield(self._refreshing)
