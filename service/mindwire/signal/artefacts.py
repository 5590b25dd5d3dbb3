"""Detection of parts of the signal that are unlike the rest, so that the alignment does not learn from them.

No flag marks a moving cable or a clenched jaw, and what is learnt of it stays for the rest of the session. A
block of signal is judged in pieces, because an artefact of a second spoils two blocks and little more than a second's
pieces: each piece by its power in the whitened channel where it has most, against the weaker quarter of the pieces of
the last blocks (after the Riemannian potato, Barachant et al. 2013). Artefacts only add power, so that up to some three
quarters of the pieces may be spoilt; a change that lasts is followed all the same.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mindwire.signal.manifold import TINY, Matrix, spectrum

_BLOCKS = 20  # from which the usual power is estimated
_LASTING_BLOCKS = 10  # if nearly all pieces of the newest ones are unusual, the signal has changed and is followed
_NEARLY_ALL = 0.9
_FEWEST_BLOCKS = 6
_MEASURE_BLOCKS = 5  # between estimates of the usual covariance, which changes slowly and costs most
_PIECES = 5  # of a block
_WEAK, _WEAKER = 0.25, 0.1  # quantiles of the pieces' power that no artefact reaches
_OUTLIER = 4.0  # times the distance between these
_LEAST_EXCESS = 1.4  # a logarithm: four times the usual power is nothing strange, however alike pieces are

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Block:
    """Signal learnt from at a time: its covariance per sample, ``(n_channels, n_channels)``, and number of samples."""

    covariance: Matrix
    n: int


class _Upper:
    """Places on and above the diagonal of a square matrix of ``n`` rows: in the flat one, and by row and column.

    ``counts`` is how often each value occurs in a symmetric matrix.
    """

    def __init__(self, n: int) -> None:
        self.places = np.flatnonzero(np.triu(np.ones((n, n))))
        self.rows, self.columns = np.divmod(self.places, n)
        self.counts = np.where(self.rows == self.columns, 1.0, 2.0)


_upper = lru_cache(maxsize=8)(_Upper)


class Pieces:
    """A block of good samples, cut up.

    Parameters
    ----------
    good : ndarray of float32, shape (n_samples, n_channels)

    Attributes
    ----------
    n : int
        Samples of the block.
    sizes : ndarray of float64, shape (n_pieces,)
        Samples of each piece.
    inliers : ndarray of bool, shape (n_pieces,)
        Which pieces are like the rest.
    """

    def __init__(self, good: NDArray[np.float32]) -> None:
        self.n, n_channels = good.shape
        n_pieces = min(_PIECES, self.n)
        edges = [self.n * i // n_pieces for i in range(n_pieces + 1)]
        self.sizes = np.diff(np.array(edges, dtype=np.float64))
        self._products: Matrix = np.empty((n_pieces, n_channels, n_channels))
        precise = good.astype(np.float64)
        for product, (first, last) in zip(self._products, itertools.pairwise(edges), strict=True):
            part = precise[first:last]
            np.matmul(part.T, part, out=product)
        self.inliers: Mask = np.ones(n_pieces, dtype=bool)
        self._block: Block | None = None
        self._logarithm: Matrix | None = None

    def triangles(self) -> Matrix:
        """Return the sums of squares and products of the channels in each piece, ``(n_pieces, n_channels * (n_channels + 1) / 2)``.

        What lies above the diagonal stands for what lies below it, too.
        """
        n_pieces, n_channels, _ = self._products.shape
        upper = _upper(n_channels)
        return self._products.reshape(n_pieces, -1).take(upper.places, axis=1) * upper.counts

    def set_inliers(self, inliers: Mask) -> None:
        """Set which pieces are like the rest."""
        if not (inliers == self.inliers).all():
            self.inliers, self._block, self._logarithm = inliers, None, None

    def block(self) -> Block | None:
        """The pieces that are like the rest, as one; None where they are too few for a covariance."""
        if self._block is None:
            n = int(self.sizes @ self.inliers)
            n_pieces, n_channels, _ = self._products.shape
            # A covariance of fewer samples than channels is singular and has no place on the manifold.
            if n >= 2 * n_channels:
                total = (self.inliers / n) @ self._products.reshape(n_pieces, -1)
                self._block = Block(total.reshape(n_channels, n_channels), n)
        return self._block

    def logarithm(self) -> Matrix | None:
        """Return the part of the logarithm of that covariance that lies on and above the diagonal."""
        if self._logarithm is None and (block := self.block()) is not None:
            values, vectors = spectrum(block.covariance)
            logarithm = (vectors * np.log(values)) @ vectors.T
            self._logarithm = logarithm.ravel().take(_upper(len(values)).places)
        return self._logarithm


class ArtefactGuard:
    """Tells the usual pieces of the signal from the others.

    Attributes
    ----------
    remembers_all : bool
        True while every block so far is remembered, so that artefacts among them can be taken back.
    """

    def __init__(self) -> None:
        self.remembers_all = True
        self._first: list[Pieces] = []  # all blocks so far, while they are remembered
        self._triangles: Matrix = np.empty((0, 0))  # of all their pieces, and room for more
        self._logarithms: deque[Matrix] = deque(maxlen=_BLOCKS)
        self._excess: deque[NDArray[np.float64]] = deque(maxlen=_BLOCKS)
        self._measure: Matrix = np.empty((0, 0))  # see _measure_of
        self._measured = 0  # blocks since it was estimated

    def judge(self, pieces: Pieces) -> None:
        """Judge the newest block."""
        known = len(self._logarithms)
        if known < _BLOCKS or not self._measured:
            # The first few have nothing to be compared with but themselves.
            own = _logarithms_of([pieces]) if known < _FEWEST_BLOCKS else []
            self._measure = _measure_of([*self._logarithms, *own])
        self._measured = (self._measured + 1) % _MEASURE_BLOCKS
        self._excess.append(_excess(pieces.triangles(), pieces.sizes, self._measure))
        self._mark([pieces])
        self._logarithms.extend(_logarithms_of([pieces]))

    def judge_all(self, pieces: Pieces) -> Sequence[Pieces]:
        """Judge the newest block and all before it; return them in their order. Only while :attr:`remembers_all`."""
        triangles = pieces.triangles()
        if not self._first:
            self._triangles = np.empty((_BLOCKS * _PIECES, triangles.shape[1]))
        blocks = [*self._first, pieces]
        ends = list(itertools.accumulate(len(some.sizes) for some in blocks))
        self._triangles[ends[-1] - len(triangles) : ends[-1]] = triangles
        sizes = np.concatenate([some.sizes for some in blocks])
        excess = _excess(self._triangles[: ends[-1]], sizes, _measure_of(_logarithms_of(blocks)))
        self._excess = deque(map(excess.__getitem__, map(slice, [0, *ends], ends)), maxlen=_BLOCKS)
        self._mark(blocks)
        self._logarithms = deque(_logarithms_of(blocks), maxlen=_BLOCKS)
        self.remembers_all = len(blocks) < _BLOCKS
        self._first = blocks if self.remembers_all else []
        return blocks

    def _mark(self, newest: Sequence[Pieces]) -> None:
        """Mark the inliers of the newest blocks, whose excess is known."""
        if len(self._excess) < _FEWEST_BLOCKS:
            return
        by_block = list(self._excess)
        all_excess = np.concatenate(by_block)
        limit = _weak_limit(all_excess)
        if len(by_block) > _LASTING_BLOCKS:
            lasting = all_excess[-sum(map(len, by_block[-_LASTING_BLOCKS:])) :]
            if np.count_nonzero(lasting > limit) >= _NEARLY_ALL * len(lasting):
                limit = _weak_limit(lasting)
        before = np.concatenate([some.inliers for some in newest])
        if ((all_excess[-len(before) :] <= limit) != before).any():  # as a rule nothing changes
            for some, excess in zip(newest, by_block[-len(newest) :], strict=True):
                some.set_inliers(excess <= limit)


def _measure_of(logarithms: Sequence[Matrix]) -> Matrix:
    """Return the factor of the triangles of pieces that gives the diagonals of all of them, whitened by the usual covariance.

    That is the elementwise median of some logarithms of covariances.
    """
    n = len(logarithms)
    # Of so few, sorting takes a quarter of the time of np.partition with two places, and np.median a multiple.
    ordered = np.array(logarithms)
    ordered.sort(axis=0)
    n_channels = math.isqrt(2 * ordered.shape[1])
    median = np.zeros((n_channels, n_channels))
    upper = _upper(n_channels)
    median.put(upper.places, (ordered[(n - 1) // 2] + ordered[n // 2]) / 2)
    values, vectors = np.linalg.eigh(median, UPLO="U")
    inverse = (vectors * np.exp(values / -2)) @ vectors.T
    squares = inverse.take(upper.rows, axis=0)
    squares *= inverse.take(upper.columns, axis=0)
    return np.asarray(squares)


def _excess(triangles: Matrix, sizes: NDArray[np.float64], measure: Matrix) -> NDArray[np.float64]:
    """Return the logarithm of each piece's power, relative to the usual, in the whitened channel where it is largest."""
    powers = (triangles @ measure).max(axis=1)
    return np.asarray(np.log(np.maximum(powers / sizes, TINY)))


def _logarithms_of(blocks: Sequence[Pieces]) -> list[Matrix]:
    """The logarithms of those blocks that can be learnt from."""
    return [logarithm for some in blocks if (logarithm := some.logarithm()) is not None]


def _weak_limit(excess: NDArray[np.float64]) -> float:
    """Excess above which a piece is unlike the others."""
    ordered = np.sort(excess)
    weaker, weak = _quantile(ordered, _WEAKER), _quantile(ordered, _WEAK)
    return weak + max(_OUTLIER * (weak - weaker), _LEAST_EXCESS)


def _quantile(ordered: NDArray[np.float64], share: float) -> float:
    """Linear between two of the ordered values; on so few, many times faster than :func:`numpy.quantile`."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (place - below) * (ordered[above] - ordered[below]))
