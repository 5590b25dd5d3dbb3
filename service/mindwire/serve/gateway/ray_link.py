"""Workers on the nodes of a Ray cluster, as the gateway starts them; Ray itself is in a process of its own."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from mindwire.config import host_and_port
from mindwire.errors import ServiceError
from mindwire.serve.gateway.address import Address, host_in_url, request
from mindwire.serve.gateway.process import NoRoomError, Share, WorkerReport, WorkerStart
from mindwire.serve.gateway.ray_driver import MAX_LINE, PLACE_S, DriverReport, Order
from mindwire.serve.gateway.reports import END, KILL, LEASE_S, REPORTS
from mindwire_models.errors import extra

log = logging.getLogger(__name__)

_RUN = "import os; os.setpgrp(); from mindwire.serve.gateway.ray_driver import main; main({address!r})"
_REACH_S = 5.0
_RETRY_S = 2.0
_CONNECT_S = 45.0
_CLOSE_S = 4.0
_ASK_S = 3.0


class RayWorker:
    """A worker on a node of the cluster."""

    # A worker whose node is switched off answers nothing at all, and its streams are to be valid elsewhere within their
    # window, the settling of their filters and 10 s: at most 0.5 s until it is asked, these 4 s, a pause of 0.5 s, 1.5 to
    # 2 s for a start, and 2 s in which the stream is searched for and its clock compared, on two busy cores.
    hung_after_s = 4.0
    ping_s = 0.5

    def __init__(self, kill: Callable[[], None]) -> None:
        self.node = ""
        self.first: asyncio.Future[WorkerReport | None] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.no_room = False
        self._kill = kill
        self._address: Address | None = None
        self._reports: deque[WorkerReport] = deque()
        self._killing: asyncio.Task[None] | None = None
        self._taken = 0

    async def next_report(self) -> WorkerReport | None:
        """Return the next report: the first comes through Ray, later ones from the worker itself; None when it has ended."""
        if self._address is None:
            report = await self.first
            if self.no_room:
                raise NoRoomError(self.ended.result())
            self._address = None if report is None else report.address
            return report
        while not self._reports:
            asking = asyncio.ensure_future(self._ask())
            await asyncio.wait((asking, self.ended), return_when=asyncio.FIRST_COMPLETED)
            asking.cancel()
            if self.ended.done():
                return None
        return self._reports.popleft()

    async def _ask(self) -> None:
        """Take the worker's reports, or wait a little if it does not answer: the gateway watches whether it does."""
        assert self._address is not None  # noqa: S101 - as the caller knows
        try:
            answer = await asyncio.wait_for(request(self._address, f"{REPORTS}?after={self._taken}"), _ASK_S)
        except (OSError, TimeoutError):
            answer = None
        if answer is None or answer.status != 200:
            await asyncio.sleep(self.ping_s)
            return
        reports = msgspec.json.decode(answer.body, type=list[WorkerReport])
        self._taken += len(reports)
        self._reports.extend(reports)

    async def wait(self) -> str:
        """Wait for the end; returns the reason."""
        return await asyncio.shield(self.ended)

    async def end(self) -> None:
        """Ask the worker to end in order."""
        await self._demand(END)

    def kill(self) -> None:
        """End the worker by force; one that is reached neither by Ray nor directly ends by itself, because it is no longer asked."""
        self._kill()
        self._killing = asyncio.create_task(self._demand(KILL))  # its process may run although its actor has ended
        self.finish("was ended by force")

    async def _demand(self, target: str) -> None:
        if self._address is not None:
            with suppress(OSError, TimeoutError):
                asking = request(self._address, target, method="POST", body=b"{}", content_type="application/json")
                await asyncio.wait_for(asking, _ASK_S)

    def finish(self, reason: str) -> None:
        """Note the end."""
        if not self.ended.done():
            self.ended.set_result(reason)
        if not self.first.done():
            self.first.set_result(None)


class RayLink:
    """A :class:`mindwire.serve.gateway.process.Starter` of workers on a Ray cluster.

    Parameters
    ----------
    address : str
        HOST:PORT of the cluster's head.
    folder : Path
        Of what workers have learnt, by stream.
    capacity : float
        Predictions per sample, summed over streams, that take one processor.
    on_reached : callable
        Called with a sentence whenever the cluster is lost or reached again.
    """

    def __init__(self, address: str, folder: Path, capacity: float, on_reached: Callable[[str], None]) -> None:
        host, port = host_and_port(address)
        self.address = f"{host_in_url(host)}:{port}"
        self._up = asyncio.Event()
        self._folder = folder
        self._capacity = capacity
        self._on_reached = on_reached
        self._numbers = itertools.count(1)
        self._workers: dict[int, RayWorker] = {}
        self._driver: Process | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def reached(self) -> bool:
        """True while the head of the cluster answers."""
        return self._up.is_set()

    async def open(self) -> None:
        """Connect to the cluster.

        Raises
        ------
        ServiceError
            There is none at the address, or it does not answer.
        MissingExtraError
            Ray is not installed.
        """
        with extra("ray", "--ray needs the package ray"):
            if find_spec("ray") is None:
                raise ModuleNotFoundError(name="ray")
        if not await self._answers():
            msg = f"There is no Ray cluster at {self.address}; start its head there with: ray start --head --port=PORT."
            raise ServiceError(msg)
        self._driver = driver = await self._start_driver()
        first = await _first_report(driver)
        if first is None or first.refused:
            unanswered = (
                f"The Ray cluster at {self.address} did not answer within {_CONNECT_S:g} s, or ended the connection."
            )
            raise ServiceError(unanswered if first is None else first.refused)
        self._up.set()
        self._task = asyncio.create_task(self._keep(driver))

    async def close(self) -> None:
        """End all workers, and the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._driver is not None and self._driver.stdin is not None:
            self._driver.stdin.close()
            with suppress(TimeoutError):  # it ends by itself
                await asyncio.wait_for(self._driver.wait(), _CLOSE_S)

    async def start(self, start: WorkerStart, share: Share) -> RayWorker:
        """Start a worker; raises NoRoomError if the cluster is not reached."""
        try:
            await asyncio.wait_for(self._up.wait(), PLACE_S)
        except TimeoutError as error:
            msg = f"waits for the Ray cluster at {self.address}, which is not reached"
            raise NoRoomError(msg) from error
        assert self._driver is not None  # noqa: S101 - connected
        number, driver = next(self._numbers), self._driver
        learnt = [path for name in share.streams if (path := self._folder / f"{name}.adaptation").exists()]
        start = msgspec.structs.replace(
            start,
            listen=Address(token=secrets.token_urlsafe(24)),
            lease_s=LEASE_S,
            learnt={path.name: path.read_bytes() for path in learnt},
            current_folder=str(Path.cwd()),
        )
        worker = self._workers[number] = RayWorker(lambda: _send(driver, Order(number)))
        worker.ended.add_done_callback(lambda _: self._workers.pop(number, None))
        cpus = max(0.01, round(share.cost / self._capacity, 2))
        _send(driver, Order(number, start, float(-(-cpus // 1)) if cpus > 1 else cpus, share.node, share.avoid))
        return worker

    async def _keep(self, driver: Process) -> None:
        """Take the news, and connect again whenever the connection has ended."""
        while True:
            while (news := await _next_report(driver)) is not None:
                self._take(news)
            self._note(reached=False)
            while not self.reached:
                await asyncio.sleep(_RETRY_S)
                if await self._answers():
                    self._driver = driver = await self._start_driver()
                    first = await _first_report(driver)
                    self._note(reached=first is not None and not first.refused)

    def _take(self, news: DriverReport) -> None:
        if news.reached is not None:
            self._note(reached=news.reached)
        elif (worker := self._workers.get(news.worker)) is not None:
            if news.node:
                worker.node = news.node
            if news.report is not None:
                worker.first.set_result(news.report)
            if news.ended:
                worker.no_room = news.no_room
                worker.finish(news.ended)
                worker.kill()

    def _note(self, *, reached: bool) -> None:
        if reached == self.reached:
            return
        if reached:
            self._up.set()
            log.warning(sentence := f"The Ray cluster at {self.address} is reached again.")
        else:
            self._up.clear()
            sentence = (
                f"The Ray cluster at {self.address} is not reached: running streams go on, but a worker that ends is "
                "started again only when it is."
            )
            log.error(sentence)
        self._on_reached(sentence)

    async def _answers(self) -> bool:
        """Return true if a program listens at the address."""
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(*host_and_port(self.address)), _REACH_S)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    async def _start_driver(self) -> Process:
        command: Any = (sys.executable, "-P", "-c", _RUN.format(address=self.address))
        try:
            return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=MAX_LINE)
        except OSError as error:
            msg = f"The connection to Ray cannot be started ({error.strerror})."
            raise ServiceError(msg) from error


async def _first_report(driver: Process) -> DriverReport | None:
    """Return the first news; None, and no driver left, if there are none for long."""
    try:
        return await asyncio.wait_for(_next_report(driver), _CONNECT_S)
    except TimeoutError:
        driver.kill()
        return None


async def _next_report(driver: Process) -> DriverReport | None:
    assert driver.stdout is not None  # noqa: S101 - asked for at the start
    line = await driver.stdout.readline()
    return msgspec.json.decode(line, type=DriverReport) if line.endswith(b"\n") else None


def _send(driver: Process, order: Order) -> None:
    if driver.stdin is not None and not driver.stdin.is_closing():
        driver.stdin.write(msgspec.json.encode(order) + b"\n")
