"""Keeps one worker process running: starts it, listens to it, notices its death, starts it again with back-off."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

from mindwire.config import Settings
from mindwire.errors import MindwireError, ServiceError, UsageError
from mindwire.live.supervisor import RestartPolicy
from mindwire.options import AdaptationCommand
from mindwire.serve.front.mirror import MirroredStream
from mindwire.serve.front.wire import (
    Adapt,
    Answer,
    Ask,
    Begin,
    Ended,
    Follow,
    Frames,
    Introduction,
    Link,
    Missed,
    News,
    Ready,
    Refused,
    Stop,
    Told,
)
from mindwire.status import Event, StreamState

log = logging.getLogger(__name__)

REPORT_S = 2.0
_PING_S = 2.0
_REAP_S = 2.0


class Keeper:
    """One worker and its streams.

    Parameters
    ----------
    number, workers : int
        Which worker it is, from 1, and of how many.
    names : sequence of str
        Its streams.
    settings : Settings
    instance : str
        Tells this service's LSL outlets from those of another on the same host.
    on_refused : callable
        Called with what the user has to be told before the service ends.
    policy : RestartPolicy

    Attributes
    ----------
    streams : dict of str to MirroredStream
        Filled by :meth:`start`.
    restarts : int
        Times the worker was started again.
    """

    def __init__(
        self,
        number: int,
        workers: int,
        names: Sequence[str],
        settings: Settings,
        instance: str,
        *,
        on_refused: Callable[[MindwireError], None],
        policy: RestartPolicy | None = None,
    ) -> None:
        self.number = number
        self.streams: dict[str, MirroredStream] = {}
        self.restarts = 0
        self._workers = workers
        self._names = tuple(names)
        self._settings = settings
        self._instance = instance
        self._on_refused = on_refused
        self._policy = policy or RestartPolicy()
        self._process: subprocess.Popen[bytes] | None = None
        self._link: Link[News] | None = None
        self._ready: asyncio.Future[None] | None = None
        self._gone = asyncio.Event()
        self._ended = asyncio.Event()
        self._stopping = asyncio.Event()
        self._why = ""
        self._numbers = count()
        self._questions: dict[int, asyncio.Future[Answer]] = {}

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        return self._process.pid if self._process is not None and not self._gone.is_set() else None

    async def start(self) -> None:
        """Start the worker; returns once its streams are built and begin.

        Raises
        ------
        MindwireError
            What the worker refuses, or that it ended.
        """
        loop = asyncio.get_running_loop()
        self._gone.clear()
        self._ended.clear()
        self._why = ""
        self._ready = loop.create_future()
        self._process, ours = _spawn()
        self._link = Link(News, self._receive, self._cut)
        link = self._link
        await loop.create_connection(lambda: link, sock=ours)
        link.send(
            Begin(
                self._settings.model_dump_json(exclude={"token", "token_file"}),
                list(self._names),
                self._instance,
                self.number,
                self._workers,
                self.restarts,
            )
        )
        await self._ready

    async def keep(self) -> None:
        """Watch the worker and start it again whenever it dies, until told to stop or given up."""
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            await self._watch()
            if self._stopping.is_set():
                return
            failures = 1 if time.monotonic() - began >= self._policy.healthy_after_s else failures + 1
            why = await self._autopsy()
            while not await self._restart(failures, why):
                if self._stopping.is_set() or failures > len(self._policy.delays_s):
                    return
                failures, why = failures + 1, self._why

    async def refresh(self) -> None:
        """Bring up to date what the streams say of themselves."""
        if self.pid is None or self._ready is None or not self._ready.done():
            return
        answer = await self._ask(REPORT_S, reports=True)
        if answer is not None:
            for name, report in answer.reports.items():
                self.streams[name].report(report)
        elif not self._gone.is_set():
            for stream in self.streams.values():
                stream.unreachable(StreamState.STALE, f"Worker process {self.number} does not answer.")

    async def stop(self, patience: float) -> None:
        """End the worker's streams, and it; go on without it after ``patience`` seconds."""
        self._stopping.set()
        begun = bool(self.streams) and self._ready is not None and self._ready.done()
        if self._process is not None and not begun:
            self._process.kill()  # there is nothing yet to end in order
        elif self._link is not None:
            self._link.send(Stop())
            waiting = [asyncio.create_task(event.wait()) for event in (self._ended, self._gone)]
            await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()
        for stream in self.streams.values():
            if not self._ended.is_set():
                stream.unreachable(StreamState.STOPPED, "The service is stopping; the worker process did not answer.")
            stream.hub.close()

    def reap(self, patience: float) -> None:
        """Make sure that the process has ended, within ``patience`` seconds or by force."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, patience))
        except subprocess.TimeoutExpired:
            log.warning("Worker %d does not end and is killed.", self.number)
            self._process.kill()
            self._process.wait(_REAP_S)

    # ── the worker's life ────────────────────────────────────────────────────────────────────────────

    async def _watch(self) -> None:
        """Returns when the worker is gone; one that does not answer for long is killed."""
        while not await _within(self._gone, _PING_S):
            if await self._ask(self._policy.hung_after_s, reports=False) is None and not self._gone.is_set():
                self._why = f"did not answer for {self._policy.hung_after_s:g} s"
                if self._process is not None:
                    self._process.kill()

    async def _autopsy(self) -> str:
        """What ended the worker, for a sentence."""
        if self._process is None:
            return self._why
        try:
            code = await asyncio.to_thread(self._process.wait, _REAP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = await asyncio.to_thread(self._process.wait)
        if self._why:
            return self._why
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"

    async def _restart(self, failures: int, why: str) -> bool:
        """Tell what happened, wait, and start the worker again; whether it runs."""
        if failures > len(self._policy.delays_s):
            reason = f"Given up after {failures} failures in a row: worker process {self.number} {why}."
            self._unreachable(StreamState.FAILED, reason, failures)
            return False
        delay = self._policy.delays_s[failures - 1]
        reason = f"Worker process {self.number} {why}; it restarts in {delay:g} s."
        self._unreachable(StreamState.LOST, reason, failures)
        if await _within(self._stopping, delay):
            return False
        self.restarts += 1
        try:
            await self.start()
        except MindwireError as error:
            await self._autopsy()
            self._why = f"could not start again ({error})"
            return False
        return True

    def _unreachable(self, state: StreamState, reason: str, failures: int) -> None:
        log.error(reason)
        for stream in self.streams.values():
            stream.hub.event(Event(stream.name, "error", reason, time.time(), {"failures": failures}))
            stream.unreachable(state, reason)

    # ── what passes over the link ────────────────────────────────────────────────────────────────────

    async def _ask(self, patience: float, *, reports: bool) -> Answer | None:
        """The worker's answer; None when it does not answer in time, or is gone."""
        if self._link is None or self._gone.is_set():
            return None
        number = next(self._numbers)
        future = self._questions[number] = asyncio.get_running_loop().create_future()
        self._link.send(Ask(number, reports))
        try:
            return await asyncio.wait_for(future, patience)
        except (TimeoutError, ConnectionError):
            return None
        finally:
            del self._questions[number]

    def _receive(self, news: News) -> None:
        match news:
            case Frames(stream, feed, payloads):
                self.streams[stream].hub.relay(feed, payloads)
            case Told(stream, kind, message, unix_time, data):
                self.streams[stream].hub.event(Event(stream, kind, message, unix_time, data))
            case Missed(stream, n):
                self.streams[stream].hub.miss(n)
            case Answer(number):
                future = self._questions.get(number)
                if future is not None and not future.done():
                    future.set_result(news)
            case Ready(introductions):
                self._introduce(introductions)
            case Refused(message, usage):
                self._refuse(UsageError(message) if usage else ServiceError(message))
            case Ended():
                self._ended.set()

    def _introduce(self, introductions: dict[str, Introduction]) -> None:
        for name, introduction in introductions.items():
            if name in self.streams:
                self.streams[name].introduce(introduction)
            else:
                self.streams[name] = MirroredStream(
                    name, introduction, follow=partial(self._follow, name), adapt=partial(self._adapt, name)
                )
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    def _follow(self, stream: str, feed: str, wanted: bool) -> None:  # noqa: FBT001 - called with what is wanted
        if self._link is not None:
            self._link.send(Follow(stream, feed, wanted))

    def _adapt(self, stream: str, command: AdaptationCommand) -> None:
        if self._link is not None:
            self._link.send(Adapt(stream, command.action, command.updates, command.steps))

    def _refuse(self, error: MindwireError) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(error)
        else:
            self._on_refused(error)

    def _cut(self) -> None:
        self._gone.set()
        for future in self._questions.values():
            if not future.done():
                future.set_exception(ConnectionError())
        if self._ready is not None and not self._ready.done():
            msg = f"Worker process {self.number} ended before it began; what it said of that is in the log."
            self._ready.set_exception(ServiceError(msg))


def _spawn() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A worker's process, and our end of the socket to it."""
    words = [sys.executable, "-P", "-m", "mindwire.serve.front.worker"]  # -P: nothing of the current folder
    try:
        ours, theirs = socket.socketpair()
        with theirs:
            # A group of its own: Ctrl-C is for the front door, which ends its workers in order. What a library
            # prints must not get among the lines that the front door announces.
            return subprocess.Popen(words, stdin=theirs.fileno(), stdout=sys.stderr, process_group=0), ours
    except OSError as error:
        msg = f"A worker process cannot be started ({error.strerror}); give fewer --workers."
        raise ServiceError(msg) from error


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Whether an event comes within so many seconds."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
