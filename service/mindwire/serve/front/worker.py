"""A worker process: some of the service's streams, and instead of a web server the front door's socket.

Started by the front door as ``python -m mindwire.serve.front.worker``, with its end of the socket as standard input. When
that closes, for whatever reason, the streams end and the process with them: nothing is left running unseen.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys

from mindwire.config import Settings
from mindwire.errors import ContractError, MindwireError, UsageError
from mindwire.live.live_markers import showing_markers
from mindwire.live.stream import Stream
from mindwire.live.supervisor import Supervisor
from mindwire.logs import log_handler
from mindwire.options import AdaptationCommand
from mindwire.serve.front.uplink import Uplink
from mindwire.serve.front.wire import (
    Adapt,
    Answer,
    Ask,
    Begin,
    Ended,
    Follow,
    Introduction,
    Link,
    Order,
    Ready,
    Refused,
    Report,
    Stop,
)
from mindwire.serve.listening import event_loop, settle_memory, stop_on_signals
from mindwire.serve.streams import STOP_STREAMS_S, build_streams
from mindwire.status import StreamState

log = logging.getLogger(__name__)

_CLOSE_S = 0.3
# All streams' reports are made so far apart, but not over longer than this.
_BETWEEN_REPORTS_S, _REPORTS_WITHIN_S = 0.005, 0.6


class WorkerProcess:
    """Builds its streams when told which, runs them, and says what is asked."""

    def __init__(self) -> None:
        self._stop = asyncio.Event()
        self._begun: asyncio.Future[Begin] = asyncio.get_running_loop().create_future()
        self._closed = asyncio.Event()
        self._link: Link[Order] = Link(Order, self._receive, self._cut, self._catch_up)
        self._streams: dict[str, Stream] = {}
        self._uplinks: dict[str, Uplink] = {}
        self._answering: set[asyncio.Task[None]] = set()

    async def run(self, sock: socket.socket) -> None:
        """Live until told to stop or the front door is gone."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self._link, sock=sock)
        stopped = asyncio.create_task(self._stop.wait())
        with stop_on_signals(self._stop):
            await asyncio.wait((self._begun, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not self._stop.is_set():
                await self._serve(self._begun.result())
        self._link.close()
        await asyncio.wait((asyncio.create_task(self._closed.wait()),), timeout=_CLOSE_S)

    async def _serve(self, begin: Begin) -> None:
        loop = asyncio.get_running_loop()
        settings = Settings.model_validate_json(begin.settings)
        form = f"%(asctime)s %(levelname)s worker {begin.worker}: %(message)s"
        logging.basicConfig(level=settings.log_level.upper(), handlers=[log_handler(form)])
        try:
            self._streams = build_streams(settings, instance=begin.instance, only=begin.streams, workers=begin.workers)
        except MindwireError as error:
            self._refuse(error)
            return

        def on_refused(stream: Stream, error: MindwireError) -> None:
            if settings.wait and any(one.state is not StreamState.FAILED for one in self._streams.values()):
                log.error("Stream %s is refused, the others go on: %s", stream.name, error)
            else:
                loop.call_soon_threadsafe(self._refuse, error)

        for stream in self._streams.values():
            stream.counters.restarts = begin.restarts
            uplink = self._uplinks[stream.name] = Uplink(stream.name, stream.contract, self._link)
            uplink.attach()
            stream.add_sink(uplink)
        self._link.send(Ready({stream.name: _introduction(stream) for stream in self._streams.values()}))
        settle_memory()
        supervisor = Supervisor(list(self._streams.values()), on_refused=on_refused)
        with showing_markers(self._streams.values(), settings.marker_stream):
            supervisor.start()
            await self._stop.wait()
            await asyncio.to_thread(supervisor.stop, STOP_STREAMS_S)
        self._catch_up()
        self._link.send(Ended())

    def _receive(self, order: Order) -> None:
        match order:
            case Begin():
                self._begun.set_result(order)
            case Follow(stream, feed, wanted):
                self._uplinks[stream].follow(feed, wanted=wanted)
            case Adapt(stream, action, updates, steps):
                self._adapt(stream, AdaptationCommand(action, updates, steps=steps))
            case Ask(number, True):
                answering = asyncio.create_task(self._answer(number))
                self._answering.add(answering)
                answering.add_done_callback(self._answering.discard)
            case Ask(number):
                self._link.send(Answer(number, {}))
            case Stop():
                self._stop.set()

    async def _answer(self, number: int) -> None:
        reports = {}
        pause = min(_BETWEEN_REPORTS_S, _REPORTS_WITHIN_S / max(1, len(self._streams)))
        for name, stream in self._streams.items():
            reports[name] = _report(stream)
            # nobody is in such a hurry to know how all streams are that their predictions should wait for it
            await asyncio.sleep(pause)
        self._link.send(Answer(number, reports))

    def _adapt(self, stream: str, command: AdaptationCommand) -> None:
        try:
            self._streams[stream].command(command)
        except ContractError as error:  # the front door asked of a stream that had just lost what it learnt
            self._streams[stream].emit("error", str(error))

    def _refuse(self, error: MindwireError) -> None:
        self._link.send(Refused(str(error), isinstance(error, UsageError)))

    def _cut(self) -> None:
        self._closed.set()
        self._stop.set()

    def _catch_up(self) -> None:
        for uplink in self._uplinks.values():
            uplink.catch_up()


def _introduction(stream: Stream) -> Introduction:
    return Introduction(stream.hello(), stream.hub.signal_hello(), _report(stream))


def _report(stream: Stream) -> Report:
    latency = {stage: (histogram.counts, histogram.total_ms) for stage, histogram in stream.hub.latency.items()}
    return Report(stream.status().model_dump(), latency)


async def _run(sock: socket.socket) -> None:
    await WorkerProcess().run(sock)


def main() -> None:
    """Run until the end, and end even if a thread is stuck in a driver."""
    with event_loop() as runner:
        runner.run(_run(socket.socket(fileno=sys.stdin.fileno())))
    logging.shutdown()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
