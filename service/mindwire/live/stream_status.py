"""Description of a stream: its status over REST, and its first message on the websocket."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mindwire.sinks.message_types import Hello, HelloControl, HelloModel
from mindwire.sinks.messages import PROTOCOL_VERSION
from mindwire.sources.live import Source
from mindwire.status import (
    AdaptationStatus,
    ChannelStatus,
    ControlStatus,
    DecoderAdaptationStatus,
    SourceStatus,
    StreamStatus,
)
from mindwire.types import SignalInfo

if TYPE_CHECKING:
    from mindwire.live.stream import Stream


def hello_message(stream: Stream) -> Hello:
    """Return the first message of the websocket."""
    setting = stream.control_setting
    control = None
    if setting.policy is not None:
        control = HelloControl(**setting.model_dump(mode="json"))
    return Hello(
        version=PROTOCOL_VERSION,
        stream=stream.name,
        classes=list(stream.contract.classes) if stream.model.exists else [],
        sfreq=stream.contract.sfreq,
        window_samples=stream.contract.window_samples,
        hop_samples=stream.hop_samples,
        channels=_channels(stream),
        model=HelloModel(stream.model.name, stream.model.sha256, stream.model.notice),
        has_model=stream.model.exists,
        control=control,
        instance=stream.hub.instance,
    )


def stream_status(stream: Stream, source: Source | None) -> StreamStatus:
    """Return the status that ``/v1/streams/{stream}`` gives of a stream and the source that it is connected to."""
    reporter, contract, pipeline = stream.reporter, stream.contract, stream.pipeline
    status = StreamStatus(
        name=stream.name,
        state=reporter.state,
        state_reason=reporter.reason,
        state_since_unix=reporter.since_unix,
        ready=stream.ready,
        source=_source_status(source.info) if source else None,
        model=stream.model,
        has_model=stream.model.exists,
        other_models=stream.swap.other_models,
        classes=list(contract.classes) if stream.model.exists else [],
        channels=_channels(stream),
        sfreq=contract.sfreq,
        window_samples=contract.window_samples,
        hop_samples=stream.hop_samples,
        resampler_delay_ms=0.0,
        settling_ms=contract.settling_samples / contract.sfreq * 1e3,
        counters=replace(reporter.counters),
        clock_offset_s=source.clock_offset_s if source else None,
        last_prediction_age_s=reporter.prediction_age,
        recording=stream.recordings.file,
        to_record=stream.recordings.recorder is not None,
        free_bytes=stream.recordings.free_bytes,
        hung=stream.hung,
        loop_load=stream.loop.load,
        latency_ms=reporter.latency_ms(),
        control=_control_status(stream),
    )
    if pipeline is not None:
        conditioner, alignment = pipeline.conditioner, pipeline.alignment
        status.resampler_delay_ms = conditioner.resampler_delay_seconds * 1e3
        status.drift_ppm = conditioner.timebase.drift_ppm
        status.effective_rate = conditioner.timebase.rate.effective_rate
        if source is not None:
            status.valid_in_s = pipeline.seconds_until_valid if stream.model.exists else None
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
            status.decoder_adaptation = DecoderAdaptationStatus.model_validate(pipeline.learner, from_attributes=True)
    return status


def _channels(stream: Stream) -> list[str]:
    """Return the model's channels, or those of the signal where there is no model; none before there is either."""
    return list(stream.contract.channels) if stream.model.exists or stream.pipeline is not None else []


def _control_status(stream: Stream) -> ControlStatus | None:
    setting, reporter = stream.control_setting, stream.reporter
    if setting.policy is None or setting.hash is None:
        return None
    return ControlStatus(
        state="paused" if setting.paused else reporter.control_state,
        paused=setting.paused,
        hash=setting.hash,
        decisions={name: 0 for name in stream.contract.classes if name != setting.policy.idle} | reporter.decisions,
        last=reporter.last_decision(),
    )


def _source_status(info: SignalInfo) -> SourceStatus:
    units = set(info.units or ())
    values = {name: getattr(info, name) for name in SourceStatus.model_fields if name != "unit"}
    return SourceStatus.model_validate({**values, "unit": units.pop() if len(units) == 1 else None})
