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
from mindwire.live.connection import Connection, StreamLimits, carry_out
from mindwire.live.loaded_model import LoadedModel, no_models
from mindwire.live.loop import LiveLoop
from mindwire.live.model_swap import ModelSwap
from mindwire.live.recordings import Recordings
from mindwire.live.reporter import StreamReporter
from mindwire.live.search import Search
from mindwire.live.shared_decoder import SharedDecoder
from mindwire.live.stream_status import hello_message, stream_status
from mindwire.loops import LoopStop, fence
from mindwire.options import AdaptationCommand
from mindwire.pipeline import Pipeline
from mindwire.sinks.adaptation import write_adaptation
from mindwire.sinks.hub import PredictionHub
from mindwire.sinks.message_types import Hello
from mindwire.sinks.sent_markers import SentMarkers
from mindwire.sources.live import Connector, Source
from mindwire.status import ModelStatus, RecordingRequest, Sink, StreamState, StreamStatus
from mindwire.types import Reason, SignalInfo
from mindwire_models.contract import Alignment, Contract

if TYPE_CHECKING:
    from mindwire.sinks.recorder import Recorder

_notes = ThreadPoolExecutor(1, "mindwire-note")


@dataclass(eq=False)
class Stream:
    """One source, one bundle, its sinks; ``reporter`` has its state and events, ``counters`` counts since it began."""

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
    markers: SentMarkers = field(default_factory=SentMarkers)  # one of the sinks
    model_path: Path | None = None
    model_details: Mapping[str, Any] = field(default_factory=dict)  # of the model, for a recording
    load_model: Callable[[Path], LoadedModel] = no_models  # loads another bundle for this stream
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
        """Seconds since the loop last checked whether it is to end."""
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
        """True if predictions are fresh; never without a model."""
        age = self.reporter.prediction_age
        return self.model.exists and self.state is StreamState.LIVE and age is not None and age <= self.limits.fresh_s

    @property
    def learnt(self) -> SavedAdaptation | None:
        """Adaptation to the person so far, without the last samples; None before any signal."""
        pipeline = self._pipeline
        return pipeline.learnt if pipeline else self._learnt

    def hello(self) -> Hello:
        """Return the first message of the websocket."""
        return hello_message(self)

    def status(self) -> StreamStatus:
        """Return the status that ``/v1/streams/{stream}`` gives."""
        return stream_status(self, self._source)

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
            policy.check(self.contract.classes if self.model.exists else ())
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

    def between_chunks(self, action: Callable[[], None]) -> None:
        """Carry out an action between two chunks, and wait for it; at once where no loop moves that could do it."""
        carry_out(action, None if self._connection is None else self._commands)

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
        """Write what was learnt so far to the stream's file; see :func:`mindwire.sinks.adaptation.write_adaptation`."""
        write_adaptation(self.name, self.adaptation_file, self.learnt)
        self.reporter.emit("adaptation", "Adaptation: saved.", {"saved": True})

    def stop(self, reason: str = "The service is stopping.") -> None:
        """End the stream soon; the reason is that of its last state."""
        self._why = reason
        self._stop.set()

    def wait(self, seconds: float) -> None:
        """Wait, while the stream counts as alive, unless it is stopped."""
        self._stop.wait(seconds)

    def abandon(self, state: StreamState, reason: str, *, hung_for_s: float = 0.0) -> None:
        """Detach from a thread that died, or did not move for a time, so that another can begin with a fresh pipeline.

        What was learnt of the person is kept, and learning stays stopped where it was stopped. The thread must have been
        fenced off before. Nothing is reported here, because reporting may be what hangs.
        """
        before, self._stop = self._stop, LoopStop()
        if before.stopping:
            self._stop.set()
        before.set()
        now = time.monotonic()
        if hung_for_s:
            self._hung = now, now + 2 * hung_for_s  # until it has worked for longer than it took to notice that
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
        if pipeline.contract is not self.contract:  # without a model it is the source's
            self.contract, self.hop_samples = pipeline.contract, pipeline.hop_samples
            self.hub.use_contract(pipeline.contract)
        with self._lock:
            self._n_pipelines += 1
            setting = self.control_setting
            if setting != ControlSetting(policy=pipeline.options.policy):
                pipeline.control(setting.policy, paused=setting.paused)
            self._pipeline = pipeline

    def _new_search(self) -> Search:
        return Search(self.connector, self.reporter, self.limits.wait, self._stop, lambda: self.recordings.recorder)
