"""One stream: it finds its source, runs the connection in a live loop, and reports its state at every moment.

    searching ──▶ connecting ──▶ settling ──▶ live ──▶ stale ──▶ lost ──▶ searching …

Its own thread searches and connects; connected, it waits until the loop has finished with the connection. Faults of
the source are part of this cycle; anything else ends it and is the supervisor's business.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from mindwire.adaptation import SavedAdaptation, signal_hash
from mindwire.control.policy import ControlPolicy
from mindwire.control.setting import ControlSetting
from mindwire.errors import ContractError, SourceError, StreamLostError
from mindwire.inference.decoder import Decoder, Learner
from mindwire.live.connection import Connection, StreamLimits
from mindwire.live.loaded_model import LoadedModel
from mindwire.live.loop import LiveLoop
from mindwire.live.model_swap import ModelSwap
from mindwire.live.recordings import Recordings
from mindwire.live.reporter import StreamReporter
from mindwire.live.search import Search
from mindwire.live.shared_decoder import SharedDecoder
from mindwire.loops import LoopStop, fence
from mindwire.options import AdaptationCommand
from mindwire.pipeline import Pipeline
from mindwire.sinks.hub import PredictionHub
from mindwire.sinks.messages import PROTOCOL_VERSION
from mindwire.sources.live import Connector, Source
from mindwire.status import (
    AdaptationStatus,
    ChannelStatus,
    ControlStatus,
    DecoderAdaptationStatus,
    ModelStatus,
    RecordingRequest,
    Sink,
    SourceStatus,
    StreamState,
    StreamStatus,
)
from mindwire.types import Reason, SignalInfo
from mindwire_models.contract import Alignment, Contract

if TYPE_CHECKING:
    from mindwire.sinks.recorder import Recorder

# Wait for the next chunk, until the loop counts as one that does not move.
_NEXT_CHUNK_S = 2.0
_notes = ThreadPoolExecutor(1, "mindwire-note")


def _no_models(path: Path) -> LoadedModel:
    msg = f"The model {path.name} cannot be loaded here; this stream was made without a way to load models."
    raise ContractError(msg)


@dataclass(eq=False)
class Stream:
    """One source, one bundle, its sinks.

    Attributes
    ----------
    reporter : StreamReporter
        State and events.
    counters : Counters
        Counted since the stream began.
    """

    name: str
    _: KW_ONLY
    connector: Connector
    contract: Contract
    model: ModelStatus
    decoder: Decoder
    # Given what was learnt before a restart, or None; raises ContractError if the signal cannot meet the contract.
    make_pipeline: Callable[[SignalInfo, SavedAdaptation | None], Pipeline]
    hop_samples: int  # distance between windows in conditioned samples
    hub: PredictionHub  # the first of the sinks, where websocket clients subscribe
    sinks: Sequence[Sink] = ()
    recorder: Recorder | None = None  # the last of the sinks; records what the pipelines are given
    # Makes the recorder of a recording that begins while the stream runs; raises RecordingError.
    make_recorder: Callable[[Stream, RecordingRequest], Recorder] | None = None
    control_setting: ControlSetting = field(default_factory=ControlSetting)  # at first that of the pipelines' options
    limits: StreamLimits = field(default_factory=StreamLimits)
    loop: LiveLoop = field(default_factory=LiveLoop)  # may be shared with other streams
    model_path: Path | None = None
    model_details: Mapping[str, Any] = field(default_factory=dict)  # of the model, for a recording
    load_model: Callable[[Path], LoadedModel] = _no_models  # loads another bundle for this stream
    on_model_changed: Callable[[Path | None], None] = lambda _: None  # called with the folder of the one in use

    def __post_init__(self) -> None:
        """Begin without a source."""
        self.reporter = StreamReporter(self.name, (self.hub, *self.sinks), lambda: self.model.label)
        self.recordings = Recordings(self, self.make_recorder)
        if self.recorder is not None:
            self.recordings.attach(self.recorder)
        self.counters, self.latency = self.reporter.counters, self.reporter.latency
        self._stop = LoopStop()
        self._why = "The service is stopping."
        self._hung: tuple[float, float] | None = None
        self._commands: SimpleQueue[Callable[[Pipeline], None]] = SimpleQueue()
        self._lock = threading.Lock()  # of control_setting, and of the moment at which a pipeline takes commands
        self._pipeline: Pipeline | None = None
        self._n_pipelines = 0  # that a signal began with
        self._policy = self.control_setting.policy  # that the model began with
        self.last_signal: SignalInfo | None = None  # of the pipeline before the present one
        self.alone = False  # true once it uses a loop and a decoder of its own
        self.swap = ModelSwap(self)
        self._learnt: SavedAdaptation | None = None  # by pipelines before the present one
        self._source: Source | None = None
        self._connection: Connection | None = None
        self.adaptation_file: Path | None = None  # where a saved adaptation is written
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
    def source(self) -> SignalInfo | None:
        """The signal that the stream is connected to, in its loop; None while there is none."""
        source = self._source
        return source.info if source else None

    @property
    def pipeline(self) -> Pipeline | None:
        """The pipeline in use; None before any signal."""
        return self._pipeline

    @property
    def loaded(self) -> LoadedModel:
        """The model in use."""
        return LoadedModel(
            self.model,
            self.contract,
            self.decoder,
            self.make_pipeline,
            self.hop_samples,
            self._policy,
            self.model_path,
            self.model_details,
            self.recordings.make,
        )

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
        return self.state is StreamState.LIVE and age is not None and age <= self.limits.fresh_s

    @property
    def learnt(self) -> SavedAdaptation | None:
        """Adaptation to the person so far, without the last samples; None before any signal."""
        pipeline = self._pipeline
        return pipeline.learnt if pipeline else self._learnt

    def hello(self) -> dict[str, Any]:
        """Return the first message of the websocket."""
        return {
            "type": "hello",
            "version": PROTOCOL_VERSION,
            "stream": self.name,
            "classes": list(self.contract.classes),
            "sfreq": self.contract.sfreq,
            "window_samples": self.contract.window_samples,
            "hop_samples": self.hop_samples,
            "channels": list(self.contract.channels),
            "model": {"name": self.model.name, "sha256": self.model.sha256, "notice": self.model.notice},
            "control": self.control_setting.model_dump(mode="json") if self.control_setting.policy else None,
        }

    def status(self) -> StreamStatus:
        """Return the status that ``/v1/streams/{stream}`` gives."""
        reporter, contract = self.reporter, self.contract
        source, pipeline = self._source, self._pipeline
        status = StreamStatus(
            name=self.name,
            state=reporter.state,
            state_reason=reporter.reason,
            state_since_unix=reporter.since_unix,
            ready=self.ready,
            source=_source_status(source.info) if source else None,
            model=self.model,
            other_models=self.swap.other_models,
            classes=list(contract.classes),
            channels=list(contract.channels),
            sfreq=contract.sfreq,
            window_samples=contract.window_samples,
            hop_samples=self.hop_samples,
            resampler_delay_ms=0.0,
            settling_ms=contract.settling_samples / contract.sfreq * 1e3,
            counters=replace(reporter.counters),
            clock_offset_s=source.clock_offset_s if source else None,
            last_prediction_age_s=reporter.prediction_age,
            recording=self.recordings.file,
            to_record=self.recordings.recorder is not None,
            hung=self.hung,
            loop_load=self.loop.load,
            latency_ms=reporter.latency_ms(),
            control=self._control_status(),
        )
        if pipeline is not None:
            conditioner, alignment = pipeline.conditioner, pipeline.alignment
            status.resampler_delay_ms = conditioner.resampler_delay_seconds * 1e3
            status.drift_ppm = conditioner.timebase.drift_ppm
            status.effective_rate = conditioner.timebase.rate.effective_rate
            if source is not None:
                status.valid_in_s = pipeline.seconds_until_valid
                status.quality = [ChannelStatus.model_validate(channel) for channel in conditioner.meter.channels()]
            if alignment is not None:
                status.adaptation = AdaptationStatus(
                    kind=alignment.kind,
                    ready=alignment.ready,
                    frozen=alignment.frozen,
                    good_seconds=alignment.state.good_samples / contract.sfreq,
                    drift=alignment.drift,
                    alarm=alignment.alarm,
                    rest_left_out_s=alignment.rest_left_out / contract.sfreq,
                )
            if pipeline.learner is not None:
                status.decoder_adaptation = DecoderAdaptationStatus.model_validate(
                    pipeline.learner, from_attributes=True
                )
        return status

    def command(self, command: AdaptationCommand) -> None:
        """Carry out an adaptation command between two chunks.

        Raises
        ------
        ContractError
            The model aligns nothing online, or no signal is there yet.
        """
        if not isinstance(self.contract.normalisation, Alignment) and not isinstance(self.decoder.session(), Learner):
            msg = (
                f"The model of stream {self.name!r} aligns nothing online; there is no adaptation to {command.action}."
            )
            raise ContractError(msg)
        if self._pipeline is None:
            msg = f"Stream {self.name!r} has seen no signal yet; there is no adaptation to {command.action}."
            raise ContractError(msg)
        self._commands.put(lambda pipeline: self.swap.adapt(pipeline, command))

    def control(self, policy: ControlPolicy | None = None, *, paused: bool | None = None) -> None:
        """Change the control policy, or pause or resume it, between two chunks; every later pipeline begins so.

        Raises
        ------
        PolicyError
            The policy does not fit the model's classes; nothing is changed.
        """
        if policy is not None:
            policy.check(self.contract.classes)
        with self._lock:
            before = self.control_setting
            self.control_setting = ControlSetting(
                policy=policy or before.policy, paused=before.paused if paused is None else paused
            )
            if self._pipeline is not None:
                number = self._n_pipelines

                def command(pipeline: Pipeline) -> None:
                    if self._n_pipelines == number:  # a later one began with the setting
                        pipeline.control(policy, paused=paused)

                self._commands.put(command)

    @property
    def next_seq(self) -> int:
        """Number of the next prediction."""
        pipeline = self._pipeline
        return pipeline.seq if pipeline else 0

    def between_chunks(self, action: Callable[[], None]) -> None:
        """Carry out an action between two chunks, and wait for it; at once where no loop moves that could do it."""
        done, once = threading.Event(), threading.Lock()

        def act(_: Pipeline | None = None) -> None:
            with once:
                if not done.is_set():
                    action()
                    done.set()

        if self._connection is not None:
            self._commands.put(act)
            done.wait(_NEXT_CHUNK_S)
        act()

    def renew_pipeline(self) -> None:
        """Continue with a new pipeline that has learnt what the present one has; call it between two chunks."""
        before, connection = self._pipeline, self._connection
        if before is None or connection is None:
            self._forget_pipeline()
            return
        pipeline = self.make_pipeline(connection.source.info, before.saved_adaptation())
        pipeline.seq, pipeline.decoder = before.seq, self.decoder
        self.swap.forget()
        self._use(pipeline)
        if before.frozen:
            pipeline.adapt(AdaptationCommand("freeze"))
        connection.renew(pipeline)

    def use_model(self, model: LoadedModel, pipeline: Pipeline | None) -> bool:
        """Use a model, whose pipeline has taken over, from now on; without a pipeline, only if there has been no signal.

        Returns false if nothing was done.
        """
        with self._lock:
            if pipeline is None and (self._pipeline is not None or self._stop.stopping):
                return False
            self._pipeline = pipeline
            self.model, self.contract, self.decoder = model.status, model.contract, model.decoder
            self.make_pipeline, self.hop_samples = model.make_pipeline, model.hop_samples
            self.model_path, self.model_details = model.path, model.details
            if pipeline is None and self._learnt is not None:
                same = self._learnt.signal == signal_hash(model.contract)
                self._learnt = self._learnt.alignment_alone if same else None
            if pipeline is None and self.control_setting.policy == self._policy and model.policy is not None:
                self.control_setting = ControlSetting(policy=model.policy, paused=self.control_setting.paused)
            self._policy = model.policy
        self.recordings.use_model(model)
        self.hub.use_contract(model.contract)
        _notes.submit(self.on_model_changed, model.path)  # which may write a file
        return True

    def change_policy(self, pipeline: Pipeline, policy: ControlPolicy) -> None:
        """Use the policy that a model brings; called between two chunks."""
        with self._lock:
            self.control_setting = ControlSetting(policy=policy, paused=self.control_setting.paused)
        pipeline.control(policy)

    def saved_adaptation(self) -> SavedAdaptation | None:
        """Return what was learnt of the person, None before any signal; call it when the stream has ended."""
        return self._pipeline.saved_adaptation() if self._pipeline else self._learnt

    def save_adaptation(self) -> None:
        """Write what was learnt so far to the stream's file.

        Raises
        ------
        ContractError
            It has no such file, nothing was learnt yet, or the file cannot be written.
        """
        learnt = self.learnt
        if self.adaptation_file is None:
            msg = f"Stream {self.name!r} has no file for its adaptation; give it one with --adaptation-state."
        elif learnt is None or learnt.empty:
            msg = f"Stream {self.name!r} has learnt nothing of the person yet; there is nothing to save."
        else:
            try:
                learnt.write(self.adaptation_file)
            except OSError as error:
                msg = f"The adaptation of stream {self.name!r} could not be written ({error.strerror}); check disk and path."
                raise ContractError(msg) from error
            self.reporter.emit("adaptation", "Adaptation: saved.", {"saved": True})
            return
        raise ContractError(msg)

    def stop(self, reason: str = "The service is stopping.") -> None:
        """End the stream soon; the reason is that of its last state."""
        self._why = reason
        self._stop.set()

    def wait(self, seconds: float) -> None:
        """Wait, while the stream counts as alive, unless it is stopped."""
        self._stop.wait(seconds)

    def abandon(self, state: StreamState, reason: str, *, hung_for_s: float = 0.0) -> None:
        """Detach from a thread that hangs or has died, so that another can begin with a fresh pipeline.

        What was learnt of the person is kept, and learning stays stopped where it was stopped. The thread must have been
        fenced off before. Nothing is reported here, because reporting may be what hangs.

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
        self._source = self._connection = None
        self.swap.forget()
        self.reporter.set_state(state, reason)
        if state is not StreamState.STOPPED:  # otherwise what was learnt has still to be saved
            self._forget_pipeline()

    def _forget_pipeline(self) -> None:
        """Begin with a new pipeline next time; what was learnt is kept, and learning stays stopped where it was."""
        if (pipeline := self._pipeline) is None:
            return
        self._pipeline, self.last_signal = None, pipeline.info
        if not pipeline.learnt.empty:
            self._learnt = pipeline.learnt
        if pipeline.frozen:
            self._commands.put(lambda pipeline: pipeline.adapt(AdaptationCommand("freeze")))
        self.reporter.forget_signal()

    def leave_loop(self) -> None:
        """Use a loop and a decoder of its own from now on, so that a stream that hung delays no other again."""
        self.loop = LiveLoop()
        self.alone = True
        if isinstance(self.decoder, SharedDecoder):
            self.decoder = self.decoder.alone()

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
        self.reporter.to_state(StreamState.STOPPED, self._why)

    def _run_connection(self, source: Source, pipeline: Pipeline, stop: LoopStop) -> None:
        connection = Connection(
            self.connector,
            source,
            pipeline,
            self.reporter,
            self.limits,
            stop,
            self._commands,
            self._discontinuity,
            lambda: self.recordings.recorder,
            self.swap,
        )
        self._source, self._connection = source, connection
        try:
            self.loop.run(connection)
        except StreamLostError as error:
            self.reporter.to_state(StreamState.LOST, str(error))
        finally:
            if self._source is source:
                self._source = self._connection = None
            connection.close()

    def _accept(self, source: Source) -> None:
        fence()
        if self._pipeline is None:
            model = self.loaded
            pipeline = model.make_pipeline(source.info, self._learnt)
            pipeline.decoder = model.decoder
            if self.make_pipeline is not model.make_pipeline:
                msg = "The model was changed while the stream connected; it connects again."
                raise SourceError(msg)
            self._discontinuity = Reason.NONE
            self._use(pipeline)
        else:
            self._discontinuity = Reason.RECONNECT
            self.counters.reconnects += 1

    def _use(self, pipeline: Pipeline) -> None:
        """Take a new pipeline, which begins as control is set now."""
        if (recorder := self.recordings.recorder) is not None:
            recorder.begin(replace(pipeline.options, first_seq=pipeline.seq))
        self.swap.begin()
        with self._lock:
            self._n_pipelines += 1
            setting = self.control_setting
            if setting != ControlSetting(policy=pipeline.options.policy):
                pipeline.control(setting.policy, paused=setting.paused)
            self._pipeline = pipeline

    def _control_status(self) -> ControlStatus | None:
        setting, reporter = self.control_setting, self.reporter
        if setting.policy is None or setting.hash is None:
            return None
        return ControlStatus(
            state="paused" if setting.paused else reporter.control_state,
            paused=setting.paused,
            hash=setting.hash,
            decisions={name: 0 for name in self.contract.classes if name != setting.policy.idle} | reporter.decisions,
            last=reporter.last_decision(),
        )

    def _new_search(self) -> Search:
        return Search(self.connector, self.reporter, self.limits.wait, self._stop, lambda: self.recordings.recorder)


def _source_status(info: SignalInfo) -> SourceStatus:
    units = set(info.units or ())
    values = {name: getattr(info, name) for name in SourceStatus.model_fields if name != "unit"}
    return SourceStatus.model_validate({**values, "unit": units.pop() if len(units) == 1 else None})
