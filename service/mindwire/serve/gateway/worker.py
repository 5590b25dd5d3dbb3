"""A worker as the gateway sees it: started, asked, watched, and started again with growing pauses when it ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from mindwire.errors import MindwireError, ServiceError
from mindwire.serve.gateway.address import Address, Answer, request
from mindwire.serve.gateway.process import WorkerProcess, WorkerStart
from mindwire.serve.gateway.relay import RemoteSubscription
from mindwire.sinks.messages import Encoding, Message, event_payload
from mindwire.status import REMEMBERED_EVENTS, Event, StreamState, StreamStatus

log = logging.getLogger(__name__)

ANSWER_S = 2.0
# As a stream whose thread ends (mindwire.live.supervisor.RestartPolicy), which is too much to import here.
DELAYS_S = (0.5, 1.0, 2.0, 4.0)
_HEALTHY_AFTER_S = 60.0
_HUNG_AFTER_S = 15.0
_PING_S = 2.0


class RemoteStream:
    """Stream of a worker, as the worker last described it; a :class:`mindwire.api.streams.StreamLike`.

    Parameters
    ----------
    name : str
    worker : Worker

    Attributes
    ----------
    described : mapping
        The stream's status.
    listeners, viewers : set of RemoteSubscription
        Clients of its predictions, and of its signal.
    events : deque of Event
        Events that the gateway itself has sent.
    unreachable : bool
        True while the worker does not answer, and ``described`` says why.
    """

    def __init__(self, name: str, worker: Worker) -> None:
        self.name = name
        self._worker = worker
        self.described: Mapping[str, Any] = {}
        self.listeners: set[RemoteSubscription] = set()
        self.viewers: set[RemoteSubscription] = set()
        self.events: deque[Event] = deque(maxlen=REMEMBERED_EVENTS)
        self.unreachable = False

    @property
    def ready(self) -> bool:
        """True while predictions are fresh."""
        return bool(self.described["ready"])

    @property
    def hung(self) -> bool:
        """True while the stream's loop hangs, or its worker has failed."""
        return bool(self.described["hung"])

    def status(self) -> StreamStatus:
        """Return the last known status."""
        return StreamStatus.model_validate(self.described)

    def send(self, kind: str, message: str, data: Mapping[str, Any]) -> None:
        """Send an event to all clients."""
        event = Event(self.name, kind, message, time.time(), data)
        self.events.append(event)
        encoded = Message(event_payload(event))
        for client in self.listeners:
            client.offer(encoded)

    def subscribe(self, hello: Mapping[str, Any], encoding: Encoding) -> RemoteSubscription:  # noqa: ARG002
        """Return the predictions and events for one more client."""
        return self._enter(self.listeners, "predictions", encoding)

    def subscribe_signal(self) -> RemoteSubscription:
        """Return the display signal for one more client."""
        return self._enter(self.viewers, "signal", Encoding.JSON)

    def _enter(self, group: set[RemoteSubscription], feed: str, encoding: Encoding) -> RemoteSubscription:
        subscription = RemoteSubscription(self._worker, f"/v1/streams/{self.name}/{feed}", encoding)
        group.add(subscription)
        if self._worker.failed:
            subscription.close()
        return subscription

    def unsubscribe(self, subscription: RemoteSubscription) -> None:
        """Forget a client."""
        self.listeners.discard(subscription)
        self.viewers.discard(subscription)
        subscription.leave()

    @property
    def hub(self) -> RemoteStream:
        """Hub that websocket clients subscribe to."""
        return self

    @staticmethod
    def hello() -> dict[str, Any]:
        """Return nothing: the worker says hello."""
        return {}

    def describe(self, status: Mapping[str, Any]) -> None:
        """Take the worker's description; clients hear of it where they had been sent another state."""
        before, self.described = self.described, status
        if self.unreachable:
            self.unreachable = False
            self.send("state", status["state_reason"], {"state": status["state"], "previous": before["state"]})

    def lose(self, state: StreamState, reason: str) -> None:
        """Note why the worker does not answer for the stream, and send it to clients."""
        before = self.described
        if (before["state"], before["state_reason"]) == (state.value, reason):
            return
        changed: dict[str, Any] = {
            "state": state.value,
            "state_reason": reason,
            "state_since_unix": time.time(),
            "ready": False,
        }
        changed |= {"hung": state is StreamState.FAILED, "source": None, "last_prediction_age_s": None, "quality": []}
        self.described = {**before, **changed}
        self.unreachable = True
        self.send("state", reason, {"state": state.value, "previous": before["state"]})


class Worker:
    """One worker and its streams.

    Parameters
    ----------
    start : WorkerStart
        What the worker is started with.
    on_refused : callable
        Called with what a running worker refuses.

    Attributes
    ----------
    streams : dict of str to RemoteStream
    restarts : int
        Number of times the worker was started again.
    """

    def __init__(self, start: WorkerStart, *, on_refused: Callable[[MindwireError], None]) -> None:
        self.number = start.number
        self.streams = {name: RemoteStream(name, self) for name in start.streams}
        self.restarts = 0
        self._start = start
        self._on_refused = on_refused
        self._process: WorkerProcess | None = None
        self.address: Address | None = None
        self._why = ""
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def up(self) -> bool:
        """True while the worker runs and has an address."""
        return self.address is not None

    @property
    def pid(self) -> int | None:
        """Process of the worker, while it runs."""
        return self._process.pid if self._process is not None and self.up else None

    @property
    def failed(self) -> bool:
        """True after the worker has been given up."""
        return any(stream.described["state"] == StreamState.FAILED for stream in self.streams.values()) and not self.up

    async def start(self) -> None:
        """Start the worker; returns once it answers.

        Raises
        ------
        MindwireError
            It refuses its settings, or ended.
        """
        self._why = ""
        self._process = await WorkerProcess.start(msgspec.structs.replace(self._start, restarts=self.restarts))
        report = await self._process.report()
        if report is not None and report.address is None:
            raise report.error
        self.address = None if report is None else report.address
        if not await self.refresh(_HUNG_AFTER_S):
            self.address = None
            self._process.kill()
            msg = f"Worker process {self.number} ended before its streams began; the log says why."
            raise ServiceError(msg)
        self._run(self._read_reports(self._process))

    def _run(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read_reports(self, process: WorkerProcess) -> None:
        while (report := await process.report()) is not None:
            self._on_refused(report.error)

    async def supervise(self) -> None:
        """Start the worker again whenever it ends, until stopped or given up."""
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            why = await self._exit_reason()
            if self._stopping.is_set():
                return
            failures = 1 if time.monotonic() - began >= _HEALTHY_AFTER_S else failures + 1
            while not await self._restart(failures, why):
                if self._stopping.is_set() or failures > len(DELAYS_S):
                    return
                failures, why = failures + 1, self._why

    async def _exit_reason(self) -> str:
        """Wait until the worker has ended; one that does not answer for long is killed."""
        if self._process is None:
            return self._why
        ended = asyncio.create_task(self._process.ended())
        while not (await asyncio.wait((ended,), timeout=_PING_S))[0]:
            ping = asyncio.create_task(self.ask("/health/live", _HUNG_AFTER_S))
            await asyncio.wait((ended, ping), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                ping.cancel()
            elif ping.result() is None:
                self._why = f"did not answer for {_HUNG_AFTER_S:g} s"
                self._process.kill()
                await ended
        self.address = None
        reason = await self._process.exit_reason()
        return self._why or reason

    async def _restart(self, failures: int, why: str) -> bool:
        """Report the end of the worker, wait, and start it again; returns true if it runs."""
        if failures > len(DELAYS_S):
            reason = f"Given up after {failures} failures in a row: worker process {self.number} {why}."
            self._lose(StreamState.FAILED, reason, failures)
            return False
        delay = DELAYS_S[failures - 1]
        self._lose(StreamState.LOST, f"Worker process {self.number} {why}; it restarts in {delay:g} s.", failures)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay)
            return False
        self.restarts += 1
        for stream in self.streams.values():
            stream.unreachable = False  # the new worker's streams send their states themselves
        try:
            await self.start()
        except MindwireError as error:
            self._why = f"could not start again ({error})"
            return False
        for client in self._clients():
            client.wake()
        return True

    def _clients(self) -> Iterator[RemoteSubscription]:
        for stream in self.streams.values():
            yield from (*stream.listeners, *stream.viewers)

    def _lose(self, state: StreamState, reason: str, failures: int) -> None:
        log.error(reason)
        for stream in self.streams.values():
            stream.send("error", reason, {"failures": failures})
            stream.lose(state, reason)
        if state is StreamState.FAILED:
            for client in self._clients():
                client.close_unless_greeted()

    # ── requests ─────────────────────────────────────────────────────────────────────────────────────

    async def ask(self, target: str, patience: float = ANSWER_S, **details: Any) -> Answer | None:
        """Return the worker's answer to a request; None when it does not answer."""
        if self.address is None:
            return None
        try:
            answer = await asyncio.wait_for(request(self.address, target, **details), patience)
        except TimeoutError:
            if self.address is not None and patience <= ANSWER_S:
                for stream in self.streams.values():
                    stream.lose(StreamState.STALE, f"Worker process {self.number} does not answer.")
            return None
        except OSError:
            return None
        if target != "/v1/streams" and any(stream.unreachable for stream in self.streams.values()):
            self._run(self.refresh())
        return answer

    async def refresh(self, patience: float = ANSWER_S) -> bool:
        """Bring the streams' descriptions up to date; returns true if the worker answers."""
        answer = await self.ask("/v1/streams", patience)
        if answer is None or answer.status != 200:
            return False
        for described in msgspec.json.decode(answer.body):
            self.streams[described["name"]].describe(described)
        return True

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────

    async def stop(self, patience: float) -> None:
        """End the worker in order, so that its clients hear it; by force after ``patience`` seconds."""
        self._stopping.set()
        if self._process is not None:
            self._process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.ended(), patience)
            self._process.kill()
            await self._process.ended()
        reason = "The service is stopping; the worker process did not answer."
        for stream in self.streams.values():
            if stream.listeners or stream.viewers:
                stream.lose(StreamState.STOPPED, reason)
        for client in self._clients():
            client.close()


def share_streams(hops: Mapping[str, int], workers: int) -> list[list[str]]:
    """Share streams among workers: the costly ones first, each where there is least to do.

    The cost of a stream is proportional to how often it predicts.

    Parameters
    ----------
    hops : mapping of str to int
        Samples between the predictions of each stream.
    workers : int

    Returns
    -------
    list of list of str
        Names per worker, in the order given.
    """
    work = [0.0] * workers
    chosen: dict[str, int] = {}
    for name in sorted(hops, key=lambda name: hops[name]):
        idlest = work.index(min(work))
        work[idlest] += 1 / hops[name]
        chosen[name] = idlest
    return [[name for name in hops if chosen[name] == worker] for worker in range(workers)]


def all_names(workers: Sequence[Worker]) -> dict[str, tuple[Worker, RemoteStream]]:
    """Return each stream by name, with its worker."""
    return {name: (worker, stream) for worker in workers for name, stream in worker.streams.items()}
