"""A model that is not in use: on its way there, or replaced and kept warm."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mindwire.control.policy import ControlPolicy
from mindwire.errors import ContractError
from mindwire.live.loaded_model import CandidateState, LoadedModel, When
from mindwire.live.rehearsal import Rehearsal
from mindwire.live.shadow import Comparison
from mindwire.live.shared_decoder import SharedDecoder
from mindwire.pipeline import Pipeline
from mindwire_models.contract import Alignment, Contract

if TYPE_CHECKING:
    from mindwire.live.stream import Stream

MEASURED = 5  # windows after which a candidate's speed is known


@dataclass(eq=False)
class Candidate:
    """A model on its way into use, and its pipeline once it is loaded."""

    when: When
    name: str  # of its folder, until it is loaded
    state: CandidateState = "loading"
    model: LoadedModel | None = None
    pipeline: Pipeline | None = None
    carried: list[str] | None = None  # None until it has joined
    began: int = 0  # source samples of the stream by then
    durations_ms: list[float] = field(default_factory=list)
    promoted: bool = False
    comparison: Comparison | None = None
    refused: str = ""  # the reason to drop it, once there is one

    @property
    def load(self) -> float | None:
        """Share of the time between two windows that it takes; None until that is known."""
        if self.pipeline is None or len(self.durations_ms) < MEASURED:
            return None
        # the lower quartile: what other processes take meanwhile is not the model's
        return sorted(self.durations_ms)[len(self.durations_ms) // 4] / (
            1e3 * self.pipeline.hop_samples / self.pipeline.contract.sfreq
        )


@dataclass(frozen=True, slots=True)
class Previous:
    """The model that was in use before, whose pipeline is still conditioned and adapts."""

    model: LoadedModel
    pipeline: Pipeline
    policy: ControlPolicy | None  # when it was replaced
    until: float  # monotonic


def identity(model: LoadedModel) -> dict[str, str]:
    """Return name and hash of a model, for an event."""
    return {"name": model.status.name, "sha256": model.status.sha256}


def needed_s(contract: Contract) -> float:
    """Return the seconds of good signal until a window can be valid."""
    norm = contract.normalisation
    aligned = norm.ready_samples + norm.update_samples if isinstance(norm, Alignment) else 0
    return (contract.window_samples + contract.settling_samples + aligned) / contract.sfreq


def made_ready(stream: Stream, path: Path) -> tuple[LoadedModel, Pipeline | None]:
    """Load a bundle for a stream and run its decoder on noise; without a signal the stream uses it now, and no pipeline is returned."""
    model = stream.load_model(path)
    if stream.alone and isinstance(model.decoder, SharedDecoder):
        model = replace(model, decoder=model.decoder.alone())
    if model.contract.classes != stream.contract.classes:
        msg = (
            f"Its classes are {', '.join(model.contract.classes)}, expected those of the stream, "
            f"{', '.join(stream.contract.classes)}, in this order; set 'model' with PATCH, which begins the stream again."
        )
        raise ContractError(msg)
    if stream.pipeline is None and stream.last_signal is not None:
        model.make_pipeline(stream.last_signal, None)  # which refuses what it cannot meet
    if stream.use_model(model, None):
        return model, None
    running = stream.pipeline
    if running is None:
        msg = "The stream has lost its signal; try again."
        raise ContractError(msg)
    pipeline = model.make_pipeline(running.info, None)
    pipeline.decoder = model.decoder
    fresh = not (isinstance(model.decoder, SharedDecoder) and model.decoder.used)
    if fresh and pipeline.learner is None:
        Rehearsal(pipeline, model.decoder)
    return model, pipeline
