"""A bad channel from its good neighbours, by spherical splines.

References
----------
Perrin, Pernier, Bertrand & Echallier 1989, "Spherical splines for scalp potential and current density
mapping", https://doi.org/10.1016/0013-4694(89)90180-6
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.polynomial.legendre import legval
from numpy.typing import NDArray

from mindwire_models.electrodes import positions

_ORDER = 4
_TERMS = 50
_REGULARISATION = 1e-5
# Sets of bad channels whose weights are kept.
_MASKS = 64


def spline_of(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """The spherical spline between electrodes, (n_channels, n_channels), from their places, unit vectors (n_channels, 3)."""
    n = np.arange(1, _TERMS + 1)
    return np.asarray(legval(places @ places.T, np.r_[0.0, (2 * n + 1) / ((n * (n + 1)) ** _ORDER * 4 * np.pi)]))


def spline_weights(spline: NDArray[np.float64], bad: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights, (n_bad, n_good), that carry potentials from the good electrodes, at least one, to the bad ones.

    Parameters
    ----------
    spline : ndarray of float64, shape (n_channels, n_channels)
        Of all electrodes, see :func:`spline_of`.
    bad : ndarray of bool, shape (n_channels,)
    """
    good = ~bad
    n = int(good.sum())
    # symmetric, and regular by the regularisation
    system = np.ones((n + 1, n + 1))
    system[:n, :n] = spline[np.ix_(good, good)] + _REGULARISATION * np.eye(n)
    system[n, n] = 0.0
    target = np.hstack([spline[np.ix_(bad, good)], np.ones((len(bad) - n, 1))])
    return np.asarray(np.linalg.solve(system, target.T)[:n].T)


class Interpolator:
    """Replaces bad channels of conditioned samples; raises ArgumentError for a label with no place on the head."""

    def __init__(self, labels: Sequence[str]) -> None:
        spline = spline_of(positions(labels))
        self._weights = lru_cache(_MASKS)(lambda mask: spline_weights(spline, np.frombuffer(mask, dtype=np.bool_)))

    def fill(self, samples: NDArray[np.float64], bad: NDArray[np.bool_]) -> None:
        """Replace the bad channels, ``(n_channels,)``, of samples, ``(n_samples, n_channels)``, in place; at least one is good.

        Sums run over channels in a fixed order, so the result does not depend on chunking.
        """
        good = np.flatnonzero(~bad)
        for channel, weights in zip(np.flatnonzero(bad), self._weights(bad.tobytes()), strict=True):
            total = np.zeros(len(samples))
            for source, weight in zip(good, weights, strict=True):
                total += weight * samples[:, source]
            samples[:, channel] = total
