"""The front door: one port, one page, one REST interface for streams that worker processes run."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mindwire.api.app import create_app
from mindwire.api.server import bind_socket
from mindwire.config import Settings, StreamSpec
from mindwire.errors import MindwireError, UsageError
from mindwire.serve.front.keeper import Keeper
from mindwire.serve.front.mirror import MirroredStream
from mindwire.serve.listening import address, event_loop, listen, stop_on_signals, with_token

log = logging.getLogger(__name__)

# All of an end together takes less than two seconds; a worker needs a little longer than its streams.
_STOP_WORKERS_S = 1.3
_END_S = 1.8
_USUAL_HOP = 10


def serve_with_workers(settings: Settings, workers: int, *, announce: Callable[[str], None]) -> None:
    """Run the service in several processes until it is told to stop.

    Parameters
    ----------
    settings : Settings
    workers : int
        How many processes run streams.
    announce : callable
        Takes the lines that a person at the terminal should see.

    Raises
    ------
    UsageError
        This system cannot do it.
    MindwireError
        A bundle cannot be loaded, the port is taken, or every stream is refused at the start (any, if not waited for).
    """
    if sys.platform == "win32":
        msg = "--workers takes sockets that processes inherit, which Windows does not have; leave it out."
        raise UsageError(msg)
    settings, notice = with_token(settings)
    sock = bind_socket(settings.host, settings.port)
    try:
        with event_loop() as runner:
            refused = runner.run(_serve(settings, workers, sock, [notice] if notice else [], announce))
    finally:
        sock.close()
    if refused:
        raise refused[0]


def shared_out(specs: tuple[StreamSpec, ...], workers: int, usual_hop: int) -> list[list[str]]:
    """Which worker runs which streams: the costly ones first, each where there is least to do.

    What a stream costs goes with how often it predicts.

    Parameters
    ----------
    specs : tuple of StreamSpec
    workers : int
    usual_hop : int
        Of streams that give none.

    Returns
    -------
    list of list of str
        Names per worker, in the order of the settings.
    """
    work = [0.0] * workers
    chosen: dict[str, int] = {}
    for spec in sorted(specs, key=lambda spec: spec.hop or usual_hop):
        idlest = work.index(min(work))
        work[idlest] += 1 / (spec.hop or usual_hop)
        chosen[spec.id] = idlest
    return [[spec.id for spec in specs if chosen[spec.id] == worker] for worker in range(workers)]


async def _serve(
    settings: Settings, workers: int, sock: socket.socket, notices: list[str], announce: Callable[[str], None]
) -> list[MindwireError]:
    """Run until told to stop; what was refused."""
    stop = asyncio.Event()
    refused: list[MindwireError] = []
    without_streams: set[int] = set()

    def on_refused(worker: int, error: MindwireError) -> None:
        without_streams.add(worker)
        if not settings.wait or len(without_streams) == workers:
            refused.append(error)
            stop.set()
        else:
            log.error("The streams of worker %d are refused, the others go on: %s", worker, error)

    instance = str(sock.getsockname()[1])
    shares = shared_out(settings.stream, workers, settings.hop or _USUAL_HOP)
    house = House(
        [
            Keeper(n, workers, names, settings, instance, on_refused=partial(on_refused, n))
            for n, names in enumerate(shares, 1)
        ]
    )
    with stop_on_signals(stop):
        try:
            await _unless(stop, house.start())
            if not stop.is_set():
                announce(f"Mindwire listens on {address(settings, sock)}")
                for notice in notices:
                    announce(notice)
                app = create_app(
                    {spec.id: house.streams[spec.id] for spec in settings.stream},
                    refresh=house.refresh,
                    collectors=[WorkerCollector(house)],
                    token=settings.token,
                    allowed_hosts=settings.allow_host,
                    allowed_origins=settings.allow_origin,
                )
                await listen(app, sock, stop, begin=house.keep, end=house.stop)
        finally:
            await house.stop()
            house.reap()
    return refused


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do something, unless ``stop`` is set meanwhile."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    for task in (working, stopping):
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


class House:
    """All workers.

    Parameters
    ----------
    keepers : sequence of Keeper
    """

    def __init__(self, keepers: Sequence[Keeper]) -> None:
        self.keepers = tuple(keepers)
        self._keeping: list[asyncio.Task[None]] = []
        self._refreshing: asyncio.Task[None] | None = None
        self._stopped_at: float | None = None

    @property
    def streams(self) -> dict[str, MirroredStream]:
        """The streams of all workers."""
        return {name: stream for keeper in self.keepers for name, stream in keeper.streams.items()}

    async def start(self) -> None:
        """Start all workers at once; raises the first error that one of them reports."""
        await asyncio.gather(*(keeper.start() for keeper in self.keepers))

    def keep(self) -> None:
        """Start whatever dies again, from now on."""
        self._keeping = [asyncio.create_task(keeper.keep()) for keeper in self.keepers]

    async def refresh(self) -> None:
        """Bring up to date what all streams say; who asks while that is under way waits for the same answers."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh())
        await asyncio.shield(self._refreshing)

    async def _refresh(self) -> None:
        await asyncio.gather(*(keeper.refresh() for keeper in self.keepers))

    async def stop(self) -> None:
        """End all workers in order, so that every client hears it."""
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
            await asyncio.gather(*(keeper.stop(_STOP_WORKERS_S) for keeper in self.keepers))
            for task in self._keeping:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    def reap(self) -> None:
        """Leave no process behind; called after :meth:`stop`."""
        began = self._stopped_at or time.monotonic()
        for keeper in self.keepers:
            keeper.reap(began + _END_S - time.monotonic())


class WorkerCollector(Collector):
    """Metrics of the worker processes, each with its number as label.

    Parameters
    ----------
    house : House
    """

    def __init__(self, house: House) -> None:
        self._keepers = house.keepers

    def collect(self) -> Iterator[Metric]:
        """Whether each runs, how often it was started again, and what it uses."""
        up = GaugeMetricFamily("mindwire_worker_up", "1 while the worker process runs.", labels=["worker"])
        restarts = CounterMetricFamily(
            "mindwire_worker_restarts", "Times the worker process was started again.", labels=["worker"]
        )
        used: dict[str, Metric] = {}
        for keeper in self._keepers:
            number, pid = str(keeper.number), keeper.pid
            up.add_metric([number], float(pid is not None))
            restarts.add_metric([number], keeper.restarts)
            if pid is None:
                continue
            for family in _usage(pid):
                name = f"mindwire_worker_{family.name}"
                whole = used.setdefault(name, Metric(name, f"{family.documentation} Of a worker process.", family.type))
                for sample in family.samples:
                    whole.add_sample(f"mindwire_worker_{sample.name}", {"worker": number}, sample.value)
        yield from (up, restarts, *used.values())


def _usage(pid: int) -> Iterable[Metric]:
    return ProcessCollector(pid=lambda: pid, registry=None).collect()
