"""Streams made of their descriptions, with bundles, sources and sinks."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from mindwire.adaptation import SavedAdaptation
from mindwire.config import Settings, StreamSpec, host_and_port
from mindwire.control.policy import WITHOUT_POLICY, choose_policy
from mindwire.control.setting import ControlSetting
from mindwire.errors import ContractError, UsageError
from mindwire.inference.decoder import Decoder
from mindwire.inference.load import load_decoder
from mindwire.live.connection import StreamLimits
from mindwire.live.loaded_model import LoadedModel
from mindwire.live.loop import LiveLoop
from mindwire.live.no_model import no_decoder, signal_contract, signal_pipeline
from mindwire.live.shared_decoder import SharedDecoder
from mindwire.live.stream import Stream
from mindwire.live.warm_start import initial_adaptation
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.serve.named_sources import kept_state, records, selector
from mindwire.sinks.adaptation import AdaptationCheckpoint, AdaptationWriter, delete_checkpoint
from mindwire.sinks.hub import PredictionHub
from mindwire.sinks.lsl import LslSink
from mindwire.sinks.sent_markers import SentMarkers
from mindwire.sources.lsl_connector import LslConnector
from mindwire.status import NO_MODEL, ModelStatus, RecordingRequest
from mindwire.types import SignalInfo
from mindwire_models import zoo
from mindwire_models.bundle import Bundle, load_bundle

if TYPE_CHECKING:
    from mindwire.sinks.recorder import Recorder

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PreparedStream:
    """A stream that has been checked and whose bundle is loaded, before its sinks are opened."""

    spec: StreamSpec  # as configured
    own: StreamSpec  # the same with the general settings in it
    bundle: Bundle | None  # None for a stream without a model
    decoder: Decoder
    options: PipelineOptions
    control: ControlSetting
    kept: Path | None  # file of the adaptation to the person


class StreamBuilder:
    """Builds streams, which share their live loop, and their decoders while one of the streams with a bundle lasts.

    Parameters
    ----------
    settings : Settings
        The general ones; streams are given one by one.
    instance : str
        Distinguishes this service's LSL outlets from those of another on the same host.
    checkpoints : Path or None
        Folder in which what streams learn of their persons survives the end of this process.
    """

    def __init__(self, settings: Settings, *, instance: str = "", checkpoints: Path | None = None) -> None:
        self._settings = settings
        self._instance = instance
        self._checkpoints = checkpoints
        self._loop = LiveLoop(settings.batch_wait_ms / 1e3)
        self._decoders: WeakValueDictionary[str, SharedDecoder] = WeakValueDictionary()

    def prepare(self, spec: StreamSpec, load: Callable[[Path], Bundle] = load_bundle) -> PreparedStream:
        """Check a stream and load its bundle; nothing begins.

        Parameters
        ----------
        spec : StreamSpec
        load : callable
            Loads a bundle from its folder.

        Raises
        ------
        MindwireError
            The bundle or its engine cannot be loaded, or the control policy does not fit.
        """
        settings, own = self._settings, self._settings.of(spec)
        options = PipelineOptions(
            channels=own.channels,
            unit=own.unit,
            sfreq=own.rate,
            bad_channels=settings.bad_channels,
            bridge_seconds=settings.bridge_ms / 1e3,
        )
        if own.model is None or own.adapt is None:
            if settings.sessions is None:
                msg = (
                    f"model: stream {spec.id!r} has no bundle that decodes it; name one with 'model', or for all with "
                    "--model BUNDLE, or record and train one: --sessions DIR."
                )
                raise UsageError(msg)
            return PreparedStream(spec, own, None, no_decoder(), options, ControlSetting(paused=spec.paused), None)
        bundle = load(own.model)
        policy = choose_policy(bundle, own.control)
        load_one = partial(load_decoder, bundle, settings.engine, settings.device, adapt=own.adapt)
        decoder: Decoder
        if own.adapt != "alignment":  # what a decoder learns of one person is not for another
            decoder = load_one()
        else:
            shared = self._decoders.get(bundle.sha256) or SharedDecoder(load_one)
            decoder = self._decoders[bundle.sha256] = shared
        options = replace(
            options,
            hop_samples=own.hop,
            adapt=own.adapt,
            trained=bundle.training.source if bundle.training else None,
            policy=policy,
        )
        control = ControlSetting(policy=policy, paused=spec.paused)
        return PreparedStream(spec, own, bundle, decoder, options, control, kept_state(settings, spec))

    def build(self, prepared: PreparedStream) -> Stream:
        """Open a stream's sinks and return it, not yet running.

        Raises
        ------
        MindwireError
            What was learnt of the person cannot be used, or a recording cannot begin.
        """
        settings, own, name = self._settings, prepared.own, prepared.own.id
        checkpoint = self._checkpoint(name) if prepared.bundle is not None else None
        options = self._with_adaptation(prepared.bundle, prepared, checkpoint) if prepared.bundle else prepared.options
        outlets = None
        if own.lsl_outlet:
            outlets = LslSink(
                name,
                None if prepared.bundle is None else prepared.bundle.contract,
                _status(prepared),
                hop_samples=own.hop,
                instance=self._instance,
                policy=options.policy,
                recorded=records(settings, prepared.spec) or settings.sessions is not None,
            )
        recorded = records(settings, prepared.spec) or settings.sessions is not None
        markers = SentMarkers(name, outlets.source_id, opened=recorded) if outlets else SentMarkers(name)
        model = self._loaded(prepared, options, outlets)
        recorder = None
        if outlets is not None and settings.sessions is None and records(settings, prepared.spec):
            recorder = _recorder(settings, prepared, options, outlets)

        def load_model(path: Path) -> LoadedModel:
            other = self.prepare(prepared.spec.model_copy(update={"model": path}))
            return self._loaded(other, other.options, outlets)

        stream = Stream(
            name,
            connector=LslConnector(selector(own), own.rate),
            contract=model.contract,
            model=model.status,
            decoder=model.decoder,
            make_pipeline=model.make_pipeline,
            hop_samples=model.hop_samples,
            model_path=model.path,
            model_details=model.details,
            load_model=load_model,
            hub=PredictionHub(name, model.contract),
            sinks=[markers] if outlets is None else [outlets, markers],
            markers=markers,
            recorder=recorder,
            make_recorder=model.make_recorder,
            control_setting=prepared.control,
            limits=StreamLimits(settings.wait, settings.max_backlog, settings.stale_after),
            loop=self._loop,
        )
        markers.show = stream.reporter.show
        stream.recordings.folder = settings.sessions or settings.record
        if own.participant is not None:
            stream.recordings.begin(RecordingRequest(participant=own.participant))
        send_osc(stream, own.osc)
        if prepared.kept is not None:
            stream.adaptation_file = prepared.kept
            stream.reporter.add_sink(AdaptationWriter(prepared.kept, stream.saved_adaptation))
        if checkpoint is not None:
            stream.reporter.add_sink(AdaptationCheckpoint(checkpoint, lambda: stream.learnt))
        return stream

    def _with_adaptation(self, bundle: Bundle, prepared: PreparedStream, checkpoint: Path | None) -> PipelineOptions:
        """Return a stream's options with what was learnt by this process's predecessor, or in an earlier session."""
        decoder, options, kept, warm_start = (
            prepared.decoder,
            prepared.options,
            prepared.kept,
            self._settings.warm_start,
        )
        before = checkpoint if checkpoint is not None and checkpoint.exists() else kept
        try:
            saved = initial_adaptation(bundle, decoder, options, before, warm_start)
        except ContractError:
            if before is not checkpoint:
                raise
            # the process ended before what another model had learnt was replaced
            saved = initial_adaptation(bundle, decoder, options, kept, warm_start)
        if saved is None:
            return options
        about = {"stream": prepared.own.id, "model": _status(prepared).label}
        log.info("The stream begins with what was learnt before.", extra=about)
        return replace(options, state=saved.to_text())

    def _loaded(self, prepared: PreparedStream, options: PipelineOptions, outlets: LslSink | None) -> LoadedModel:
        """Return a stream's model."""
        bundle, decoder, status = prepared.bundle, prepared.decoder, _status(prepared)
        about = {"stream": prepared.own.id, "model": status.label}
        recording = _recording(self._settings, prepared, options, outlets)
        if bundle is None:
            contract = signal_contract(None, options)
            make, hop = signal_pipeline(options), contract.hop_samples
            return LoadedModel(status, contract, decoder, make, hop, **recording)
        message = "Model %s runs on %s (%s): %s"
        log.info(message, status.name, status.engine, status.device, status.engine_reason, extra=about)
        if options.policy is None and prepared.own.control != "none":
            log.info("Model %s %s.", status.name, WITHOUT_POLICY, extra=about)

        def make_pipeline(info: SignalInfo, learnt: SavedAdaptation | None) -> Pipeline:
            now = options if learnt is None else replace(options, state=learnt.to_text())
            if remembered := now.as_in_training(info):
                log.info("As %s was trained: %s", bundle.name, remembered, extra=about)
            return Pipeline(bundle.contract, info, decoder, now)

        return LoadedModel(
            status,
            bundle.contract,
            decoder,
            make_pipeline,
            prepared.own.hop or bundle.contract.hop_samples,
            options.policy,
            prepared.own.model,
            **recording,
        )

    def forget(self, name: str) -> None:
        """Delete what a stream that was removed had learnt for this process's successor; another may take its name."""
        if (checkpoint := self._checkpoint(name)) is not None:
            delete_checkpoint(checkpoint)

    def _checkpoint(self, name: str) -> Path | None:
        return None if self._checkpoints is None else self._checkpoints / f"{name}.adaptation"


def _status(prepared: PreparedStream) -> ModelStatus:
    bundle, decoder = prepared.bundle, prepared.decoder
    if bundle is None:
        return NO_MODEL
    return ModelStatus(
        name=bundle.name,
        sha256=bundle.sha256,
        engine=decoder.engine,
        device=decoder.device,
        engine_reason=decoder.reason,
        notice=zoo.notice(bundle),
    )


def _recorder(settings: Settings, prepared: PreparedStream, options: PipelineOptions, outlets: LslSink) -> Recorder:
    """Return the recorder that a stream begins with, without a session."""
    from mindwire.serve.session_recorder import folder_recorder

    assert settings.record is not None  # noqa: S101 - as the caller knows
    return folder_recorder(settings.record, prepared.own.id, prepared.bundle, options, outlets.source_id)


def _recording(
    settings: Settings, prepared: PreparedStream, options: PipelineOptions, outlets: LslSink | None
) -> dict[str, Any]:
    """Return what a recording takes of a model, where one may be made."""
    if outlets is None or (settings.sessions is None and not records(settings, prepared.spec)):
        return {}
    from mindwire.offline.recorded_run import run_details

    found: dict[str, Any] = {"details": run_details(prepared.bundle, options)}
    if settings.sessions is not None:
        from mindwire.serve.session_recorder import session_recorder

        found["make_recorder"] = session_recorder(settings.sessions, prepared.bundle, options, outlets.source_id)
    return found


def send_osc(stream: Stream, address: str | None) -> None:
    """Send what a stream publishes to this address, if there is one, and to no other, as OSC too."""
    if address is None:
        if "mindwire.sinks.osc" in sys.modules:
            stream.reporter.replace_sink(sys.modules["mindwire.sinks.osc"].OscSink, None)
        return
    from mindwire.sinks.osc import OscSink

    stream.reporter.replace_sink(OscSink, OscSink(stream.name, *host_and_port(address), stream.reporter.emit))
