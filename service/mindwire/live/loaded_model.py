"""A bundle as a stream runs it, and the status of a change from one to another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from mindwire.adaptation import SavedAdaptation
from mindwire.control.policy import ControlPolicy
from mindwire.errors import ContractError
from mindwire.inference.decoder import Decoder
from mindwire.live.shadow import ShadowStatus
from mindwire.pipeline import Pipeline
from mindwire.status import ModelStatus, RecordingRequest
from mindwire.types import SignalInfo
from mindwire_models.contract import Contract

if TYPE_CHECKING:
    from mindwire.live.stream import Stream
    from mindwire.sinks.recorder import Recorder

When = Literal["ready", "shadow"]
CandidateState = Literal["loading", "warming", "shadow"]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A bundle that a stream can use: what it runs with, and what a recording notes of it."""

    status: ModelStatus
    contract: Contract
    decoder: Decoder
    # Given what was learnt before, or None; raises ContractError if the signal cannot meet the contract.
    make_pipeline: Callable[[SignalInfo, SavedAdaptation | None], Pipeline]
    hop_samples: int
    policy: ControlPolicy | None = None  # that a stream with it begins with
    path: Path | None = None
    details: Mapping[str, Any] = field(default_factory=dict)  # see mindwire.offline.recorded_run.run_details
    make_recorder: Callable[[Stream, RecordingRequest], Recorder] | None = None


def no_models(path: Path) -> LoadedModel:
    """Refuse to load a model, for a stream that was made without a way to."""
    msg = f"The model {path.name} cannot be loaded here; this stream was made without a way to load models."
    raise ContractError(msg)


class CandidateStatus(BaseModel):
    """A model on its way into use.

    ``carried`` says what it took over from the model in use: ``signal`` (conditioned samples) and ``alignment``;
    ``valid_in_s`` is as of a stream; ``load`` the share of the time between two windows that it takes, once known.
    """

    name: str
    sha256: str
    when: When
    state: CandidateState
    carried: list[str] | None = None
    valid_in_s: float | None = None
    load: float | None = None
    comparison: ShadowStatus | None = None


class PreviousStatus(BaseModel):
    """The model that was in use before, and for how many seconds it can come back."""

    name: str
    sha256: str
    warm_for_s: float


class ModelSwapStatus(BaseModel):
    """The model in use, the one on its way into use, and the one before."""

    in_use: ModelStatus
    candidate: CandidateStatus | None
    previous: PreviousStatus | None
