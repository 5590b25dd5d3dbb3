"""Program between the gateway and a Ray cluster: starts actors, reports their ends, and whether the cluster is reached.

A process of its own, because a program that has used Ray is ended by it one minute after the cluster's head is lost. The
gateway goes on then, and starts another when there is a head again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import msgspec

from mindwire import __version__
from mindwire.errors import MindwireError
from mindwire.serve.gateway.process import WorkerReport, WorkerStart
from mindwire.serve.gateway.ray_actor import MindwireWorker
from mindwire_models.parallel import connect

NODE_LABEL = "mindwire-node"
# Ray answers within a second whether a node has room; a busy one takes some seconds to start the actor's process.
PLACE_S = 20.0
_PROBE_S = 2.0
_UNREACHED_S = 5.0
_END_S = 3.0
MAX_LINE = 2**28


class Order(msgspec.Struct, frozen=True, omit_defaults=True):
    """Line from the gateway: a worker to start, or to kill if there is nothing to start it with."""

    worker: int  # a number of its own for each start
    start: WorkerStart | None = None
    cpus: float = 0.0
    node: str | None = None
    avoid: str = ""


class DriverReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """Line to the gateway, about one worker or the cluster."""

    worker: int = 0
    node: str = ""  # on which the worker is placed
    report: WorkerReport | None = None
    ended: str = ""  # reason of the worker's end
    no_room: bool = False  # true if Ray had no node for it
    reached: bool | None = None  # true if the cluster is reached
    refused: str = ""  # reason for which there is no connection at all


def main(address: str) -> None:
    """Run until standard input ends."""
    news = os.fdopen(os.dup(1), "wb", buffering=0)
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    for number in (1, 2):  # what Ray prints itself is for its own logs
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)

    def send(one: DriverReport) -> None:
        news.write(msgspec.json.encode(one) + b"\n")

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    try:
        connect(address)
        asyncio.run(_run(send))
    except MindwireError as error:
        send(DriverReport(refused=str(error)))
    os._exit(0)  # not the threads of Ray, which may wait for a head that is lost


async def _run(send: Any) -> None:
    send(DriverReport(reached=True))
    driver = _Driver(send)
    reader = asyncio.StreamReader(limit=MAX_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    watching = asyncio.create_task(driver.watch())
    while line := await reader.readline():
        driver.take(msgspec.json.decode(line, type=Order))
    watching.cancel()
    await driver.end()


class _Driver:
    """The actors that were started, by their numbers."""

    def __init__(self, send: Any) -> None:
        import ray

        self._ray = ray
        self._class: Any = ray.remote(MindwireWorker)
        self._send = send
        self._actors: dict[int, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reached = True
        self._asking: asyncio.Future[Any] | None = None

    def take(self, order: Order) -> None:
        """Carry out an order."""
        work = self._kill(order.worker) if order.start is None else self._run_worker(order, order.start)
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._finished(task, order.worker))

    def _finished(self, task: asyncio.Task[None], worker: int) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._send(
                DriverReport(worker, ended=f"was lost by a fault ({type(error).__name__}: {_first_line(error)})")
            )

    async def _run_worker(self, order: Order, start: WorkerStart) -> None:
        """Start a worker and report its end."""
        actor: Any = self._class.options(**_options(order)).remote()
        self._actors[order.worker] = actor
        try:
            try:
                node = await asyncio.wait_for(_answer(actor.node.remote()), PLACE_S)
            except TimeoutError:
                await self._kill(order.worker)
                self._send(DriverReport(order.worker, ended=_no_room(order), no_room=True))
                return
            self._send(DriverReport(order.worker, node=node))
            line = await _answer(actor.start.remote(msgspec.json.encode(start), __version__))
            if line:
                self._send(DriverReport(order.worker, report=msgspec.json.decode(line, type=WorkerReport)))
            code = await _answer(actor.wait.remote())
            ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        except self._ray.exceptions.RayError as error:
            if not await self._probe():
                return  # the worker may go on without an actor; as long as it answers, the gateway keeps it
            ended = f"lost its node or its actor ({_first_line(error)})"
        await self._kill(order.worker)
        self._send(DriverReport(order.worker, ended=ended))

    async def _kill(self, worker: int) -> None:
        """End an actor with its process."""
        if (actor := self._actors.pop(worker, None)) is not None:
            await self._finish(actor, actor.kill.remote(), 1.0)

    async def _finish(self, actor: Any, ending: Any, patience: float) -> None:
        """Wait until an actor has ended its process, and end the actor; one that does not answer is left to Ray."""
        try:
            await asyncio.wait_for(_answer(ending), patience)
        except (TimeoutError, self._ray.exceptions.RayError):
            pass
        finally:
            await asyncio.to_thread(self._ray.kill, actor)

    async def end(self) -> None:
        """End all actors, with their processes in order: what they have learnt is written."""
        ending = [self._finish(actor, actor.end.remote(_END_S), _END_S + 1.0) for actor in self._actors.values()]
        if ending:
            await asyncio.wait(map(asyncio.create_task, ending), timeout=_END_S + 2.0)

    async def watch(self) -> None:
        """Report whenever the head of the cluster is lost, and when it is reached again."""
        while True:
            reached = await self._probe()
            if reached is not self._reached:
                self._reached = reached
                self._send(DriverReport(reached=reached))
            await asyncio.sleep(_PROBE_S)

    async def _probe(self) -> bool:
        """Return true if the head answers; a question that it does not answer stays open until it is back."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(asyncio.to_thread(self._ray.nodes))
        done, _ = await asyncio.wait((self._asking,), timeout=_UNREACHED_S)
        return bool(done) and self._asking.exception() is None


def _options(order: Order) -> dict[str, Any]:
    """Return where Ray may place a worker: on a node that sees the sources, and better not where one was lost."""
    seeing = {NODE_LABEL: order.node} if order.node else {}
    options: dict[str, Any] = {"num_cpus": order.cpus, "scheduling_strategy": "SPREAD", "max_concurrency": 4}
    if order.avoid:
        options["label_selector"] = seeing | {"ray.io/node-id": f"!{order.avoid}"}
        options["fallback_strategy"] = [{"label_selector": seeing}]
    elif seeing:
        options["label_selector"] = seeing
    return options


def _no_room(order: Order) -> str:
    where = f" with the label {NODE_LABEL}={order.node}" if order.node else ""
    return f"has no place: no node{where} of the Ray cluster has {order.cpus:g} processors free"


async def _answer(reference: Any) -> Any:
    return await reference


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
