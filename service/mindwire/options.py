"""Choices of the user about a pipeline: options at its start, commands while it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from mindwire.errors import ContractError
from mindwire.inference.decoder import Adapt
from mindwire.signal.bad_channels import BadChannels
from mindwire.signal.named_channels import check_labels
from mindwire.types import SignalInfo
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
    """Options of a pipeline beyond the contract.

    Parameters
    ----------
    channels : tuple of str or None
        Labels of the source's channels by position, for a source that names none.
    unit : str or None
        Unit of the source's samples, where it states none or a wrong one.
    hop_samples : int or None
        Distance between windows in conditioned samples; None takes the contract's.
    sfreq : float or None
        Rate the source is taken to have, in hertz, when its nominal rate is known to be wrong.
    bridge_seconds : float
        Gaps up to this are bridged and flagged; longer ones start a new segment.
    bad_channels : {"auto", "interpolate", "invalidate"}
        Handling of channels that are flat, saturated, out of range or not finite: ``auto``
        interpolates them when they are few; otherwise the windows are invalid.
    alignment : {"online", "off"}
        ``off`` leaves the signal unaligned, to see what alignment is worth.
    commands : tuple of AdaptationCommand
        Commands of a recorded session, each with the sample after which it took effect.
    adapt : {"alignment", "bn", "entropy"}
        Part of the decoder that follows the person; the one that the decoder was made for.
    state : str or None
        State learnt in an earlier session to begin with, as :meth:`SavedAdaptation.to_text` returns it.
    trained : TrainedSource or None
        Channels and unit of the training; for a source of the same layout, unless ``channels`` or ``unit`` are given.
    """

    channels: tuple[str, ...] | None = None
    unit: str | None = None
    hop_samples: int | None = None
    sfreq: float | None = None
    bridge_seconds: float = 0.04
    bad_channels: BadChannels = "auto"
    alignment: Literal["online", "off"] = "online"
    commands: tuple[AdaptationCommand, ...] = ()
    adapt: Adapt = "alignment"
    state: str | None = None
    trained: TrainedSource | None = None

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

    def for_source(self, info: SignalInfo) -> PipelineOptions:
        """Return the options for a source, with channels and unit as in training unless they are given."""
        if (trained := self.trained) is None:
            return self
        channels, unit = self.channels, self.unit
        if channels is None and (info.n_channels, info.labels) == (trained.n_channels, trained.labels):
            channels = trained.channels
        if unit is None and (not any(info.units or ()) or info.units == trained.units):
            unit = trained.unit
        return replace(self, channels=channels, unit=unit)

    def as_in_training(self, info: SignalInfo) -> str:
        """Return what :meth:`for_source` takes from the training, for messages; empty if nothing."""
        used = self.for_source(info)
        parts = []
        if used.channels != self.channels and used.channels is not None:
            parts.append(f"channels by position {','.join(used.channels)}")
        if used.unit != self.unit:
            parts.append(f"unit {used.unit}")
        return ", ".join(parts)
