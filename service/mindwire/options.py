"""Choices of the user about a pipeline: options at its start, commands while it runs."""

from dataclasses import dataclass, replace
from typing import Literal, Self

from mindwire.control.controller import ControlCommand
from mindwire.control.policy import ControlPolicy
from mindwire.errors import ContractError
from mindwire.inference.decoder import Adapt
from mindwire.signal.bad_channels import BadChannels
from mindwire.signal.named_channels import check_labels
from mindwire.types import SignalInfo
from mindwire_models.contract import Contract, ZScore
from mindwire_models.training_record import TrainedSource

# No EEG is sampled slower or faster; the work of a second grows with the rate, that of a resampled sample with its inverse.
_MIN_SFREQ, _MAX_SFREQ = 1.0, 1e5


@dataclass(frozen=True, slots=True)
class AdaptationCommand:
    """Command to the online adaptation.

    A rollback takes back ``updates`` of the alignment and ``steps`` of the decoder's own adaptation. ``segment`` and
    ``at`` are the conditioned sample after which the command takes effect, so that a replay can repeat it; None is now.
    """

    action: Literal["freeze", "resume", "rollback"]
    updates: int = 0
    segment: int | None = None
    at: int | None = None
    steps: int = 0


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """Options of a pipeline beyond the contract."""

    channels: tuple[str, ...] | None = None  # labels by position, for a source that names none
    unit: str | None = None  # of the samples, where the source states none or a wrong one
    hop_samples: int | None = None  # conditioned samples between windows; None takes the contract's
    sfreq: float | None = None  # rate in hertz, where the source's nominal one is known to be wrong
    bridge_seconds: float = 0.04  # longest gap that is bridged and flagged; longer ones start a new segment
    # auto interpolates channels that are flat, saturated, out of range or not finite if they are few, else the windows are
    # invalid
    bad_channels: BadChannels = "auto"
    alignment: Literal["online", "off"] = "online"  # off leaves the signal unaligned, to see what alignment is worth
    commands: tuple[AdaptationCommand, ...] = ()  # of a recorded session
    adapt: Adapt = "alignment"  # part of the decoder that follows the person, as the decoder was made for
    state: str | None = None  # learnt in an earlier session, as :meth:`SavedAdaptation.to_text` returns it
    policy: ControlPolicy | None = None  # how predictions become decisions; None decides nothing
    control: tuple[ControlCommand, ...] = ()  # commands to the controller of a recorded session
    first_seq: int = 0  # number of the first window
    trained: TrainedSource | None = None  # signal of the training, whose channels and unit a source of its layout has

    def __post_init__(self) -> None:
        if self.channels is not None:
            check_labels(self.channels, "--channels")

    def rate_of(self, info: SignalInfo) -> float:
        """Return the rate that a source is taken to have, in hertz; a ContractError if no EEG has it."""
        sfreq = self.sfreq or info.sfreq
        if not sfreq > 0:
            msg = (
                f"The model needs a regular signal, but {info.name!r} has no nominal rate; "
                "give the rate it really has with --rate, or use another stream."
            )
            raise ContractError(msg)
        if not _MIN_SFREQ <= sfreq <= _MAX_SFREQ:
            msg = f"The model needs EEG of {_MIN_SFREQ:g} to {_MAX_SFREQ:g} Hz, but {info.name!r} has {sfreq:g} Hz; give its true rate with --rate."
            raise ContractError(msg)
        return sfreq

    def for_source(self, info: SignalInfo) -> Self:
        """Return the options for a source, with channels and unit as in training unless they are given."""
        if (trained := self.trained) is None:
            return self
        channels, unit = self.channels, self.unit
        if channels is None and (info.n_channels, info.labels) == (trained.n_channels, trained.labels):
            channels = trained.channels
        if unit is None and (not any(info.units or ()) or info.units == trained.units):
            unit = trained.unit
        return replace(self, channels=channels, unit=unit)

    def conditions_alike(self, contract: Contract, other: Self, other_contract: Contract) -> bool:
        """Return true if a source is conditioned for a model as for another with its options."""

        def all_of(options: Self, of: Contract) -> tuple[object, ...]:
            signal = of.channels, of.sfreq, of.unit, of.reference, of.filters, of.sos
            scale = of.normalisation if isinstance(of.normalisation, ZScore) else None
            source = options.channels, options.unit, options.sfreq, options.bridge_seconds, options.bad_channels
            return signal, scale, source

        return all_of(self, contract) == all_of(other, other_contract)

    def as_in_training(self, info: SignalInfo) -> str:
        """Return what :meth:`for_source` takes from the training, for messages; empty if nothing."""
        used = self.for_source(info)
        parts = []
        if used.channels != self.channels and used.channels is not None:
            parts.append(f"channels by position {','.join(used.channels)}")
        if used.unit != self.unit:
            parts.append(f"unit {used.unit}")
        return ", ".join(parts)
