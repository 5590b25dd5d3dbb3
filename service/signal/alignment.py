"""Online alignment: whiten the signal by the mean of its own covariances, without labels.

Euclidean: the arithmetic mean (He & Wu 2020). Riemannian: the inductive mean on the manifold of
positive definite matrices, ``M <- M #_w C`` (Ho et al. 2013; Zanini et al. 2018), one step per block.
It can be frozen, rolled back and saved; once ready, no block moves the mean far.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.contract import Alignment

Matrix = NDArray[np.float64]
_FLOOR = 1e-6  # of the mean eigenvalue: directions without signal are not blown up
_STEP_LIMIT = 0.25  # of the mean's norm: how far one block may move a mean that is ready
_HISTORY = 600  # states kept for rolling back, one per update


@dataclass(frozen=True, slots=True)
class AlignmentState:
    """What an alignment has learnt.

    Parameters
    ----------
    covariance : ndarray of float64, shape (n_channels, n_channels)
        Mean per sample, in unit².
    weight : float
        Samples it stands for, less those forgotten.
    good_samples : int
        Samples it was learnt from.
    """

    covariance: Matrix
    weight: float
    good_samples: int


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


def distance(one: Matrix, other: Matrix) -> float:
    """Affine-invariant Riemannian distance of two positive definite matrices (Förstner & Moonen 1999)."""
    inverse = matrix_power(one, -0.5)
    values = np.linalg.eigvalsh(inverse @ other @ inverse)
    return float(np.sqrt((np.log(np.maximum(values, np.finfo(np.float64).tiny)) ** 2).sum()))


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
        self._state = AlignmentState(np.zeros((n_channels, n_channels)), 0.0, 0)
        self._reference: Matrix | None = None
        self._history: deque[AlignmentState] = deque(maxlen=_HISTORY)
        self.frozen = False
        self.version = 0
        self.matrix = np.eye(n_channels, dtype=np.float32)
        if spec.warm_start is not None:
            weight = max(spec.warm_start_samples, 1)
            self._adopt(AlignmentState(np.array(spec.warm_start), float(weight), weight))

    @property
    def kind(self) -> str:
        """``euclidean`` or ``riemannian``."""
        return self._spec.kind

    @property
    def ready(self) -> bool:
        """Whether enough good samples were seen."""
        return self._state.good_samples >= self._spec.ready_samples

    @property
    def state(self) -> AlignmentState:
        """What was learnt so far; :meth:`restore` takes it back."""
        return self._state

    @property
    def drift(self) -> float:
        """Riemannian distance between the mean now and when it first was ready; 0 before that."""
        return 0.0 if self._reference is None else distance(self._reference, self._state.covariance)

    def update(self, good: NDArray[np.float32]) -> None:
        """Learn from one block of good conditioned samples.

        Parameters
        ----------
        good : ndarray of float32, shape (n_samples, n_channels)
            May be empty; ignored while frozen.
        """
        n = len(good)
        # A covariance of fewer samples than channels is singular and has no place on the manifold.
        if self.frozen or n == 0 or (self._spec.kind == "riemannian" and n < 2 * good.shape[1]):
            return
        old = self._state
        block = good.astype(np.float64)
        covariance = block.T @ block / n
        kept = old.weight * (math.exp(-n / self._forgetting) if self._forgetting else 1.0)
        weight = n / (kept + n)
        if self.ready:
            far = float(np.linalg.norm(covariance - old.covariance))
            weight = min(weight, _STEP_LIMIT * float(np.linalg.norm(old.covariance)) / max(far, 1e-300))
        if self._spec.kind == "euclidean" or not old.weight:
            mean = (1 - weight) * old.covariance + weight * covariance
        else:
            mean = geodesic(old.covariance, covariance, weight)
        self._adopt(AlignmentState(mean, kept + n, old.good_samples + n))

    def rollback(self, updates: int) -> int:
        """Take back the last updates.

        Parameters
        ----------
        updates : int
            How many; at most those remembered (600) are taken back.

        Returns
        -------
        int
            How many were.
        """
        count = min(updates, len(self._history))
        if count:
            state = self._history[-count]
            kept = list(self._history)[:-count]
            self._adopt(state)
            self._history = deque(kept, maxlen=_HISTORY)
        return count

    def restore(self, state: AlignmentState) -> None:
        """Go on from a state that was saved, of this session or another."""
        self._adopt(state)

    def _adopt(self, state: AlignmentState) -> None:
        if self._state.weight:
            self._history.append(self._state)
        self._state = state
        if self._reference is None and self.ready:
            self._reference = state.covariance
        self.matrix = matrix_power(state.covariance * self._factor, -0.5).astype(np.float32)
        self.version += 1
