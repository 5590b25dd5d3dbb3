"""Streams made of the settings, with their bundles, sources and sinks, and run until the service stops."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from fastapi import FastAPI

from mindwire.adaptation import SavedAdaptation
from mindwire.config import Settings, StreamSpec
from mindwire.errors import MindwireError, UsageError
from mindwire.inference.decoder import Decoder
from mindwire.inference.load import load_decoder
from mindwire.live.connection import StreamLimits
from mindwire.live.live_markers import showing_markers
from mindwire.live.loop import LiveLoop
from mindwire.live.shared_decoder import SharedDecoder
from mindwire.live.stream import Stream
from mindwire.live.supervisor import Supervisor
from mindwire.live.warm_start import initial_adaptation
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.serve.listening import listening, stop_on_signals
from mindwire.serve.named_sources import kept_state, selector
from mindwire.sinks.adaptation import AdaptationCheckpoint, AdaptationWriter
from mindwire.sinks.hub import PredictionHub
from mindwire.sinks.lsl import LslSink
from mindwire.sources.lsl_connector import LslConnector
from mindwire.status import ModelStatus, Sink
from mindwire.types import SignalInfo
from mindwire_models import zoo
from mindwire_models.bundle import Bundle, load_bundle

log = logging.getLogger(__name__)

_STOP_STREAMS_S = 1.2


def build_streams(
    settings: Settings,
    *,
    instance: str = "",
    only: Collection[str] | None = None,
    checkpoints: Path | None = None,
) -> dict[str, Stream]:
    """Build the streams that the settings ask for, not yet running.

    Parameters
    ----------
    settings : Settings
    instance : str
        Distinguishes this service's LSL outlets from those of another on the same host.
    only : collection of str or None
        Those of the streams that this process shall run; all when None.
    checkpoints : Path or None
        Folder in which what streams learn of their persons survives the end of this process.

    Raises
    ------
    MindwireError
        A bundle or its engine cannot be loaded.
    """
    bundles: dict[Path, Bundle] = {}
    specs = [spec for spec in settings.stream if only is None or spec.id in only]
    loop = LiveLoop(settings.batch_wait_ms / 1e3)
    decoders: dict[Path, Decoder] = {}
    streams: dict[str, Stream] = {}
    for spec in specs:
        path = spec.model or settings.model
        if path is None:
            msg = f"Say which bundle decodes stream {spec.id!r} with --model BUNDLE."
            raise UsageError(msg)
        if path not in bundles:
            bundles[path] = load_bundle(path)
        checkpoint = checkpoints / f"{spec.id}.adaptation" if checkpoints else None
        load = partial(load_decoder, bundles[path], settings.engine, settings.device, adapt=settings.adapt)
        if settings.adapt != "alignment":  # what a decoder learns of one person is not for another
            decoder = load()
        else:
            decoder = decoders[path] = decoders.get(path) or SharedDecoder(load)
        factory = StreamFactory(
            settings, spec, bundles[path], decoder, loop=loop, instance=instance, checkpoint=checkpoint
        )
        streams[spec.id] = factory.build()
    return streams


class StreamFactory:
    """One stream's parts, as the settings ask for them.

    Parameters
    ----------
    settings : Settings
    spec : StreamSpec
    bundle : Bundle
    decoder : Decoder
    loop : LiveLoop
    instance : str
    checkpoint : Path or None
        File in which what the stream learns survives the end of this process.
    """

    def __init__(
        self,
        settings: Settings,
        spec: StreamSpec,
        bundle: Bundle,
        decoder: Decoder,
        *,
        loop: LiveLoop,
        instance: str,
        checkpoint: Path | None,
    ) -> None:
        self._settings = settings
        self._spec = spec
        self._bundle = bundle
        self._instance = instance
        self._decoder = decoder
        self._loop = loop
        self._checkpoint = checkpoint
        self._hop = spec.hop or settings.hop or bundle.contract.hop_samples
        self._options = self._pipeline_options()

    def build(self) -> Stream:
        """Build the stream."""
        spec, settings, contract = self._spec, self._settings, self._bundle.contract
        model = self._model()
        sinks: list[Sink] = []
        recorder = None
        if settings.lsl_outlet:
            outlets = LslSink(spec.id, contract, model, hop_samples=self._hop, instance=self._instance)
            sinks.append(outlets)
            if settings.record is not None:
                from mindwire.offline.recorded_run import known_of, run_details
                from mindwire.sinks.recorder import Recorder

                details, known = run_details(self._bundle, self._options), partial(known_of, self._options)
                recorder = Recorder(spec.id, settings.record, outlets.source_id, details, known)
        stream = Stream(
            spec.id,
            connector=LslConnector(selector(spec), settings.rate),
            contract=contract,
            model=model,
            decoder=self._decoder,
            make_pipeline=self._make_pipeline,
            hop_samples=self._hop,
            hub=PredictionHub(spec.id, contract),
            sinks=sinks,
            recorder=recorder,
            limits=StreamLimits(settings.wait, settings.max_backlog, settings.stale_after),
            loop=self._loop,
        )
        kept = kept_state(settings, spec)
        if kept is not None:
            stream.reporter.add_sink(AdaptationWriter(kept, stream.saved_adaptation))
        if self._checkpoint is not None:
            stream.reporter.add_sink(AdaptationCheckpoint(self._checkpoint, lambda: stream.learnt))
        return stream

    def _model(self) -> ModelStatus:
        decoder, bundle = self._decoder, self._bundle
        model = ModelStatus(
            name=bundle.name,
            sha256=bundle.sha256,
            engine=decoder.engine,
            device=decoder.device,
            engine_reason=decoder.reason,
            notice=zoo.notice(bundle),
        )
        text = "%s: model %s runs on %s (%s): %s"
        log.info(text, self._spec.id, model.name, model.engine, model.device, model.engine_reason)
        return model

    def _pipeline_options(self) -> PipelineOptions:
        """Options of the first pipeline, with what was learnt before: by this process's predecessor or an earlier session."""
        settings, spec, bundle = self._settings, self._spec, self._bundle
        options = PipelineOptions(
            channels=spec.channels or settings.channels,
            unit=spec.unit or settings.unit,
            hop_samples=spec.hop or settings.hop,
            sfreq=settings.rate,
            bad_channels=settings.bad_channels,
            bridge_seconds=settings.bridge_ms / 1e3,
            adapt=settings.adapt,
            trained=bundle.training.source if bundle.training else None,
        )
        if self._checkpoint is not None and self._checkpoint.exists():
            before: Path | None = self._checkpoint
        else:
            before = kept_state(settings, spec)
        saved = initial_adaptation(bundle, self._decoder, options, before, settings.warm_start)
        if saved is None:
            return options
        log.info("%s: begins with what was learnt before", spec.id)
        return replace(options, state=saved.to_text())

    def _make_pipeline(self, info: SignalInfo, learnt: SavedAdaptation | None) -> Pipeline:
        options = self._options if learnt is None else replace(self._options, state=learnt.to_text())
        if remembered := options.as_in_training(info):
            log.info("%s: as %s was trained: %s", self._spec.id, self._bundle.name, remembered)
        return Pipeline(self._bundle.contract, info, self._decoder, options)


async def run_streams(
    settings: Settings,
    app: FastAPI,
    sock: socket.socket,
    streams: Mapping[str, Stream],
    stop: asyncio.Event,
    *,
    begun: Callable[[], None] = lambda: None,
    on_refused: Callable[[MindwireError], None],
) -> None:
    """Run streams and their web server until stopped.

    The streams stop first, so that every client hears it; then the server closes. Both together take less than two
    seconds.

    Parameters
    ----------
    settings : Settings
    app : FastAPI
    sock : socket.socket
        Bound and listening.
    streams : mapping of str to Stream
    stop : asyncio.Event
        Ends it, as SIGTERM, SIGHUP and Ctrl-C do.
    begun : callable
        Called once clients are answered.
    on_refused : callable
        Called when a stream was refused and no other goes on, or when none was to be waited for.
    """
    loop = asyncio.get_running_loop()
    errors: dict[str, MindwireError] = {}

    def refused(stream: Stream, error: MindwireError) -> None:
        errors[stream.name] = error
        if settings.wait and len(errors) < len(streams):
            log.error("Stream %s is refused, the others go on: %s", stream.name, error)
        else:
            loop.call_soon_threadsafe(on_refused, error)

    supervisor = Supervisor(list(streams.values()), on_refused=refused)
    with stop_on_signals(stop), showing_markers(list(streams.values()), settings.marker_stream):
        async with listening(app, sock, stop):
            supervisor.start()
            begun()
            await stop.wait()
            await asyncio.to_thread(supervisor.stop, _STOP_STREAMS_S)
