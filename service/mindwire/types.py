"""Data that passes through a stream: chunk, signal, window, prediction, reason.

Objects created for every prediction are structs, because creating a frozen dataclass takes five times as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag
from functools import lru_cache
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray


class Reason(IntFlag):
    """Reason against a prediction; one bit each, kept per sample. Clients get the lower-case names."""

    NONE = 0
    ALIGNING = 1
    SETTLING = 2
    GAP = 4
    CLOCK_JUMP = 8
    NON_FINITE = 16
    FLAT = 32
    SATURATED = 64
    AMPLITUDE = 128
    LINE_NOISE = 256
    DRIFT = 512
    MUSCLE = 1024
    RATE = 2048
    RECONNECT = 4096
    INTERPOLATED = 8192
    TIMING = 16384
    WRONG_RATE = 32768
    DECODER = 65536
    NO_MODEL = 131072

    @property
    def bit(self) -> np.uint32:
        """The reasons in the type of flags."""
        return np.uint32(int(self))

    @property
    def labels(self) -> list[str]:
        """The reasons as lower-case names, in the order of their bits."""
        return list(_labels(int(self)))


@lru_cache
def reasons_of(bits: int) -> Reason:
    """Return the reasons of a sample's flags; each combination is created once."""
    return Reason(bits)


@lru_cache
def _labels(bits: int) -> tuple[str, ...]:
    return tuple(str(reason.name).lower() for reason in Reason if reason.value & bits)


# These mark a window without making it invalid.
SUSPECT = Reason.LINE_NOISE | Reason.DRIFT | Reason.MUSCLE | Reason.RATE | Reason.INTERPOLATED | Reason.TIMING
# These concern the time stamps alone, so a decoder may learn from the signal.
TIMING_ONLY = Reason.RATE | Reason.TIMING

# A plain number, because the operators of IntFlag take a microsecond each.
INVALID = ~int(SUSPECT) & 0xFFFFFFFF

# An age in seconds outside this range means that the source's clock is not this machine's.
PLAUSIBLE_AGE_S = (-0.05, 60.0)


# Keys of a live prediction's ``latency_ms``, in the order of the work.
STAGES = ("receive", "condition", "wait", "decode")


class Chunk(msgspec.Struct, frozen=True, eq=False):
    """Consecutive samples as they arrived, in the source's channels and units."""

    samples: NDArray[Any]  # (n_samples, n_channels)
    times: NDArray[np.float64]  # seconds in the source's clock with its offset applied, (n_samples,)
    discontinuity: Reason = Reason.NONE  # why they do not continue the previous chunk (reconnected, clock reset)

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, slots=True)
class SignalInfo:
    """A source's description of its signal; texts as LSL has them, empty where unknown."""

    name: str
    type: str
    sfreq: float  # nominal, in hertz
    n_channels: int
    # of each channel as the source spells it, "" for a channel without one; None when no channel has one
    labels: tuple[str, ...] | None = None
    units: tuple[str, ...] | None = None
    source_id: str = ""
    uid: str = ""
    hostname: str = ""
    dtype: str = "float32"  # LSL's name of the sample format
    types: tuple[str, ...] | None = None  # of each channel: EEG, EOG, stim …
    remarks: tuple[str, ...] = ()  # oddities of the description, a clause each, for the message of a refusal
    original: SignalInfo | None = None  # the device's own, where a recording knows better its channels and unit


@dataclass(frozen=True, slots=True)
class Marker:
    """An event in a recording or on a marker stream, at a time in seconds."""

    time: float
    label: str
    stream: str = field(default="", compare=False)  # name for --marker-stream; empty where there is no choice


class Window(msgspec.Struct, frozen=True, eq=False):
    """A window due for decoding."""

    seq: int  # counts every window that fell due, skipped ones too
    time: float  # of the last sample, in seconds
    samples: NDArray[np.float32]  # conditioned, not aligned, (window_samples, n_channels); valid until the next advance
    alignment: NDArray[np.float32]  # symmetric matrix to multiply each sample with; the identity without alignment
    alignment_version: int  # changes whenever the matrix does
    segment: int  # changes whenever the samples are no longer contiguous with earlier ones
    end: int  # conditioned samples in the segment up to and including the last
    reasons: Reason
    learnt: Any = None  # what the decoder's session had learnt by then; None for a decoder that learns nothing

    @property
    def valid(self) -> bool:
        """True without a reason, or with reasons that only make it suspect."""
        return not int(self.reasons) & INVALID


ControlState = Literal["idle", "ambiguous", "dwelling", "active", "refractory", "invalid", "paused"]


class Decision(msgspec.Struct, frozen=True):
    """A command.

    Parameters
    ----------
    seq : int
        Sequence number of the deciding prediction.
    time : float
        LSL time of the last sample of its window in seconds.
    label : str
        The class.
    confidence : float
        Its posterior probability.
    """

    seq: int
    time: float
    label: str
    confidence: float


class ControlOutput(msgspec.Struct, frozen=True):
    """Output of the controller for one prediction.

    Parameters
    ----------
    decision : Decision or None
    axes : tuple of float
        One value in [−1, 1] per axis of the policy.
    evidence : tuple of float
        Posterior probability of each class.
    state : str
        ``idle``, ``ambiguous``, ``dwelling``, ``active``, ``refractory``, ``invalid`` or ``paused``.
    policy : ControlPolicy
        The policy in force; the same object until it changes.
    """

    decision: Decision | None
    axes: tuple[float, ...]
    evidence: tuple[float, ...]
    state: ControlState
    policy: Any


class Prediction(msgspec.Struct, frozen=True, eq=False):
    """Class probabilities of one window."""

    seq: int
    time: float  # LSL time of the window's last sample in seconds
    probabilities: NDArray[np.float64]  # (n_classes,)
    reasons: Reason = Reason.NONE
    latency_ms: Mapping[str, float] = msgspec.field(default_factory=dict)  # per stage; filled by the live loop
    control: ControlOutput | None = None  # of the control policy; None without one

    @property
    def valid(self) -> bool:
        """True without a reason, or with reasons that only make it suspect."""
        return not int(self.reasons) & INVALID
