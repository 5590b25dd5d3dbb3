"""Distinction of a rate that is off from lost samples where a device stamps whole chunks.

Within such a chunk the stamps advance by exactly the nominal period, so the deviation of a whole chunk shows as one jump,
as large as that of lost samples. It is no loss if a neighbouring chunk jumps alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mindwire.signal.rate import believable

_LONGEST_SAMPLES, _LONGEST_SECONDS = 256, 1.1  # of a chunk
_EXACT = 1e-3  # part of a period by which steps within a chunk may differ from it
_ALIKE = 0.1  # part by which chunks of one stream, and their jumps, may differ
_LARGEST_DRIFT = 0.08  # part of the period

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ChunkDrift:
    """Drift of stamps that come by the chunk.

    Parameters
    ----------
    known_at : int
        Index of the stamp from which on this is known; beyond the stamps while it is not.
    drift : float or None
        Seconds per sample; None where the jump is no drift.
    jump : float
        Seconds by which the stamps jump at the chunk.
    """

    known_at: int
    drift: float | None = None
    jump: float = 0.0


_NONE = ChunkDrift(0)


def chunk_drift(earlier: Floats, stamps: Floats, period: float, hold: int, *, final: bool) -> ChunkDrift:
    """Compare the jump before the first stamp with those before and after it.

    Parameters
    ----------
    earlier, stamps : ndarray of float64, shape (n_earlier,) and (n_samples,)
        In seconds.
    period : float
        Nominal, in seconds.
    hold : int
        Most stamps that may be waited for.
    final : bool
        True if no more stamps come.
    """
    begins, jumps = _jumps(np.concatenate([earlier, stamps]), period)
    this = int(np.searchsorted(begins, len(earlier)))
    if this == len(begins) or begins[this] != len(earlier):
        return _NONE
    length = int(begins[this] - (begins[this - 1] if this else 0))
    longest = min(_LONGEST_SAMPLES, round(_LONGEST_SECONDS / period))
    if length > longest or abs(jumps[this]) > _LARGEST_DRIFT * longest * period:
        return _NONE
    if len(earlier) > (this + 1) * longest and this < 2:
        return _NONE  # whole chunks jump from the start on; to wait now would delay every report of a loss
    if this >= 2:
        return _by_earlier(begins[: this + 1], jumps[: this + 1], period)
    last = len(stamps) - 1 if final else hold
    wait = min(hold - 1, math.ceil((1 + _ALIKE) * length) + 1 if this else longest)
    found = _by_later(
        begins[this + 1 :] - len(earlier), jumps[this:], length, wait=wait, hold=hold, period=period, whole=this > 0
    )
    return replace(found, known_at=min(found.known_at, last))


def _by_later(
    begins: NDArray[np.intp], jumps: Floats, length: int, *, wait: int, hold: int, period: float, whole: bool
) -> ChunkDrift:
    """The first jump compared with those of the chunks after it; of the first chunk of a stream only the end may be there."""
    if not len(begins) or begins[0] > wait:
        return ChunkDrift(wait)
    following = int(begins[0])
    drift = float(jumps[1]) / following
    alike = _alike(length, following)
    found = _drift(
        drift, following, following, float(jumps[0]), period, alike=alike or (not whole and length < following)
    )
    wait = following + math.ceil((1 + _ALIKE) * following) + 1
    if alike or found.drift is None or wait >= hold:
        return found
    if len(begins) < 2 or begins[1] > wait:
        return ChunkDrift(wait)
    second = int(begins[1]) - following
    return _drift(drift, following, int(begins[1]), float(jumps[2]), period, alike=_alike(second, following))


def _jumps(stamps: Floats, period: float) -> tuple[NDArray[np.intp], Floats]:
    """Indices of the stamps that do not continue the ones before them, and by how much they do not."""
    good = np.flatnonzero(believable(stamps))
    excess = np.diff(stamps[good]) - np.diff(good) * period
    places = np.flatnonzero(np.abs(excess) > _EXACT * period)
    return good[places + 1], excess[places]


def _by_earlier(begins: NDArray[np.intp], jumps: Floats, period: float) -> ChunkDrift:
    """The last jump compared with those of all earlier chunks."""
    length, span = int(begins[-1] - begins[-2]), int(begins[-2] - begins[0])
    mean_length = span / (len(begins) - 2)
    drift = float(jumps[1:-1].sum()) / span
    return _drift(drift, mean_length, 0, jumps[-1] * mean_length / length, period, alike=_alike(length, mean_length))


def _drift(drift: float, length: float, known_at: int, jump: float, period: float, *, alike: bool) -> ChunkDrift:
    expected = drift * length
    close = abs(jump - expected) <= max(0.5 * period, _ALIKE * abs(expected))
    if alike and close and length >= 2 and abs(drift) < _LARGEST_DRIFT * period:
        return ChunkDrift(known_at, drift, float(jump))
    return ChunkDrift(known_at)


def _alike(length: float, other: float) -> bool:
    return abs(length - other) <= _ALIKE * other + 1
