"""Online alignment: whiten the signal by the mean of its own covariances, without labels.

Euclidean: the arithmetic mean (He & Wu 2020). Riemannian: the inductive mean on the manifold of
positive definite matrices, ``M <- M #_w C`` (Ho et al. 2013; Zanini et al. 2018), one step per block.
It can be frozen, rolled back and saved; once ready, no block moves the mean far. Blocks unlike their
neighbours are left out (after the Riemannian potato, Barachant et al. 2013): what no flag tells, a cable
that moves or a jaw that clenches, would stay in the mean for the rest of the session.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.contract import Alignment

Matrix = NDArray[np.float64]
_TINY = float(np.finfo(np.float64).tiny)
_FLOOR = 1e-6  # of the mean eigenvalue: directions without signal are not blown up
_STEP_LIMIT = 0.25  # of the mean's norm: how far one block may move a mean that is ready
_HISTORY = 600  # states kept for rolling back, one per update
_NEIGHBOURS = 20  # blocks that a block is compared with: a change that lasts longer than half of them is followed
_FEWEST_NEIGHBOURS = 6
_OUTLIER = 3.5  # standard deviations, nearly
_LEAST_EXCESS = 0.7  # twice the usual power in a direction is nothing strange, however alike the blocks are


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
        Good samples seen, those too that were too few at a time, or unlike their neighbours, to be learnt from.
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
    values, vectors = _spectrum(matrix)
    return np.asarray((vectors * values**exponent) @ vectors.T)


def _spectrum(matrix: Matrix) -> tuple[Matrix, Matrix]:
    """Eigenvalues, floored, and eigenvectors."""
    values, vectors = np.linalg.eigh(matrix)
    return np.maximum(values, _FLOOR * max(values.sum() / len(values), _TINY)), vectors


def geodesic(start: Matrix, end: Matrix, weight: float) -> Matrix:
    """Point ``start #_weight end`` on the geodesic between two positive definite matrices."""
    return _geodesic(_spectrum(start), end, weight)


def _geodesic(start: tuple[Matrix, Matrix], end: Matrix, weight: float) -> Matrix:
    values, vectors = start
    halves = np.sqrt(values)
    root, inverse = (vectors * halves) @ vectors.T, (vectors / halves) @ vectors.T
    moved: Matrix = root @ matrix_power(inverse @ end @ inverse, weight) @ root
    return np.asarray((moved + moved.T) / 2)


def distance(one: Matrix, other: Matrix) -> float:
    """Affine-invariant Riemannian distance of two positive definite matrices (Förstner & Moonen 1999)."""
    inverse = matrix_power(one, -0.5)
    values = np.linalg.eigvalsh(inverse @ other @ inverse)
    return float(np.sqrt((np.log(np.maximum(values, _TINY)) ** 2).sum()))


@dataclass(frozen=True, slots=True)
class _Block:
    """A block's covariance, and its samples."""

    covariance: Matrix
    n: int


class _Neighbourhood:
    """The newest blocks, and what is usual among them: the elementwise median of their logarithms.

    Parameters
    ----------
    n_channels : int
    """

    def __init__(self, n_channels: int) -> None:
        self.blocks: deque[_Block] = deque(maxlen=_NEIGHBOURS)
        self._shape = (n_channels, n_channels)
        # What lies on and above the diagonal says all of a symmetric matrix.
        self._upper = np.flatnonzero(np.triu(np.ones(self._shape)))
        self._logarithms = np.empty((_NEIGHBOURS, len(self._upper)))
        self._next = 0

    def append(self, block: _Block) -> None:
        """Take a block in, in the place of the oldest."""
        values, vectors = _spectrum(block.covariance)
        self._logarithms[self._next] = ((vectors * np.log(values)) @ vectors.T).take(self._upper)
        self._next = (self._next + 1) % _NEIGHBOURS
        self.blocks.append(block)

    def excess(self, judged: Sequence[_Block]) -> list[float]:
        """How much stronger a block is, in the direction where it is most so, than is usual.

        That is the largest log-eigenvalue.
        """
        values, vectors = np.linalg.eigh(self._median(), UPLO="U")
        inverse = (vectors * np.exp(values / -2)) @ vectors.T
        whitened = inverse @ np.stack([block.covariance for block in judged]) @ inverse
        return [math.log(max(largest, _TINY)) for largest in np.linalg.eigvalsh(whitened)[:, -1].tolist()]

    def _median(self) -> Matrix:
        """Above the diagonal; zeros are below it."""
        n = len(self.blocks)
        # Of so few, sorting takes a quarter of the time of np.partition with two places, and np.median a multiple.
        ordered = np.sort(self._logarithms[:n], axis=0)
        median = np.zeros(self._shape)
        median.put(self._upper, (ordered[(n - 1) // 2] + ordered[n // 2]) / 2)
        return median


def _limit(excess: Sequence[float]) -> float:
    """Excess above which a block is unlike the others.

    Told from the weaker half alone: artefacts only add power, and one of a second spoils two blocks, so that
    nearly half of all may be spoilt.
    """
    ordered = sorted(excess)
    low, middle = _quantile(ordered, 0.1), _quantile(ordered, 0.4)
    return middle + max(_OUTLIER * (middle - low), _LEAST_EXCESS)


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Linear between two of the ordered values; on so few, many times faster than :func:`numpy.quantile`."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _size(matrix: Matrix) -> float:
    """Frobenius norm."""
    flat = matrix.ravel()
    return math.sqrt(flat @ flat)


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
        self._spectrum = _spectrum(self._state.covariance)
        self._reference: Matrix | None = None
        self._history: deque[AlignmentState] = deque(maxlen=_HISTORY)
        self._neighbours = _Neighbourhood(n_channels)
        self._excess: deque[float] = deque(maxlen=_NEIGHBOURS)
        self._anew = True
        self.frozen = False
        self.version = 0
        self.matrix = np.eye(n_channels, dtype=np.float32)
        if spec.warm_start is not None:
            weight = max(spec.warm_start_samples, 1)
            self.restore(AlignmentState(np.array(spec.warm_start), float(weight), weight))

    @property
    def kind(self) -> str:
        """``euclidean`` or ``riemannian``."""
        return self._spec.kind

    @property
    def ready(self) -> bool:
        """Whether enough good samples were seen."""
        return self._state.weight > 0 and self._state.good_samples >= self._spec.ready_samples

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
            May be empty; ignored while frozen, and when too short or unlike its neighbours.
        """
        n = len(good)
        if self.frozen:
            return
        seen = self._state.good_samples + n
        # A covariance of fewer samples than channels is singular and has no place on the manifold.
        if n < 2 * good.shape[1]:
            self._state = replace(self._state, good_samples=seen)
            return
        precise = good.astype(np.float64)
        covariance = precise.T @ precise / n
        block = _Block(covariance, n)
        self._neighbours.append(block)
        if self._anew:
            self._begin_anew(seen)
            return
        self._excess += self._neighbours.excess([block])
        if len(self._neighbours.blocks) < _FEWEST_NEIGHBOURS or self._excess[-1] <= _limit(self._excess):
            self._adopt(replace(self._with(self._state, block), good_samples=seen))
        else:
            self._state = replace(self._state, good_samples=seen)

    def _begin_anew(self, seen: int) -> None:
        """Learn from all blocks so far: as long as they are remembered, what turns out to be unusual is taken back."""
        blocks = self._neighbours.blocks
        self._anew = len(blocks) < _NEIGHBOURS
        excess = self._neighbours.excess(blocks)
        self._excess = deque(excess, maxlen=_NEIGHBOURS)
        limit = _limit(excess) if len(excess) >= _FEWEST_NEIGHBOURS else math.inf
        state = AlignmentState(np.zeros_like(self._state.covariance), 0.0, 0)
        for block, apart in zip(blocks, excess, strict=True):
            if apart <= limit:
                state = self._with(state, block)
        if self.ready:
            here, there = self._state.covariance, state.covariance
            step = min(1.0, _STEP_LIMIT * _size(here) / max(_size(there - here), 1e-300))
            state = replace(state, covariance=here + step * (there - here))
        self._adopt(replace(state, good_samples=seen))

    def _with(self, old: AlignmentState, block: _Block) -> AlignmentState:
        """A state that has learnt from one block more."""
        covariance, n = block.covariance, block.n
        kept = old.weight * (math.exp(-n / self._forgetting) if self._forgetting else 1.0)
        weight = n / (kept + n)
        if old.good_samples >= self._spec.ready_samples:
            far = _size(covariance - old.covariance)
            weight = min(weight, _STEP_LIMIT * _size(old.covariance) / max(far, 1e-300))
        if self._spec.kind == "euclidean" or not old.weight:
            mean = (1 - weight) * old.covariance + weight * covariance
        else:
            start = self._spectrum if old is self._state else _spectrum(old.covariance)
            mean = _geodesic(start, covariance, weight)
        return AlignmentState(mean, kept + n, old.good_samples + n)

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
        self._anew = False
        if count:
            state = self._history[-count]
            kept = list(self._history)[:-count]
            self._adopt(state)
            self._history = deque(kept, maxlen=_HISTORY)
        return count

    def restore(self, state: AlignmentState) -> None:
        """Go on from a state that was saved, of this session or another."""
        self._anew = False
        self._adopt(state)

    def _adopt(self, state: AlignmentState) -> None:
        if self._state.weight:
            self._history.append(self._state)
        self._state = state
        if self._reference is None and self.ready:
            self._reference = state.covariance
        self._spectrum = values, vectors = _spectrum(state.covariance)
        self.matrix = ((vectors / np.sqrt(values * self._factor)) @ vectors.T).astype(np.float32)
        self.version += 1
