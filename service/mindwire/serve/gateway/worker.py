"""A worker as the gateway sees it: started, asked, watched, and started again with growing pauses when it ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from mindwire import logs
from mindwire.errors import ConflictError, MindwireError, ServiceError, UsageError
from mindwire.serve.gateway.address import Address, Answer, request
from mindwire.serve.gateway.process import NoRoomError, StartedWorker, WorkerReport
from mindwire.serve.gateway.relay import RemoteSubscription
from mindwire.sinks.messages import Encoding, Message, event_payload
from mindwire.status import REMEMBERED_EVENTS, Event, StreamState, StreamStatus

log = logging.getLogger(__name__)

ANSWER_S = 2.0
# As a stream whose thread ends (mindwire.live.supervisor.RestartPolicy), which is too much to import here.
DELAYS_S = (0.5, 1.0, 2.0, 4.0)
_HEALTHY_AFTER_S = 60.0
_LATE_S = 1.0
_BEGIN_S = 15.0  # until a worker that listens answers
_CHANGE_S = 30.0  # a bundle may run in PyTorch, which takes long to import


class RemoteStream:
    """Stream of a worker as the worker last described it, and the hub of its clients here."""

    def __init__(self, name: str, worker: Worker) -> None:
        self.name = name
        self.hub = self
        self.worker = worker
        self.described: Mapping[str, Any] = {}  # the status
        self.listeners: set[RemoteSubscription] = set()  # of predictions
        self.viewers: set[RemoteSubscription] = set()  # of the signal
        self.events: deque[Event] = deque(maxlen=REMEMBERED_EVENTS)  # that the gateway itself has sent
        self.unreachable = False  # true while the worker does not answer, and the status says why
        logs.streams[name] = self

    def log_fields(self) -> dict[str, str]:
        """Return the fields of log records that concern the stream."""
        return {"stream": self.name, "model": self.status().model.label} if self.described else {"stream": self.name}

    @property
    def hung(self) -> bool:
        """True while the stream's loop hangs, or its worker has failed."""
        return bool(self.described["hung"])

    def status(self) -> StreamStatus:
        """Return the last known status."""
        return StreamStatus.model_validate(self.described)

    async def ask(self, rest: str, **details: Any) -> Answer | None:
        """Return the worker's answer to a request for the stream; None when it does not answer."""
        return await self.worker.ask(f"/v1/streams/{self.name}{rest}", **details)

    def hello(self) -> None:
        """Return nothing: the worker says hello."""

    def subscribe(self, hello: object, encoding: Encoding) -> RemoteSubscription:  # noqa: ARG002
        """Return the predictions and events for one more client."""
        return self._enter(self.listeners, "predictions", encoding)

    def subscribe_signal(self) -> RemoteSubscription:
        """Return the display signal for one more client."""
        return self._enter(self.viewers, "signal", Encoding.JSON)

    def _enter(self, group: set[RemoteSubscription], feed: str, encoding: Encoding) -> RemoteSubscription:
        subscription = RemoteSubscription(lambda: self.worker.address, f"/v1/streams/{self.name}/{feed}", encoding)
        group.add(subscription)
        if self.worker.failed:
            subscription.close()
        return subscription

    def unsubscribe(self, subscription: RemoteSubscription) -> None:
        """Forget a client."""
        self.listeners.discard(subscription)
        self.viewers.discard(subscription)
        subscription.leave()

    def send(self, kind: str, message: str, data: Mapping[str, Any]) -> None:
        """Send an event to all clients."""
        event = Event(self.name, kind, message, time.time(), data)
        self.events.append(event)
        encoded = Message(event_payload(event))
        for client in self.listeners:
            client.offer(encoded)

    def describe(self, status: Mapping[str, Any]) -> None:
        """Take the worker's description; clients are notified where they had been sent another state."""
        before, self.described = self.described, status
        if self.unreachable:
            self.unreachable = False
            if status["state_since_unix"] <= before["state_since_unix"]:  # the worker sends later states itself
                self.send("state", status["state_reason"], {"state": status["state"], "previous": before["state"]})

    def lose(self, state: StreamState, reason: str) -> None:
        """Note why the worker does not answer for the stream, and send it to clients."""
        before = self.described
        if (before["state"], before["state_reason"]) == (state.value, reason):
            return
        self.described = {
            **before,
            "state": state.value,
            "state_reason": reason,
            "state_since_unix": time.time(),
            "ready": False,
            "hung": state is StreamState.FAILED,
            "source": None,
            "last_prediction_age_s": None,
            "quality": [],
        }
        self.unreachable = True
        self.send("state", reason, {"state": state.value, "previous": before["state"]})


class Worker:
    """One worker and its streams.

    Parameters
    ----------
    number : int
    streams : sequence of str
        Names of its streams.
    start : callable
        Starts the worker, each time with the streams as they are then.
    node : str or None
        Label of the nodes of a cluster that see the streams' sources.
    on_refused : callable
        Called with the number of the worker and what it refuses while it runs.
    on_noted : callable
        Called with a stream whose description has changed while it runs.
    on_learnt : callable
        Called with what the worker reports of its folder.

    Attributes
    ----------
    lost_on : str
        Node of a cluster on which the worker was lost last.
    """

    def __init__(
        self,
        number: int,
        streams: Sequence[str],
        start: Callable[[Worker], Awaitable[StartedWorker]],
        *,
        node: str | None = None,
        on_refused: Callable[[int, MindwireError], None],
        on_noted: Callable[[RemoteStream], Awaitable[None]],
        on_learnt: Callable[[WorkerReport], None],
    ) -> None:
        self.number = number
        self.streams = {name: RemoteStream(name, self) for name in streams}  # replaced as a whole
        self.address: Address | None = None  # where the worker is reached while it runs
        self.restarts = 0
        self.place = node
        self.failed = False  # true after the worker has been given up
        self.lost_on = ""
        self._start = start
        self._on_refused = on_refused
        self._on_noted = on_noted
        self._on_learnt = on_learnt
        self._started: StartedWorker | None = None
        self._pid = 0
        self._drained = False

    async def start(self) -> None:
        """Start the worker; returns once it answers.

        Raises
        ------
        MindwireError
            It refuses its settings, or ended.
        """
        self._started = started = await self._start(self)
        report = await started.next_report()
        if report is not None and report.address is None:
            self.lost_on = started.node
            raise report.error
        self.address, self._pid = (None, 0) if report is None else (report.address, report.pid)
        if not await self.refresh(_BEGIN_S):
            self.address = None
            self.lost_on = started.node
            started.kill()
            msg = f"Worker process {self.number} ended before its streams began; the log says why."
            raise ServiceError(msg)

    def describe(self) -> dict[str, Any]:
        """Return the worker as JSON; host and process while it runs."""
        found: dict[str, Any] = {"number": self.number, "node": self.place, "restarts": self.restarts}
        found |= {"failed": self.failed, "streams": list(self.streams), "host": None, "pid": None, "ray_node": None}
        if self.address is not None and self._started is not None:
            host = None if self.address.path else self.address.host
            found |= {"host": host, "pid": self._pid, "ray_node": self._started.node or None}
        return found

    async def supervise(self) -> None:
        """Start the worker again whenever it ends, until it has failed too often in a row."""
        failures, reported = 0, ""
        while not self.failed and self._started is not None:
            began = time.monotonic()
            why = await self._watch(self._started)
            failures = 1 if time.monotonic() - began >= _HEALTHY_AFTER_S else failures + 1
            while self.address is None and failures <= len(DELAYS_S):
                delay = DELAYS_S[failures - 1]
                reason = f"Worker process {self.number} {why}; it restarts in {delay:g} s."
                if reason != reported:  # it may be for hours that no machine has room
                    self._lose(StreamState.LOST, reason, failures)
                    reported = reason
                await asyncio.sleep(delay)
                self.restarts += 1
                for stream in self.streams.values():
                    stream.unreachable = False  # the new worker's streams send their states themselves
                try:
                    await self.start()
                except NoRoomError as error:  # no fault of the worker's, and no start
                    why, self.restarts = str(error), self.restarts - 1
                except MindwireError as error:
                    failures, why = failures + 1, f"could not start again ({error})"
            if self.address is None:
                self.failed = True
                reason = f"Given up after {failures} failures in a row: worker process {self.number} {why}."
                self._lose(StreamState.FAILED, reason, failures)
            reported = ""
            for client in self._clients():
                client.wake()
                if self.failed and not client.greeted:
                    client.close()

    async def _watch(self, started: StartedWorker) -> str:
        """Wait until the worker has ended, killed if it does not answer for long; returns what ended it."""
        ended = asyncio.create_task(self._read_reports(started))
        answered, hung = time.monotonic(), ""
        while not (await asyncio.wait((ended,), timeout=started.ping_s))[0]:
            asked = time.monotonic()
            if await self.ask("/health/live", started.hung_after_s) is not None:
                answered = time.monotonic()
                if any(stream.unreachable for stream in self.streams.values()):
                    await self.refresh()
            elif time.monotonic() - asked > started.hung_after_s + _LATE_S:
                answered = time.monotonic()  # this process itself stood still
            elif time.monotonic() - answered > started.hung_after_s:
                hung = f"did not answer for {started.hung_after_s:g} s"
                started.kill()
        self.address = None
        why = await started.wait()
        drained, self._drained = self._drained, False
        self.lost_on = started.node
        return "was drained" if drained else hung or why

    def drain(self) -> None:
        """Have the worker take its streams elsewhere, or start again on the only machine there is; clients stay connected."""
        if self.address is None or self._started is None:
            msg = f"Worker process {self.number} does not run now."
            raise ConflictError(msg)
        self._drained = True
        self._started.kill()

    async def _read_reports(self, started: StartedWorker) -> None:
        while (report := await started.next_report()) is not None:
            if report.learnt:
                self._on_learnt(report)
            elif not report.noted:
                self._on_refused(self.number, report.error)
            elif (stream := self.streams.get(report.noted)) is not None:
                await self._on_noted(stream)

    def _lose(self, state: StreamState, reason: str, failures: int) -> None:
        log.error(reason, extra={"worker": self.number})
        for stream in self.streams.values():
            stream.send("error", reason, {"failures": failures})
            stream.lose(state, reason)

    def _clients(self) -> Iterator[RemoteSubscription]:
        for stream in self.streams.values():
            yield from (*stream.listeners, *stream.viewers)

    async def ask(self, target: str, patience: float = ANSWER_S, **details: Any) -> Answer | None:
        """Return the worker's answer to a request; None when it does not answer."""
        if self.address is None:
            return None
        try:
            return await asyncio.wait_for(request(self.address, target, **details), patience)
        except TimeoutError:
            if self.address is not None and patience <= ANSWER_S:
                for stream in self.streams.values():
                    stream.lose(StreamState.STALE, f"Worker process {self.number} does not answer.")
        except OSError:
            pass
        return None

    async def refresh(self, patience: float = ANSWER_S) -> bool:
        """Bring the streams' descriptions up to date; returns true if the worker answers."""
        answer = await self.ask("/v1/streams", patience)
        if answer is None or answer.status != 200:
            return False
        for described in msgspec.json.decode(answer.body):
            if (stream := self.streams.get(described["name"])) is not None:
                stream.describe(described)
        return True

    async def add(self, name: str, body: bytes) -> RemoteStream:
        """Have the worker begin one more stream; raises as :meth:`change`."""
        await self.change("POST", "/v1/streams", body)
        stream = RemoteStream(name, self)
        self.streams = {**self.streams, name: stream}
        if not await self.refresh(_BEGIN_S) or not stream.described:
            self.remove(name)
            raise self._unanswered()
        return stream

    def remove(self, name: str) -> None:
        """Forget a stream that the worker has no longer."""
        self.streams = {key: stream for key, stream in self.streams.items() if key != name}

    async def change(self, method: str, target: str, body: bytes = b"") -> Answer:
        """Have the worker change a stream.

        Raises
        ------
        MindwireError
            It refuses the change.
        ServiceError
            It does not answer; if it hangs, it is started again, without the change.
        """
        answer = await self.ask(target, _CHANGE_S, method=method, body=body, content_type="application/json")
        if answer is None:
            raise self._unanswered()
        if answer.status >= 400:
            raise UsageError(msgspec.json.decode(answer.body)["detail"])
        return answer

    def _unanswered(self) -> ServiceError:
        if self.address is not None and self._started is not None:
            self._started.kill()
        return ServiceError(f"Worker process {self.number} does not answer, and nothing was changed. Try again later.")

    async def stop(self, patience: float) -> None:
        """End the worker in order, so that its clients are notified; by force after ``patience`` seconds."""
        if self._started is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._started.end()
                    await self._started.wait()
            self._started.kill()
            await self._started.wait()
        reason = "The service is stopping; the worker process did not answer."
        for stream in self.streams.values():
            if stream.listeners or stream.viewers:
                stream.lose(StreamState.STOPPED, reason)
        for client in self._clients():
            client.close()
