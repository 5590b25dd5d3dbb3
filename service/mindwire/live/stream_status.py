"""Parts of a stream's status."""

from __future__ import annotations

from mindwire.inference.decoder import Learner
from mindwire.pipeline import Pipeline
from mindwire.status import AdaptationStatus, DecoderAdaptationStatus, SourceStatus
from mindwire.types import SignalInfo


def source_status(info: SignalInfo) -> SourceStatus:
    """Return the status of a source."""
    units = set(info.units or ())
    return SourceStatus(
        name=info.name,
        type=info.type,
        source_id=info.source_id,
        uid=info.uid,
        hostname=info.hostname,
        sfreq=info.sfreq,
        n_channels=info.n_channels,
        labels=list(info.labels) if info.labels is not None else None,
        unit=units.pop() if len(units) == 1 else None,
    )


def decoder_status(learner: Learner) -> DecoderAdaptationStatus:
    """Return the status of a decoder's own adaptation."""
    return DecoderAdaptationStatus.model_validate(
        {"kind": learner.kind, "frozen": learner.frozen, "steps": learner.steps, "drift": learner.drift}
    )


def adaptation_status(pipeline: Pipeline) -> AdaptationStatus | None:
    """Return the status of the alignment; None without one."""
    alignment = pipeline.alignment
    if alignment is None:
        return None
    return AdaptationStatus(
        kind=alignment.kind,
        ready=alignment.ready,
        frozen=alignment.frozen,
        good_seconds=alignment.state.good_samples / pipeline.contract.sfreq,
        drift=alignment.drift,
    )
