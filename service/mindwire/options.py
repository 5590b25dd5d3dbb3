"""What a person may decide about a pipeline: options at its start, commands while it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from mindwire.inference.decoder import Adapt
from mindwire.signal.bad_channels import BadChannels
from mindwire.signal.named_channels import check_labels
from mindwire.types import SignalInfo
from mindwire_models.training_record import TrainedSource


@dataclass(frozen=True, slots=True)
class AdaptationCommand:
    """What a person asks of the online adaptation.

    Parameters
    ----------
    action : {"freeze", "resume", "rollback"}
    updates : int
        How many updates of the alignment a rollback takes back.
    steps : int
        How many steps of the decoder's own adaptation a rollback takes back.
    segment, at : int or None
        The conditioned sample after which it takes effect, so that a replay can repeat it; None is now.
    """

    action: Literal["freeze", "resume", "rollback"]
    updates: int = 0
    segment: int | None = None
    at: int | None = None
    steps: int = 0


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """What a user may decide about a pipeline beyond the contract.

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
        What becomes of channels that are flat, saturated, out of range or not finite: ``auto``
        interpolates them when they are few, and else the windows are invalid.
    alignment : {"online", "off"}
        ``off`` leaves the signal unaligned, to see what alignment is worth.
    commands : tuple of AdaptationCommand
        Commands of a recorded session, each with the sample after which it took effect.
    adapt : {"alignment", "bn", "entropy"}
        What of the decoder follows the person; must be what the decoder was made for.
    state : str or None
        What an earlier session learnt, :meth:`SavedAdaptation.to_text`; the pipeline begins with it.
    trained : TrainedSource or None
        How the signal was read that the model was trained on; holds for a source of the same layout, where neither
        ``channels`` nor ``unit`` say otherwise.
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

    def for_source(self, info: SignalInfo) -> PipelineOptions:
        """The options for a source, with channels and unit as in training where nobody says otherwise.

        Parameters
        ----------
        info : SignalInfo
            Of the source.

        Returns
        -------
        PipelineOptions
        """
        trained = self.trained
        if trained is None:
            return self
        same_layout = (info.n_channels, info.labels) == (trained.n_channels, trained.labels)
        channels, unit = self.channels, self.unit
        if channels is None and same_layout:
            channels = trained.channels
        if unit is None and (not any(info.units or ()) or info.units == trained.units):
            unit = trained.unit
        return replace(self, channels=channels, unit=unit)

    def as_in_training(self, info: SignalInfo) -> str:
        """What :meth:`for_source` takes over, for people; empty where that is nothing."""
        used = self.for_source(info)
        parts = []
        if used.channels != self.channels and used.channels is not None:
            parts.append(f"channels by position {','.join(used.channels)}")
        if used.unit != self.unit:
            parts.append(f"unit {used.unit}")
        return ", ".join(parts)
