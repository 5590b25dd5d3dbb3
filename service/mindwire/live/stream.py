"""One running stream: it finds its source, decodes what comes, and says at every moment where it stands.

    searching ──▶ connecting ──▶ settling ──▶ live ──▶ stale ──▶ lost ──▶ searching …

The work is one loop in one thread: pull, condition, decode, publish. Every change of state goes to the
sinks and the log with its reason. Faults of the source are part of the loop; anything else ends it and is
the supervisor's business.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from typing import Any

from mindwire.adaptation import SavedAdaptation
from mindwire.cores import unhurried
from mindwire.errors import ContractError, StreamLostError
from mindwire.inference.decoder import Decoder
from mindwire.live.decode_loop import Worker
from mindwire.live.driven import Driven
from mindwire.live.place import Look
from mindwire.live.rehearsal import Rehearsal
from mindwire.live.runner import Runner
from mindwire.live.search import Search
from mindwire.live.shared_decoder import SharedDecoder
from mindwire.live.silence import Silence
from mindwire.live.stream_status import adaptation_status, decoder_status, source_status
from mindwire.loops import LoopStop, fence
from mindwire.options import AdaptationCommand
from mindwire.pipeline import Pipeline
from mindwire.sinks.all import Failed, Sinks
from mindwire.sinks.hub import PredictionHub
from mindwire.sources.live import Connector, Source
from mindwire.status import (
    ChannelStatus,
    Counters,
    Event,
    ModelStatus,
    Sink,
    StreamState,
    StreamStatus,
)
from mindwire.types import SUSPECT, Chunk, Prediction, Reason, SignalInfo
from mindwire_models.contract import Alignment, Contract

log = logging.getLogger(__name__)

# While a prediction carries one of these, the stream is settling; the other reasons judge the signal.
_UNSETTLED = Reason.ALIGNING | Reason.SETTLING | Reason.GAP | Reason.CLOCK_JUMP | Reason.RECONNECT
_UNSETTLED_BITS = int(_UNSETTLED)
# While it carries one of these, the stream is no more ready, though it may have to be mended.
_UNUSABLE_BITS = int(Reason.DECODER | Reason.WRONG_RATE)
_READ_S = 0.25
# So long a stream waits for more samples before it does what its clients need not wait for.
_BREATH_S = 0.001
_LATENCIES_KEPT = 100


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How patient a stream is.

    Parameters
    ----------
    wait : bool
        Whether a source that is absent at the start is waited for; otherwise it is refused.
    max_backlog_s : float
        When more than this is due at once, only the newest window is decoded.
    stale_after_s : float
        Silence after which a connected stream is stale.
    give_up_after_s : float
        Silence after which a source that no longer answers on the network either is lost.
    fresh_s : float
        Age up to which the last prediction counts as fresh.
    """

    wait: bool = True
    max_backlog_s: float = 1.0
    stale_after_s: float = 2.0
    give_up_after_s: float = 10.0
    fresh_s: float = 2.0


class Stream:
    """One source, one bundle, its sinks.

    Parameters
    ----------
    name : str
    connector : Connector
    contract : Contract
    model : ModelStatus
    decoder : Decoder
    make_pipeline : callable
        Makes the pipeline for a signal, given what was learnt before the loop was replaced, or None; raises
        ContractError when the signal cannot meet the contract.
    hop_samples : int
        Distance between windows in conditioned samples.
    hub : PredictionHub
        The first of the sinks, where websocket clients subscribe.
    sinks : sequence of Sink
        Further sinks.
    limits : StreamLimits
    adapts : bool
        Whether the decoder itself learns from the signal.
    runner : Runner or None
        Drives the connected stream together with others; without one it drives itself.
    recording : callable
        Returns the file that the stream is recorded to now, or None.

    Attributes
    ----------
    heartbeat : float
        Monotonic time at which the loop last read.
    driven : bool
        Whether the connected stream is driven by the runner's thread.
    counters : Counters
    """

    def __init__(
        self,
        name: str,
        *,
        connector: Connector,
        contract: Contract,
        model: ModelStatus,
        decoder: Decoder,
        make_pipeline: Callable[[SignalInfo, SavedAdaptation | None], Pipeline],
        hop_samples: int,
        hub: PredictionHub,
        sinks: Sequence[Sink] = (),
        limits: StreamLimits | None = None,
        adapts: bool = False,
        runner: Runner | None = None,
        recording: Callable[[], Path | None] = lambda: None,
    ) -> None:
        self.name = name
        self.hub = hub
        self.contract = contract
        self.model = model
        self.counters = Counters()
        self.heartbeat = time.monotonic()
        self.driven = False
        self._connector = connector
        self._decoder = decoder
        self._make_pipeline = make_pipeline
        self._hop_samples = hop_samples
        self._adapts = adapts
        self._settling_ms = contract.settling_samples / contract.sfreq * 1e3
        self._limits = limits or StreamLimits()
        self._sinks = Sinks(name, (hub, *sinks))
        self._runner = runner
        self._recording = recording
        self._stop = LoopStop()
        # Held while it is this stream's turn to connect; taken out by whoever gives the turn back.
        self._turns: list[Runner] = []
        self._hung: tuple[float, float] | None = None
        self._commands: SimpleQueue[AdaptationCommand] = SimpleQueue()
        self._state = (StreamState.SEARCHING, "not started", time.time())
        self._pipeline: Pipeline | None = None
        self._learnt: SavedAdaptation | None = None  # by pipelines that are no more
        self._source: Source | None = None
        self._search = self._new_search()
        self._broken = Reason.NONE
        self._published_at: float | None = None
        # What is out but not yet counted: clients need not wait for that.
        self._published: list[tuple[Prediction, float]] = []
        self._valid: bool | None = None
        # With which reasons a prediction was last noted, and in which state that left the stream.
        self._noted: tuple[Reason | None, object] = (None, None)
        self._latencies: deque[tuple[Mapping[str, float], float]] = deque(maxlen=_LATENCIES_KEPT)

    # ── seen from other threads ──────────────────────────────────────────────────────────────────────

    @property
    def state(self) -> StreamState:
        """Where the stream is."""
        return self._state[0]

    @property
    def reason(self) -> str:
        """Why the stream is where it is."""
        return self._state[1]

    @property
    def source(self) -> SignalInfo | None:
        """The signal that the stream is connected to; None while there is none."""
        source = self._source
        return source.info if source else None

    @property
    def stopping(self) -> bool:
        """Whether the stream was told to stop."""
        return self._stop.stopping

    @property
    def runner(self) -> Runner | None:
        """Drives the connected stream together with others; None when it drives itself."""
        return self._runner

    @property
    def still_s(self) -> float:
        """Seconds since the loop last gave a sign of life."""
        return time.monotonic() - max(self.heartbeat, self._stop.looked_at)

    @property
    def hung(self) -> bool:
        """Whether the loop hung and has not since shown that it moves."""
        if self._hung is None:
            return False
        at, until = self._hung
        return self.state is StreamState.FAILED or time.monotonic() < until or self.heartbeat <= at

    @property
    def connected_once(self) -> bool:
        """Whether a source has ever been accepted."""
        return self._pipeline is not None or self.counters.restarts > 0

    @property
    def ready(self) -> bool:
        """Whether predictions are fresh."""
        age = self._prediction_age()
        return self.state is StreamState.LIVE and age is not None and age <= self._limits.fresh_s

    def _prediction_age(self) -> float | None:
        return None if self._published_at is None else time.monotonic() - self._published_at

    def hello(self) -> dict[str, Any]:
        """The first message of the websocket."""
        return {
            "type": "hello",
            "version": 1,
            "stream": self.name,
            "classes": list(self.contract.classes),
            "sfreq": self.contract.sfreq,
            "window_samples": self.contract.window_samples,
            "hop_samples": self._hop_samples,
            "channels": list(self.contract.channels),
            "model": {"name": self.model.name, "sha256": self.model.sha256, "notice": self.model.notice},
        }

    def status(self) -> StreamStatus:
        """Everything that ``/v1/streams/{stream}`` says."""
        state, reason, since = self._state
        source, pipeline = self._source, self._pipeline
        latencies = [{**told, "publish": publish_ms} for told, publish_ms in list(self._latencies)]
        stages = {stage for latency in latencies for stage in latency}
        return StreamStatus(
            name=self.name,
            state=state,
            state_reason=reason,
            state_since_unix=since,
            ready=self.ready,
            source=source_status(source.info) if source else None,
            model=self.model,
            classes=list(self.contract.classes),
            channels=list(self.contract.channels),
            sfreq=self.contract.sfreq,
            window_samples=self.contract.window_samples,
            hop_samples=self._hop_samples,
            resampler_delay_ms=pipeline.resampler_delay_seconds * 1e3 if pipeline else 0.0,
            settling_ms=self._settling_ms,
            counters=replace(self.counters),
            clock_offset_s=source.clock_offset_s if source else None,
            drift_ppm=pipeline.drift_ppm if pipeline else None,
            effective_rate=pipeline.effective_rate if pipeline else None,
            last_prediction_age_s=self._prediction_age(),
            valid_in_s=pipeline.seconds_until_valid if source and pipeline else None,
            recording=file.name if (file := self._recording()) else None,
            adaptation=adaptation_status(pipeline) if pipeline else None,
            decoder_adaptation=decoder_status(pipeline.learner) if pipeline and pipeline.learner else None,
            hung=self.hung,
            quality=[ChannelStatus.model_validate(c) for c in pipeline.channel_quality()]
            if source and pipeline
            else [],
            latency_ms={s: median(latency[s] for latency in latencies if s in latency) for s in sorted(stages)},
        )

    def command(self, command: AdaptationCommand) -> None:
        """Have an adaptation command carried out between two chunks.

        Raises
        ------
        ContractError
            The model aligns nothing online, or no signal is there yet.
        """
        if not isinstance(self.contract.normalisation, Alignment) and not self._adapts:
            msg = (
                f"The model of stream {self.name!r} aligns nothing online; there is no adaptation to {command.action}."
            )
            raise ContractError(msg)
        if self._pipeline is None:
            msg = f"Stream {self.name!r} has seen no signal yet; there is no adaptation to {command.action}."
            raise ContractError(msg)
        self._commands.put(command)

    def saved_adaptation(self) -> SavedAdaptation | None:
        """What was learnt of the person; None before any signal. To be asked when the loop has ended."""
        return self._pipeline.saved_adaptation() if self._pipeline else self._learnt

    def stop(self) -> None:
        """Let the loop end at its next turn."""
        self._stop.set()

    def begin(self) -> None:
        """Take the beginning of a loop as its first sign of life."""
        self.heartbeat = time.monotonic()

    def abandon(self, state: StreamState, reason: str, *, hung_for_s: float = 0.0) -> None:
        """Let go of a loop that hangs or has died, so that another can begin with a fresh pipeline.

        Its thread must have been fenced off before. Nothing is told here, because to tell may be what hangs.

        Parameters
        ----------
        state : StreamState
        reason : str
        hung_for_s : float
            For how long it did not move; 0 when it died.
        """
        before, self._stop = self._stop, LoopStop()
        if before.stopping:
            self._stop.set()
        before.set()
        while self._turns:
            self._give_back(self._turns)
        now = time.monotonic()
        if hung_for_s:
            # Until it has moved for longer than it took to notice that it did not.
            self._hung = now, now + 2 * hung_for_s
        self._search = self._new_search()
        self._source = None
        self._published = []
        self.driven = False
        self.heartbeat = now
        self._state = (state, reason, time.time())
        if state is not StreamState.STOPPED:  # then what was learnt is still to be kept
            self.forget_signal()

    def drive_itself(self) -> None:
        """Leave the runner for good, also its decoder: a stream that hung there shall hang nobody else."""
        self._runner = None
        if isinstance(self._decoder, SharedDecoder):
            self._decoder = self._decoder.alone()

    def add_sink(self, sink: Sink) -> None:
        """Give a sink everything from now on."""
        self._sinks.add(sink)

    def remove_sink(self, sink: Sink) -> None:
        """Give a sink nothing more; it is not closed."""
        self._sinks.remove(sink)

    def close(self) -> None:
        """Close every sink, once the loop has ended."""
        self._tell_of_failed(self._sinks.close())

    # ── the loop, in the stream's own thread ─────────────────────────────────────────────────────────

    def run(self) -> None:
        """Search, connect and decode until stopped.

        Raises
        ------
        SourceError, ContractError
            The very first search is refused: several streams match, none does and none is to be waited
            for, or what is found cannot be used. Later refusals leave the stream searching.
        """
        stop = self._stop
        while not stop.is_set():
            self.heartbeat = time.monotonic()
            source = self._search.attempt(self._accept)
            fence()
            if source is None or self._pipeline is None:
                continue
            self._source = source
            worker = Worker(self._pipeline, self._decoder, max_backlog_s=self._limits.max_backlog_s)
            try:
                self._decode_until_lost(source, worker, stop)
            except StreamLostError as error:
                self._publish_all(worker, worker.flush(source.now()))
                self.to_state(StreamState.LOST, str(error))
            finally:
                if self._source is source:
                    self._source = None
                source.close()
        self.to_state(StreamState.STOPPED, "The service is stopping.")

    def _new_search(self) -> Search:
        stop = self._stop
        turn = partial(self._turn_to_connect, stop)
        return Search(self._connector, self, wait=self._limits.wait, stop=stop, turn=turn)

    @contextmanager
    def _turn_to_connect(self, stop: LoopStop) -> Iterator[bool]:
        """Wait until few enough others connect; whether it is this stream's turn before it has to stop."""
        runner = self._runner
        if runner is None:
            yield True
            return
        while not (mine := runner.connecting.acquire(timeout=_READ_S)) and not stop.is_set():
            fence()
        turns = [runner] if mine else []
        self._turns = turns
        try:
            # The inlet's threads are started here. Those of many streams would interrupt the one that decodes, many
            # hundred times a second and each time for a few samples.
            with unhurried():
                yield mine
        finally:
            self._give_back(turns)

    @staticmethod
    def _give_back(turns: list[Runner]) -> None:
        with suppress(IndexError):  # the other thread has done it
            turns.pop().connecting.release()

    def forget_signal(self) -> None:
        """Begin with a fresh pipeline at the next connection, after a failure of unknown extent.

        What was learnt of the person is kept, and nothing more is learnt where somebody has stopped that.
        """
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            if not pipeline.learnt.empty:
                self._learnt = pipeline.learnt
            if pipeline.frozen:
                self._commands.put(AdaptationCommand("freeze"))
        self._broken = Reason.NONE
        self._valid = None
        self._noted = (None, None)

    def to_state(self, state: StreamState, reason: str) -> None:
        """Enter a state, and tell everybody if it or its reason is new."""
        fence()
        before, why, _ = self._state
        if (before, why) == (state, reason):
            return
        self._state = (state, reason, time.time())
        self.tell_state(before)

    def tell_state(self, before: StreamState) -> None:
        """Tell everybody the present state and its reason."""
        state, reason, _ = self._state
        self.emit("state", reason, {"state": str(state), "previous": str(before)})

    def emit(
        self, kind: str, message: str, data: Mapping[str, Any] | None = None, *, level: int = logging.INFO
    ) -> None:
        """Tell every sink and the log that something happened."""
        level = logging.WARNING if kind in ("error", "refused") else level
        log.log(level, "%s: %s%s", self.name, f"{self.state}: " if kind == "state" else "", message)
        event = Event(self.name, kind, message, time.time(), data or {})
        self._tell_of_failed(self._sinks.event(event))

    def show(self, kind: str, message: str, data: Mapping[str, Any]) -> None:
        """Tell every sink of something that is to be seen beside the predictions; may be called from any thread."""
        self._sinks.event(Event(self.name, kind, message, time.time(), data))

    def _tell_of_failed(self, failed: Failed) -> None:
        for what, error in failed:
            self.emit("error", f"The sink {what} failed and misses messages: {error}", {"sink": what})

    def _accept(self, source: Source) -> None:
        fence()
        if self._pipeline is None:
            self._pipeline = self._make_pipeline(source.info, self._learnt)
        else:
            self._broken = Reason.RECONNECT
            self.counters.reconnects += 1

    def _decode_until_lost(self, source: Source, worker: Worker, stop: LoopStop) -> None:
        silence = Silence(self._connector, source, self._limits.give_up_after_s)
        try:
            if self._runner is None:
                self._decode(source, worker, silence, stop)
            else:
                look = partial(self._look, source, worker, silence)
                self.driven = True
                try:
                    self._runner.drive(Driven(stop, worker, look, self._publish, self._told))
                finally:
                    fence()
                    self.driven = False
        finally:
            silence.close()

    def _decode(self, source: Source, worker: Worker, silence: Silence, stop: LoopStop) -> None:
        rehearsal = None if worker.pipeline.learner else Rehearsal(worker.pipeline, self._decoder)
        owed = False
        while not stop.is_set():
            pause = rehearsal.pause(_READ_S) if rehearsal else _READ_S
            chunk = self._read(source, worker, silence, min(pause, _BREATH_S) if owed else pause)
            if owed:
                self._told(worker)
            owed = chunk is not None
            if chunk is None:
                if rehearsal and rehearsal.due:
                    rehearsal.run()
                if silence.seconds(self.heartbeat) >= _READ_S:
                    self._publish_all(worker, worker.flush(source.now()))
                    self._watch_silence(source, silence)
                continue
            arrived = self.heartbeat
            for prediction in worker.take(chunk, source.now()):
                self._publish(prediction)
            if rehearsal and self._published:
                rehearsal.window_came(arrived)
        if owed:
            self._told(worker)

    def _look(self, source: Source, worker: Worker, silence: Silence) -> Look | None:
        """What the loop does before conditioning, for a runner that conditions and decodes."""
        chunk = self._read(source, worker, silence, 0.0)
        now, since = source.now(), time.perf_counter()
        if chunk is not None:
            return Look(worker.collect(chunk), now, since, now - float(chunk.times[-1]))
        if silence.seconds(self.heartbeat) < _READ_S:
            return None
        self._watch_silence(source, silence)
        return Look(worker.collect_rest(), now, since, None)

    def _watch_silence(self, source: Source, silence: Silence) -> None:
        if silence.seconds(self.heartbeat) >= self._limits.stale_after_s:
            self.to_state(StreamState.STALE, f"{source.info.name!r} is connected but sends no samples.")
            silence.ask(self.heartbeat)

    def _read(self, source: Source, worker: Worker, silence: Silence, timeout: float) -> Chunk | None:
        chunk = source.read(timeout)
        fence()
        self.heartbeat = time.monotonic()
        if chunk is None:
            return None
        silence.broken(self.heartbeat)
        while not self._commands.empty():
            worker.pipeline.adapt(self._commands.get())
        if self._broken:
            chunk = Chunk(chunk.samples, chunk.times, chunk.broken | self._broken)
            self._broken = Reason.NONE
        self.counters.samples += len(chunk)
        return chunk

    def _publish_all(self, worker: Worker, predictions: Iterator[Prediction]) -> None:
        for prediction in predictions:
            self._publish(prediction)
        self._settle(worker)

    def _told(self, worker: Worker) -> None:
        """What the loop does once a chunk's predictions are out and nobody waits."""
        predicted = bool(self._published)
        self._settle(worker)
        if not predicted:
            self._fill()

    def _settle(self, worker: Worker) -> None:
        """Take note of what was published, and tell what happened beside predictions."""
        published, self._published = self._published, []
        for prediction, publish_ms in published:
            self._note(prediction, publish_ms)
        backlog = worker.drain_backlog()
        if backlog:
            self.counters.skipped += backlog.windows
            message = (
                f"{backlog.windows} windows of a backlog of {backlog.seconds:.1f} s were skipped to be up to date."
            )
            self.emit("skipped", message, {"windows": backlog.windows, "seconds": backlog.seconds})
        for happened in worker.pipeline.drain_events():
            if happened.kind in ("gap", "clock_reset"):
                self.counters.gaps += happened.data["count"]
            self.emit(happened.kind, happened.message, happened.data)
        for times, samples in worker.drain_conditioned():
            self._tell_of_failed(self._sinks.signal(times, samples))

    def _publish(self, prediction: Prediction) -> None:
        begin = time.perf_counter()
        self._tell_of_failed(self._sinks.publish(prediction))
        fence()
        self._hung = None
        self._published_at = time.monotonic()
        self._published.append((prediction, (time.perf_counter() - begin) * 1e3))

    def _note(self, prediction: Prediction, publish_ms: float) -> None:
        self._latencies.append((prediction.latency_ms, publish_ms))
        valid = prediction.valid
        self.counters.predictions += 1
        self.counters.valid += valid
        if prediction.reasons is self._noted[0] and self._state is self._noted[1]:  # as a rule
            return
        state, why = StreamState.LIVE, "Predictions are fresh."
        if int(prediction.reasons) & _UNUSABLE_BITS:
            state = StreamState.SETTLING
            what = (
                "The model gives no numbers"
                if prediction.reasons & Reason.DECODER
                else "The time stamps contradict the rate"
            )
            why = f"{what}; no prediction is valid."
        elif int(prediction.reasons) & _UNSETTLED_BITS:
            names = ", ".join((prediction.reasons & ~SUSPECT).labels)
            state, why = StreamState.SETTLING, f"Predictions are not valid yet: {names}."
        if valid is not self._valid:
            self._valid = valid
            reasons = prediction.reasons.labels
            message = "Predictions are valid." if valid else f"Predictions are invalid: {', '.join(reasons)}."
            level = logging.INFO if self._state[:2] == (state, why) else logging.DEBUG  # else the state says it
            self.emit("validity", message, {"valid": valid, "reasons": reasons, "seq": prediction.seq}, level=level)
        self.to_state(state, why)
        self._noted = prediction.reasons, self._state

    def _fill(self) -> None:
        """Samples arrive without a prediction for long: the window is filling after a gap or a pause."""
        age = self._prediction_age()
        fresh = age is not None and age <= self._limits.fresh_s
        if self.state is StreamState.STALE or (self.state is StreamState.LIVE and not fresh):
            needed = self.contract.window_samples / self.contract.sfreq
            reason = f"Samples arrive; {needed:g} s of unbroken signal are needed for the next prediction."
            self.to_state(StreamState.SETTLING, reason)
