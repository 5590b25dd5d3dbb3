"""Data that passes through a stream: chunk, signal, window, prediction, reason.

Objects created for every prediction are structs, because creating a frozen dataclass takes five times as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag
from functools import lru_cache
from typing import Any

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


class Chunk(msgspec.Struct, frozen=True, eq=False):
    """Consecutive samples as they arrived, in the source's channels and units.

    Parameters
    ----------
    samples : ndarray of float, shape (n_samples, n_channels)
    times : ndarray of float64, shape (n_samples,)
        Seconds, in the source's clock with its offset applied.
    discontinuity : Reason
        Not NONE if the samples do not continue the previous chunk (reconnected, clock reset).
    """

    samples: NDArray[Any]
    times: NDArray[np.float64]
    discontinuity: Reason = Reason.NONE

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, slots=True)
class SignalInfo:
    """A source's description of its signal.

    Parameters
    ----------
    name, type, source_id, uid, hostname : str
        As LSL has them; empty where unknown.
    sfreq : float
        Nominal sampling rate in hertz.
    labels, units, types : tuple of str or None
        Of each channel as the source spells it, ``""`` for a channel without one; None when no channel has one.
    dtype : str
        LSL's name of the sample format, ``float32`` for example.
    remarks : tuple of str
        Oddities of the description, a clause each, for the message of a refusal.
    original : SignalInfo or None
        The device's own description, where a recording knows better its channels and unit.
    """

    name: str
    type: str
    sfreq: float
    n_channels: int
    labels: tuple[str, ...] | None = None
    units: tuple[str, ...] | None = None
    source_id: str = ""
    uid: str = ""
    hostname: str = ""
    dtype: str = "float32"
    types: tuple[str, ...] | None = None
    remarks: tuple[str, ...] = ()
    original: SignalInfo | None = None


@dataclass(frozen=True, slots=True)
class Marker:
    """An event in a recording or on a marker stream, at a time in seconds.

    ``stream`` is the name for ``--marker-stream``, empty where there is no choice; it is not compared.
    """

    time: float
    label: str
    stream: str = field(default="", compare=False)


class Window(msgspec.Struct, frozen=True, eq=False):
    """A window due for decoding.

    Parameters
    ----------
    seq : int
        Counts every window that fell due, skipped ones too.
    time : float
        Of the window's last sample, in seconds.
    samples : ndarray of float32, shape (window_samples, n_channels)
        Conditioned, not yet aligned; a view that is valid until the pipeline is advanced again.
    alignment : ndarray of float32, shape (n_channels, n_channels)
        The symmetric matrix to multiply each sample with, of a version; the identity without alignment.
    segment, end : int
        Number of the contiguous segment, and its conditioned samples up to and including the window's last.
    learnt : object
        State that the decoder's session had learnt by this window; None for a decoder that learns nothing.
    """

    seq: int
    time: float
    samples: NDArray[np.float32]
    alignment: NDArray[np.float32]
    alignment_version: int
    segment: int
    end: int
    reasons: Reason
    learnt: Any = None

    @property
    def valid(self) -> bool:
        """True without a reason, or with reasons that only make it suspect."""
        return not int(self.reasons) & INVALID


class Prediction(msgspec.Struct, frozen=True, eq=False):
    """Class probabilities of one window, ``(n_classes,)``, at the LSL time of its last sample in seconds.

    ``latency_ms`` are the milliseconds spent per stage, filled by the live loop.
    """

    seq: int
    time: float
    probabilities: NDArray[np.float64]
    reasons: Reason = Reason.NONE
    latency_ms: Mapping[str, float] = msgspec.field(default_factory=dict)

    @property
    def valid(self) -> bool:
        """True without a reason, or with reasons that only make it suspect."""
        return not int(self.reasons) & INVALID
