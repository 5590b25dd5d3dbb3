"""The service as a whole: bundles, streams, supervisor and web server, from the settings to a clean end.

On SIGTERM, SIGHUP or Ctrl-C the streams stop first, so that every client hears it; then the server closes. Both
together take less than two seconds.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI

from mindwire.adaptation import SavedAdaptation
from mindwire.api.app import create_app
from mindwire.api.server import bind_socket
from mindwire.config import Settings, StreamSpec, stream_id
from mindwire.cores import usable_cores
from mindwire.descriptors import raise_descriptor_limit
from mindwire.errors import MindwireError, UsageError
from mindwire.inference.decoder import Decoder
from mindwire.inference.load import load_decoder
from mindwire.live.capacity import Load, check_capacity
from mindwire.live.live_markers import showing_markers
from mindwire.live.runner import Runner
from mindwire.live.shared_decoder import SharedDecoder
from mindwire.live.stream import Stream, StreamLimits
from mindwire.live.supervisor import Supervisor
from mindwire.live.warm_start import beginning
from mindwire.options import PipelineOptions
from mindwire.outputs import ADAPTATION, check_output
from mindwire.pipeline import Pipeline
from mindwire.serve.listening import address, event_loop, listen, stop_on_signals, with_token
from mindwire.sinks.adaptation import AdaptationKeeper
from mindwire.sinks.hub import PredictionHub
from mindwire.sinks.lsl import LslSink
from mindwire.sources.liblsl import pylsl
from mindwire.sources.live import Connector
from mindwire.sources.lsl_connector import LslConnector
from mindwire.sources.lsl_discovery import Selector, check_predicate, describe, survey
from mindwire.status import ModelStatus, Sink, StreamState
from mindwire.types import SignalInfo
from mindwire_models import zoo
from mindwire_models.bundle import Bundle, load_bundle
from mindwire_models.contract import Contract

if TYPE_CHECKING:
    from mindwire.sinks.recorder import Recorder

log = logging.getLogger(__name__)

STOP_STREAMS_S = 1.2
# Up to so many streams each has a thread of its own, which answers fastest; more are driven together.
OWN_THREADS = 4
_SURVEY_S = 1.0


def serve(
    settings: Settings,
    *,
    announce: Callable[[str], None],
    alongside: Callable[[Mapping[str, Stream]], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Run the service until it is told to stop.

    Parameters
    ----------
    settings : Settings
    announce : callable
        Takes the lines that a person at the terminal should see.
    alongside : callable
        Given the streams, returns a context that is entered before they run and left when they have ended.

    Raises
    ------
    UsageError
        No bundle or no stream is named.
    MindwireError
        The bundle cannot be loaded, the port is taken, or every stream is refused at the start (any, if not waited for).
    """
    raise_descriptor_limit()
    _check(settings)
    settings = named_after_sources(settings)
    workers = min(settings.workers or usable_cores(), len(settings.stream))
    if workers > 1:
        from mindwire.serve.front.door import serve_with_workers

        serve_with_workers(settings, workers, announce=announce)
        return
    settings, notice = with_token(settings)
    sock = bind_socket(settings.host, settings.port)
    try:
        streams = build_streams(settings, instance=str(sock.getsockname()[1]))
        app = create_app(
            streams, token=settings.token, allowed_hosts=settings.allow_host, allowed_origins=settings.allow_origin
        )
        announce(f"Mindwire listens on {address(settings, sock)}")
        if notice:
            announce(notice)
        refused: list[MindwireError] = []
        with alongside(streams), event_loop() as runner:
            runner.run(_run(settings, app, sock, list(streams.values()), refused))
    finally:
        sock.close()
    if refused:
        raise refused[0]


def named_after_sources(settings: Settings) -> Settings:
    """The settings with streams called after the LSL streams that they describe, where the user named none.

    A description without ``id`` and ``name``, such as ``type=EEG``, that fits one stream now takes its name; where there
    is none yet, or more than one, the stream is called after the description. Kept states of several streams go by the
    streams' names, which then stay those of the descriptions.
    """
    if settings.adaptation_state is not None and len(settings.stream) > 1:
        return settings
    taken = {spec.id.casefold() for spec in settings.stream}
    renamed = []
    for spec in settings.stream:
        if "id" not in spec.model_fields_set and spec.name is None and spec.source_id is None:
            found = pylsl.resolve_bypred(_selector(spec).xpath, 1, _SURVEY_S)
            name = stream_id(found[0].name()) if len(found) == 1 else ""
            if name and name.casefold() not in taken:
                taken.add(name.casefold())
                spec = spec.model_copy(update={"id": name})  # noqa: PLW2901
        renamed.append(spec)
    return settings.model_copy(update={"stream": tuple(renamed)})


def _check(settings: Settings) -> None:
    if not settings.stream:
        there = "; ".join(describe(info) for info in survey(_SURVEY_S)) or "none"
        msg = (
            "Say which LSL stream to decode, for example --stream name=NAME (or type=, source_id=, predicate=). "
            f"On the network: {there}."
        )
        raise UsageError(msg)
    if settings.record is not None and not settings.lsl_outlet:
        msg = "--record takes predictions from their LSL outlet, found --no-lsl-outlet; leave one of them out."
        raise UsageError(msg)
    for spec in settings.stream:
        check_predicate(_selector(spec).xpath)
        kept = _kept_state(settings, spec)
        if kept is not None:
            inputs = (settings.warm_start, spec.model or settings.model)
            check_output(kept, ADAPTATION, inputs=inputs, force=None, option="--adaptation-state", make_folder=True)


def build_streams(
    settings: Settings, *, instance: str = "", only: Collection[str] | None = None, workers: int = 1
) -> dict[str, Stream]:
    """The streams that the settings ask for, not yet running.

    Parameters
    ----------
    settings : Settings
    instance : str
        Tells this service's LSL outlets from those of another on the same host.
    only : collection of str or None
        Those of the streams that this process shall run; all when None.
    workers : int
        Processes that share this machine's cores, this one among them.

    Raises
    ------
    MindwireError
        A bundle or its engine cannot be loaded.
    """
    bundles: dict[Path, Bundle] = {}
    streams: dict[str, Stream] = {}
    specs = [spec for spec in settings.stream if only is None or spec.id in only]
    together = _Together(settings) if len(specs) > OWN_THREADS else None
    for spec in specs:
        path = spec.model or settings.model
        if path is None:
            msg = f"Say which bundle decodes stream {spec.id!r} with --model BUNDLE."
            raise UsageError(msg)
        if path not in bundles:
            bundles[path] = load_bundle(path)
        streams[spec.id] = _build_stream(settings, spec, bundles[path], instance, together)
    if together and settings.adapt == "alignment":
        share = check_capacity(together.loads(), workers=workers)
        log.info("%d streams take about %.0f %% of this process's time", len(streams), 100 * share)
    return streams


class _Together:
    """What many streams share: the thread that drives them, and one decoder per bundle."""

    def __init__(self, settings: Settings) -> None:
        self.runner = Runner(settings.batch_wait_ms / 1e3)
        self._settings = settings
        self._decoders: dict[Path, Decoder] = {}
        self._counts: Counter[tuple[Path, int]] = Counter()
        self._contracts: dict[Path, Contract] = {}

    def loads(self) -> list[Load]:
        """What the streams that share a decoder ask for."""
        return [Load(self._contracts[path], self._decoders[path], hop, n) for (path, hop), n in self._counts.items()]

    def decoder(self, bundle: Bundle, hop: int) -> Decoder:
        if self._settings.adapt != "alignment":  # what one person's decoder learns is not for another's
            return _load(self._settings, bundle)
        self._counts[bundle.path, hop] += 1
        self._contracts[bundle.path] = bundle.contract
        if bundle.path not in self._decoders:
            again = partial(_load, self._settings, bundle)
            self._decoders[bundle.path] = SharedDecoder(again(), again)
        return self._decoders[bundle.path]


def _load(settings: Settings, bundle: Bundle) -> Decoder:
    return load_decoder(bundle, settings.engine, settings.device, adapt=settings.adapt)


def _build_stream(
    settings: Settings, spec: StreamSpec, bundle: Bundle, instance: str, together: _Together | None
) -> Stream:
    # A decoder's buffers belong to one thread, so each stream that has a thread has its own.
    every = spec.hop or settings.hop or bundle.contract.hop_samples
    decoder = together.decoder(bundle, every) if together else _load(settings, bundle)
    model = ModelStatus(
        name=bundle.name,
        sha256=bundle.sha256,
        engine=decoder.engine,
        device=decoder.device,
        engine_reason=decoder.reason,
        notice=zoo.notice(bundle),
    )
    log.info("%s: model %s runs on %s (%s): %s", spec.id, model.name, model.engine, model.device, model.engine_reason)
    contract = bundle.contract
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
    kept = _kept_state(settings, spec)
    saved = beginning(bundle, decoder, options, kept, settings.warm_start)
    if saved is not None:
        options = replace(options, state=saved.to_text())
        log.info("%s: begins with what was learnt before", spec.id)
    hop = options.hop_samples or contract.hop_samples

    sinks: list[Sink] = []
    connector: Connector = LslConnector(_selector(spec), settings.rate)
    recorder: Recorder | None = None

    def make_pipeline(info: SignalInfo, learnt: SavedAdaptation | None = None) -> Pipeline:
        begun = options if learnt is None else replace(options, state=learnt.to_text())
        if recorder is not None:
            recorder.begin(begun.state)
        if remembered := options.as_in_training(info):
            log.info("%s: as %s was trained: %s", spec.id, bundle.name, remembered)
        return Pipeline(contract, info, decoder, begun)

    if settings.lsl_outlet:
        outlets = LslSink(spec.id, contract, model, hop_samples=hop, instance=instance)
        sinks.append(outlets)
        if settings.record is not None:
            from mindwire.live.recorded_source import RecordedConnector
            from mindwire.offline.recorded_run import known_of, run_details
            from mindwire.sinks.recorder import Recorder

            recorder = Recorder(spec.id, settings.record, outlets.source_id)
            sinks.append(recorder)
            connector = RecordedConnector(connector, recorder, run_details(bundle, options), partial(known_of, options))
    stream = Stream(
        spec.id,
        connector=connector,
        contract=contract,
        model=model,
        decoder=decoder,
        make_pipeline=make_pipeline,
        hop_samples=hop,
        hub=PredictionHub(spec.id, contract),
        sinks=sinks,
        limits=replace(
            StreamLimits(),
            wait=settings.wait,
            max_backlog_s=settings.max_backlog,
            stale_after_s=settings.stale_after,
        ),
        adapts=settings.adapt != "alignment",
        runner=together.runner if together else None,
        recording=(lambda: recorder.path) if recorder is not None else (lambda: None),
    )
    if kept is not None:
        stream.add_sink(AdaptationKeeper(kept, stream.saved_adaptation))
    if recorder is not None:
        recorder.attach(stream.emit)
    return stream


def _kept_state(settings: Settings, spec: StreamSpec) -> Path | None:
    """Where a stream's state is kept: the file named, or one beside it for each of several streams."""
    path = settings.adaptation_state
    if path is None or len(settings.stream) == 1:
        return path
    return path.with_name(f"{path.stem}-{spec.id}{path.suffix}")


def _selector(spec: StreamSpec) -> Selector:
    return Selector(spec.name, spec.type, spec.source_id, spec.hostname, spec.predicate)


async def _run(
    settings: Settings, app: FastAPI, sock: socket.socket, streams: list[Stream], refused: list[MindwireError]
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_refused(stream: Stream, error: MindwireError) -> None:
        if settings.wait and any(one.state is not StreamState.FAILED for one in streams):
            log.error("Stream %s is refused, the others go on: %s", stream.name, error)
            return
        refused.append(error)
        loop.call_soon_threadsafe(stop.set)

    supervisor = Supervisor(streams, on_refused=on_refused)
    with stop_on_signals(stop), showing_markers(streams, settings.marker_stream):
        await listen(
            app, sock, stop, begin=supervisor.start, end=lambda: asyncio.to_thread(supervisor.stop, STOP_STREAMS_S)
        )
