"""Streams made of the settings, with their bundles, sources and sinks, and run until the service stops."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from fastapi import FastAPI

from mindwire.adaptation import SavedAdaptation
from mindwire.config import Settings, StreamSpec, host_and_port
from mindwire.control.policy import choose_policy
from mindwire.control.setting import ControlSetting
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
    bundle_at = cache(load_bundle)
    loop = LiveLoop(settings.batch_wait_ms / 1e3)
    decoders: dict[Path, Decoder] = {}
    streams: dict[str, Stream] = {}
    for spec in settings.stream:
        if only is not None and spec.id not in only:
            continue
        path = spec.model or settings.model
        if path is None:
            msg = f"Say which bundle decodes stream {spec.id!r} with --model BUNDLE."
            raise UsageError(msg)
        load = partial(load_decoder, bundle_at(path), settings.engine, settings.device, adapt=settings.adapt)
        if settings.adapt != "alignment":  # what a decoder learns of one person is not for another
            decoder = load()
        else:
            decoder = decoders[path] = decoders.get(path) or SharedDecoder(load)
        streams[spec.id] = _build_stream(
            settings, spec, bundle_at(path), decoder, loop=loop, instance=instance, checkpoints=checkpoints
        )
    return streams


def _build_stream(
    settings: Settings,
    spec: StreamSpec,
    bundle: Bundle,
    decoder: Decoder,
    *,
    loop: LiveLoop,
    instance: str,
    checkpoints: Path | None,
) -> Stream:
    contract, kept = bundle.contract, kept_state(settings, spec)
    hop = spec.hop or settings.hop or contract.hop_samples
    model = ModelStatus(
        name=bundle.name,
        sha256=bundle.sha256,
        engine=decoder.engine,
        device=decoder.device,
        engine_reason=decoder.reason,
        notice=zoo.notice(bundle),
    )
    about = {"stream": spec.id, "model": model.label}
    log.info("Model %s runs on %s (%s): %s", model.name, model.engine, model.device, model.engine_reason, extra=about)
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
    control = ControlSetting(policy=choose_policy(bundle, spec.control or settings.control))
    checkpoint = kept_control = None
    if checkpoints is not None:
        checkpoint, kept_control = checkpoints / f"{spec.id}.adaptation", checkpoints / f"{spec.id}.control"
        if kept_control.exists():
            control = ControlSetting.model_validate_json(kept_control.read_bytes())
    options = replace(options, policy=control.policy)
    # by this process's predecessor, or in an earlier session
    before = checkpoint if checkpoint is not None and checkpoint.exists() else kept
    saved = initial_adaptation(bundle, decoder, options, before, settings.warm_start)
    if saved is not None:
        log.info("The stream begins with what was learnt before.", extra=about)
        options = replace(options, state=saved.to_text())

    def make_pipeline(info: SignalInfo, learnt: SavedAdaptation | None) -> Pipeline:
        now = options if learnt is None else replace(options, state=learnt.to_text())
        if remembered := now.as_in_training(info):
            log.info("As %s was trained: %s", bundle.name, remembered, extra=about)
        return Pipeline(contract, info, decoder, now)

    sinks: list[Sink] = []
    recorder = None
    if settings.lsl_outlet:
        outlets = LslSink(
            spec.id,
            contract,
            model,
            hop_samples=hop,
            instance=instance,
            policy=options.policy,
            recorded=settings.record is not None,
        )
        sinks.append(outlets)
        if settings.record is not None:
            from mindwire.offline.recorded_run import known_of, run_details
            from mindwire.sinks.recorder import Recorder

            details, known = run_details(bundle, options), partial(known_of, options)
            recorder = Recorder(spec.id, settings.record, outlets.source_id, details, known)
    stream = Stream(
        spec.id,
        connector=LslConnector(selector(spec), settings.rate),
        contract=contract,
        model=model,
        decoder=decoder,
        make_pipeline=make_pipeline,
        hop_samples=hop,
        hub=PredictionHub(spec.id, contract),
        sinks=sinks,
        recorder=recorder,
        control_setting=control,
        keep_control=partial(_keep_control, kept_control),
        limits=StreamLimits(settings.wait, settings.max_backlog, settings.stale_after),
        loop=loop,
    )
    _send_osc(stream, settings.osc)
    if kept is not None:
        stream.reporter.add_sink(AdaptationWriter(kept, stream.saved_adaptation))
    if checkpoint is not None:
        stream.reporter.add_sink(AdaptationCheckpoint(checkpoint, lambda: stream.learnt))
    return stream


def _keep_control(path: Path | None, setting: ControlSetting) -> None:
    """Write a stream's control for the process that replaces a killed one; a failure is logged."""
    if path is None:
        return
    new = path.with_name(f"{path.name}.new")
    try:
        new.write_text(setting.to_json())
        new.replace(path)
    except OSError as error:
        log.error("The control policy could not be kept in %s: %s.", path, error.strerror)  # noqa: TRY400 - no bug


def _send_osc(stream: Stream, address: str | None) -> None:
    """Send what a stream publishes to an address, if there is one, as OSC too."""
    if address is not None:
        from mindwire.sinks.osc import OscSink

        stream.reporter.add_sink(OscSink(stream.name, *host_and_port(address), stream.reporter.emit))


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
    """Run streams and their web server until ``stop`` is set, as SIGTERM, SIGHUP and Ctrl-C do.

    The streams stop first, so that every client hears it; then the server closes. Both together take less than two
    seconds.

    Parameters
    ----------
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
            log.error("The stream is refused, the others go on: %s", error)
        else:
            loop.call_soon_threadsafe(on_refused, error)

    supervisor = Supervisor(list(streams.values()), on_refused=refused)
    with stop_on_signals(stop), showing_markers(list(streams.values()), settings.marker_stream):
        async with listening(app, sock, stop):
            supervisor.start()
            begun()
            await stop.wait()
            await asyncio.to_thread(supervisor.stop, _STOP_STREAMS_S)
