"""A model that is not in use: on its way there, or replaced and kept warm."""

from __future__ import annotations

from dataclasses import dataclass, field

from mindwire.control.policy import ControlPolicy
from mindwire.live.loaded_model import CandidateState, LoadedModel, When
from mindwire.live.shadow import Comparison
from mindwire.pipeline import Pipeline
from mindwire_models.contract import Alignment, Contract

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
