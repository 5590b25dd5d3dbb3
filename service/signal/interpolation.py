"""A bad channel from its good neighbours, by spherical splines.

References
----------
Perrin, Pernier, Bertrand & Echallier 1989, "Spherical splines for scalp potential and current density
mapping", https://doi.org/10.1016/0013-4694(89)90180-6
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.polynomial.legendre import legval
from numpy.typing import NDArray

from models.electrodes import positions

_ORDER = 4
_TERMS = 50
_REGULARISATION = 1e-5


def _spline(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    n = np.arange(1, _TERMS + 1)
    return np.asarray(legval(cosines, np.r_[0.0, (2 * n + 1) / ((n * (n + 1)) ** _ORDER * 4 * np.pi)]))


def spline_weights(good: NDArray[np.float64], bad: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights that carry potentials from some places on the head to others.

    Parameters
    ----------
    good : ndarray of float64, shape (n_good, 3)
        Unit vectors of the electrodes to interpolate from.
    bad : ndarray of float64, shape (n_bad, 3)
        Unit vectors of the electrodes to interpolate.

    Returns
    -------
    ndarray of float64, shape (n_bad, n_good)
    """
    n = len(good)
    system = np.ones((n + 1, n + 1))
    system[:n, :n] = _spline(good @ good.T) + _REGULARISATION * np.eye(n)
    system[n, n] = 0.0
    target = np.hstack([_spline(bad @ good.T), np.ones((len(bad), 1))])
    return np.asarray((target @ np.linalg.pinv(system))[:, :n])


class Interpolator:
    """Replaces bad channels of conditioned samples.

    Parameters
    ----------
    labels : sequence of str
        Channels in order; each of the 10-10 system.

    Raises
    ------
    ArgumentError
        A label has no place on the head.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._positions = positions(labels)
        self._weights: dict[bytes, NDArray[np.float64]] = {}

    def fill(self, samples: NDArray[np.float64], bad: NDArray[np.bool_]) -> None:
        """Replace channels in place.

        Sums run over channels in a fixed order, so the result does not depend on chunking.

        Parameters
        ----------
        samples : ndarray of float64, shape (n_samples, n_channels)
        bad : ndarray of bool, shape (n_channels,)
            The channels to replace; at least one is good.
        """
        key = bad.tobytes()
        if key not in self._weights:
            self._weights[key] = spline_weights(self._positions[~bad], self._positions[bad])
        good = np.flatnonzero(~bad)
        for channel, weights in zip(np.flatnonzero(bad), self._weights[key], strict=True):
            total = np.zeros(len(samples))
            for source, weight in zip(good, weights, strict=True):
                total += weight * samples[:, source]
            samples[:, channel] = total
