"""One stream: it finds its source, runs the connection in a live loop, and reports its state at every moment.

    searching ──▶ connecting ──▶ settling ──▶ live ──▶ stale ──▶ lost ──▶ searching …

Its own thread searches and connects; connected, it waits until the loop has finished with the connection. Faults of
the source are part of this cycle; anything else ends it and is the supervisor's business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from mindwire.adaptation import SavedAdaptation
from mindwire.errors import ContractError, StreamLostError
from mindwire.inference.decoder import Decoder
from mindwire.live.connection import Connection, StreamLimits
from mindwire.live.loop import LiveLoop
from mindwire.live.reporter import StreamReporter
from mindwire.live.search import Search
from mindwire.live.shared_decoder import SharedDecoder
from mindwire.live.stream_status import adaptation_status, decoder_status, source_status
from mindwire.loops import LoopStop, fence
from mindwire.options import AdaptationCommand
from mindwire.pipeline import Pipeline
from mindwire.sinks.hub import PredictionHub
from mindwire.sources.live import Connector, Source
from mindwire.status import ChannelStatus, Counters, ModelStatus, Sink, StreamState, StreamStatus
from mindwire.types import Reason, SignalInfo
from mindwire_models.contract import Alignment, Contract


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
        Makes the pipeline for a signal, given what was learnt before a restart, or None; raises ContractError if the
        signal cannot meet the contract.
    hop_samples : int
        Distance between windows in conditioned samples.
    hub : PredictionHub
        The first of the sinks, where websocket clients subscribe.
    sinks : sequence of Sink
        Further sinks.
    limits : StreamLimits
    adapts : bool
        True if the decoder itself learns from the signal.
    loop : LiveLoop or None
        Loop to share with other streams; None makes one for this stream.
    recording : callable
        Returns the file that the stream is recorded to now, or None.

    Attributes
    ----------
    reporter : StreamReporter
        State, events and counters.
    loop : LiveLoop
    connected : bool
        True while the loop runs the stream's connection.
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
        loop: LiveLoop | None = None,
        recording: Callable[[], Path | None] = lambda: None,
    ) -> None:
        self.name = name
        self.hub = hub
        self.contract = contract
        self.model = model
        self.reporter = StreamReporter(name, (hub, *sinks))
        self.loop = loop or LiveLoop()
        self.connected = False
        self._connector = connector
        self._decoder = decoder
        self._make_pipeline = make_pipeline
        self._hop_samples = hop_samples
        self._adapts = adapts
        self._limits = limits or StreamLimits()
        self._recording = recording
        self._stop = LoopStop()
        self._hung: tuple[float, float] | None = None
        self._commands: SimpleQueue[AdaptationCommand] = SimpleQueue()
        self._pipeline: Pipeline | None = None
        self._learnt: SavedAdaptation | None = None  # by pipelines before the present one
        self._source: Source | None = None
        self._search = self._new_search()
        self._discontinuity = Reason.NONE

    # ── from other threads ───────────────────────────────────────────────────────────────────────────

    @property
    def state(self) -> StreamState:
        """State of the stream."""
        return self.reporter.state

    @property
    def reason(self) -> str:
        """Why the stream is in its state."""
        return self.reporter.reason

    @property
    def counters(self) -> Counters:
        """Counted since the stream began."""
        return self.reporter.counters

    @property
    def source(self) -> SignalInfo | None:
        """The signal that the stream is connected to; None while there is none."""
        source = self._source
        return source.info if source else None

    @property
    def still_s(self) -> float:
        """Seconds since the last sign of life."""
        return time.monotonic() - self._stop.checked_at

    @property
    def hung(self) -> bool:
        """True if the stream hung and has not published or worked on since."""
        if self._hung is None:
            return False
        at, until = self._hung
        if (self.reporter.published_at or 0.0) > at:
            return False
        return self.state is StreamState.FAILED or time.monotonic() < until or self._stop.checked_at <= at

    @property
    def connected_once(self) -> bool:
        """True if a source has ever been accepted."""
        return self._pipeline is not None or self.counters.restarts > 0

    @property
    def ready(self) -> bool:
        """True if predictions are fresh."""
        age = self.reporter.prediction_age
        return self.state is StreamState.LIVE and age is not None and age <= self._limits.fresh_s

    def hello(self) -> dict[str, Any]:
        """Return the first message of the websocket."""
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
        """Return the status that ``/v1/streams/{stream}`` gives."""
        reporter, contract = self.reporter, self.contract
        source, pipeline = self._source, self._pipeline
        channels = pipeline.conditioner.meter.channels() if source and pipeline else []
        return StreamStatus(
            name=self.name,
            state=reporter.state,
            state_reason=reporter.reason,
            state_since_unix=reporter.since_unix,
            ready=self.ready,
            source=source_status(source.info) if source else None,
            model=self.model,
            classes=list(contract.classes),
            channels=list(contract.channels),
            sfreq=contract.sfreq,
            window_samples=contract.window_samples,
            hop_samples=self._hop_samples,
            resampler_delay_ms=pipeline.conditioner.resampler_delay_seconds * 1e3 if pipeline else 0.0,
            settling_ms=contract.settling_samples / contract.sfreq * 1e3,
            counters=replace(reporter.counters),
            clock_offset_s=source.clock_offset_s if source else None,
            drift_ppm=pipeline.conditioner.timebase.drift_ppm if pipeline else None,
            effective_rate=pipeline.conditioner.timebase.rate.effective_rate if pipeline else None,
            last_prediction_age_s=reporter.prediction_age,
            valid_in_s=pipeline.seconds_until_valid if source and pipeline else None,
            recording=file.name if (file := self._recording()) else None,
            adaptation=adaptation_status(pipeline) if pipeline else None,
            decoder_adaptation=decoder_status(pipeline.learner) if pipeline and pipeline.learner else None,
            hung=self.hung,
            loop_load=self.loop.load,
            quality=[ChannelStatus.model_validate(channel) for channel in channels],
            latency_ms=reporter.latency_ms(),
        )

    def command(self, command: AdaptationCommand) -> None:
        """Carry out an adaptation command between two chunks.

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
        """Return what was learnt of the person, None before any signal; call it when the stream has ended."""
        return self._pipeline.saved_adaptation() if self._pipeline else self._learnt

    def stop(self) -> None:
        """End the stream soon."""
        self._stop.set()

    def begin(self) -> None:
        """Give a sign of life."""
        self._stop.is_set()

    def abandon(self, state: StreamState, reason: str, *, hung_for_s: float = 0.0) -> None:
        """Detach from a thread that hangs or has died, so that another can begin with a fresh pipeline.

        The thread must have been fenced off before. Nothing is reported here, because reporting may be what hangs.

        Parameters
        ----------
        state : StreamState
        reason : str
        hung_for_s : float
            Time for which it did not move; 0 if it died.
        """
        before, self._stop = self._stop, LoopStop()
        if before.stopping:
            self._stop.set()
        before.set()
        now = time.monotonic()
        if hung_for_s:
            # hung until it has worked for longer than it took to notice that it did not
            self._hung = now, now + 2 * hung_for_s
        self._search = self._new_search()
        self._source = None
        self.connected = False
        self.reporter.set_state(state, reason)
        if state is not StreamState.STOPPED:  # else what was learnt has still to be saved
            self._forget_signal()

    def leave_loop(self) -> None:
        """Use a loop and a decoder of its own from now on, so that a stream that hung delays no other again."""
        self.loop = LiveLoop()
        if isinstance(self._decoder, SharedDecoder):
            self._decoder = self._decoder.alone()

    def add_sink(self, sink: Sink) -> None:
        """Add a sink, which receives everything from now on."""
        self.reporter.add_sink(sink)

    def close(self) -> None:
        """Close every sink, once the stream has ended."""
        self.reporter.close()

    # ── in the stream's own thread ───────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Search, connect and decode until stopped.

        Raises
        ------
        SourceError, ContractError
            The very first search is refused: several streams match, none does and none is to be waited for, or the
            one found cannot be used. Later refusals leave the stream searching.
        """
        stop = self._stop
        while not stop.is_set():
            source = self._search.attempt(self._accept)
            fence()
            if source is not None and self._pipeline is not None:
                self._run_connection(source, self._pipeline, stop)
        self.reporter.to_state(StreamState.STOPPED, "The service is stopping.")

    def _run_connection(self, source: Source, pipeline: Pipeline, stop: LoopStop) -> None:
        connection = Connection(
            self._connector,
            source,
            pipeline,
            self._decoder,
            reporter=self.reporter,
            limits=self._limits,
            stop=stop,
            commands=self._commands,
            discontinuity=self._discontinuity,
        )
        self._discontinuity = Reason.NONE
        self._source, self.connected = source, True
        try:
            self.loop.run(connection)
        except StreamLostError as error:
            self.reporter.to_state(StreamState.LOST, str(error))
        finally:
            if self._source is source:
                self._source, self.connected = None, False
            connection.close()

    def _accept(self, source: Source) -> None:
        fence()
        if self._pipeline is None:
            self._pipeline = self._make_pipeline(source.info, self._learnt)
        else:
            self._discontinuity = Reason.RECONNECT
            self.counters.reconnects += 1

    def _new_search(self) -> Search:
        return Search(self._connector, self.reporter, wait=self._limits.wait, stop=self._stop)

    def _forget_signal(self) -> None:
        """Begin with a fresh pipeline at the next connection, after a failure of unknown extent.

        What was learnt of the person is kept, and learning stays stopped where it was stopped.
        """
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            if not pipeline.learnt.empty:
                self._learnt = pipeline.learnt
            if pipeline.frozen:
                self._commands.put(AdaptationCommand("freeze"))
        self._discontinuity = Reason.NONE
        self.reporter.forget_signal()
