"""Online alignment: whiten the signal by the mean of its own covariances, without labels.

Euclidean: the arithmetic mean (He & Wu 2020). Riemannian: the inductive mean on the manifold of
positive definite matrices, ``M <- M #_w C`` (Ho et al. 2013; Zanini et al. 2018), one step per block.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from models.contract import Alignment

Matrix = NDArray[np.float64]
_FLOOR = 1e-6  # of the mean eigenvalue: directions without signal are not blown up


def matrix_power(matrix: Matrix, exponent: float) -> Matrix:
    """Power of a symmetric positive definite matrix, its eigenvalues floored at 1e-6 of their mean.

    Parameters
    ----------
    matrix : ndarray of float64, shape (n, n)
    exponent : float

    Returns
    -------
    ndarray of float64, shape (n, n)
    """
    values, vectors = np.linalg.eigh(matrix)
    values = np.maximum(values, _FLOOR * max(float(values.mean()), np.finfo(np.float64).tiny))
    return np.asarray((vectors * values**exponent) @ vectors.T)


def geodesic(start: Matrix, end: Matrix, weight: float) -> Matrix:
    """Point ``start #_weight end`` on the geodesic between two positive definite matrices."""
    root, inverse = matrix_power(start, 0.5), matrix_power(start, -0.5)
    moved: Matrix = root @ matrix_power(inverse @ end @ inverse, weight) @ root
    return np.asarray((moved + moved.T) / 2)


class OnlineAlignment:
    """The mean covariance of the good samples so far, and the matrix that whitens them.

    Parameters
    ----------
    spec : Alignment
    n_channels : int
    window_samples : int
    sfreq : float
        Hertz; turns the forgetting time into samples.
    """

    def __init__(self, spec: Alignment, n_channels: int, window_samples: int, sfreq: float) -> None:
        self._spec = spec
        self._factor = window_samples if spec.scale == "window_sum" else 1
        self._forgetting = spec.forgetting_seconds * sfreq if spec.forgetting_seconds else None
        self._mean = np.zeros((n_channels, n_channels))
        self._weight = 0.0
        if spec.warm_start is not None:
            self._mean = np.array(spec.warm_start)
            self._weight = float(max(spec.warm_start_samples, 1))
        self.good_samples = int(self._weight)
        self.frozen = False
        self.version = 0
        self.matrix = np.eye(n_channels, dtype=np.float32)
        if self._weight:
            self._recompute()

    @property
    def ready(self) -> bool:
        """Whether enough good samples were seen."""
        return self.good_samples >= self._spec.ready_samples

    @property
    def covariance(self) -> Matrix:
        """Mean covariance per sample, ``(n_channels, n_channels)`` in unit²."""
        return self._mean.copy()

    def update(self, good: NDArray[np.float32]) -> None:
        """Learn from one block of good conditioned samples, ``(n_samples, n_channels)``; may be empty."""
        n = len(good)
        # A covariance of fewer samples than channels is singular and has no place on the manifold.
        if self.frozen or n == 0 or (self._spec.kind == "riemannian" and n < 2 * good.shape[1]):
            return
        block = good.astype(np.float64)
        covariance = block.T @ block / n
        kept = self._weight * (math.exp(-n / self._forgetting) if self._forgetting else 1.0)
        weight = n / (kept + n)
        if self._spec.kind == "euclidean" or not self._weight:
            self._mean = (1 - weight) * self._mean + weight * covariance
        else:
            self._mean = geodesic(self._mean, covariance, weight)
        self._weight = kept + n
        self.good_samples += n
        self._recompute()

    def _recompute(self) -> None:
        self.matrix = matrix_power(self._mean * self._factor, -0.5).astype(np.float32)
        self.version += 1
