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
    """Signal learnt from at a time.

    Parameters
    ----------
    covariance : ndarray of float64, shape (n_channels, n_channels)
        Per sample.
    n : int
        Samples.
    """

    covariance: Matrix
    n: int


@lru_cache(maxsize=8)
def _upper(n: int) -> NDArray[np.intp]:
    """Places on and above the diagonal of a square matrix, in the flat one."""
    return np.flatnonzero(np.triu(np.ones((n, n))))


@lru_cache(maxsize=8)
def _quadratic(n: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Rows, columns and weights of those places in a quadratic form: what is above the diagonal counts twice."""
    rows, columns = np.divmod(_upper(n), n)
    return rows, columns, np.where(rows == columns, 1.0, 2.0)


@lru_cache(maxsize=256)
def _cut(n: int) -> tuple[list[int], NDArray[np.float64]]:
    """Return the bounds of the pieces of a block, and their sizes."""
    n_pieces = min(_PIECES, n)
    edges = [n * i // n_pieces for i in range(n_pieces + 1)]
    return edges, np.diff(np.array(edges, dtype=np.float64))


class Pieces:
    """A block of good samples, cut up.

    Parameters
    ----------
    good : ndarray of float32, shape (n_samples, n_channels)

    Attributes
    ----------
    n : int
        Samples of the block.
    products : ndarray of float64, shape (n_pieces, n_channels, n_channels)
        Of the samples of each piece with themselves.
    upper_triangles : ndarray of float64, shape (n_pieces, n_channels * (n_channels + 1) / 2)
        What of them lies on and above the diagonal, which says all.
    sizes : ndarray of float64, shape (n_pieces,)
        Samples of each piece.
    inliers : ndarray of bool, shape (n_pieces,)
        Which pieces are like the rest.
    """

    def __init__(self, good: NDArray[np.float32]) -> None:
        self.n = len(good)
        edges, self.sizes = _cut(self.n)
        n_pieces = len(self.sizes)
        self.products: Matrix = np.empty((n_pieces, good.shape[1], good.shape[1]))
        precise = good.astype(np.float64)
        for place, (first, last) in enumerate(itertools.pairwise(edges)):
            part = precise[first:last]
            np.matmul(part.T, part, out=self.products[place])
        self.upper_triangles = self.products.reshape(n_pieces, -1).take(_upper(good.shape[1]), axis=1)
        self.inliers: Mask = np.ones(n_pieces, dtype=bool)
        self._block: Block | None = None
        self._logarithm: Matrix | None = None

    def set_inliers(self, inliers: Mask) -> None:
        """Set which pieces are like the rest."""
        if not (inliers == self.inliers).all():
            self.inliers, self._block, self._logarithm = inliers, None, None

    def block(self) -> Block | None:
        """The pieces that are like the rest, as one; None where they are too few for a covariance."""
        if self._block is None:
            n = int(self.sizes @ self.inliers)
            # A covariance of fewer samples than channels is singular and has no place on the manifold.
            if n >= 2 * self.products.shape[1]:
                shape = self.products.shape
                share = self.inliers / n
                self._block = Block((share @ self.products.reshape(shape[0], -1)).reshape(shape[1:]), n)
        return self._block

    def logarithm(self) -> Matrix | None:
        """Return the part of the logarithm of that covariance that lies on and above the diagonal."""
        if self._logarithm is None and (block := self.block()) is not None:
            values, vectors = spectrum(block.covariance)
            logarithm = (vectors * np.log(values)) @ vectors.T
            self._logarithm = logarithm.ravel()[_upper(len(values))]
        return self._logarithm


class ArtefactGuard:
    """Tells the usual pieces of the signal from the others.

    Parameters
    ----------
    n_channels : int
    """

    def __init__(self, n_channels: int) -> None:
        self._shape = (n_channels, n_channels)
        self._logarithms: deque[Matrix] = deque(maxlen=_BLOCKS)
        self._excess: deque[NDArray[np.float64]] = deque(maxlen=_BLOCKS)
        self._first: list[Pieces] | None = []  # all blocks so far, while there are few enough
        self._measure: Matrix = np.empty((0, 0))  # see _measure_of
        self._measured = 0  # blocks since it was estimated

    @property
    def remembers_all(self) -> bool:
        """True while every block so far is remembered, so that artefacts among them can be taken back."""
        return self._first is not None

    def judge(self, pieces: Pieces) -> None:
        """Judge the newest block."""
        known = len(self._logarithms)
        if known < _BLOCKS or not self._measured:
            # The first few have nothing to be compared with but themselves.
            own = _of([pieces]) if known < _FEWEST_BLOCKS else []
            self._measure = self._measure_of([*self._logarithms, *own])
        self._measured = (self._measured + 1) % _MEASURE_BLOCKS
        excess = _excess(pieces.upper_triangles, pieces.sizes, self._measure)
        self._excess.append(excess)
        if len(self._excess) >= _FEWEST_BLOCKS:
            pieces.set_inliers(excess <= _limit(np.concatenate(self._excess), self._newest()))
        self._logarithms.extend(_of([pieces]))

    def judge_all(self, pieces: Pieces) -> Sequence[Pieces]:
        """Judge all blocks so far; only while :attr:`remembers_all`.

        Returns
        -------
        sequence of Pieces
            In the order they came.
        """
        if self._first is None:
            msg = "The first blocks are forgotten and cannot be judged again."
            raise RuntimeError(msg)
        blocks = self._first
        blocks.append(pieces)
        measure = self._measure_of(_of(blocks))
        excess = [_excess(some.upper_triangles, some.sizes, measure) for some in blocks]
        self._excess = deque(excess, maxlen=_BLOCKS)
        if len(blocks) >= _FEWEST_BLOCKS:
            limit = _limit(np.concatenate(excess), self._newest())
            for some, of_pieces in zip(blocks, excess, strict=True):
                some.set_inliers(of_pieces <= limit)
        self._logarithms = deque(_of(blocks), maxlen=_BLOCKS)
        if len(blocks) == _BLOCKS:
            self._first = None
        return blocks

    def _newest(self) -> NDArray[np.float64] | None:
        """The excess of the newest blocks' pieces; None where there are no others."""
        if len(self._excess) <= _LASTING_BLOCKS:
            return None
        return np.concatenate(list(self._excess)[-_LASTING_BLOCKS:])

    def _measure_of(self, known: Sequence[Matrix]) -> Matrix:
        """Return the factor of the triangles of pieces that gives the diagonals of all of them, whitened by the usual covariance."""
        values, vectors = np.linalg.eigh(self._median(known), UPLO="U")
        inverse = (vectors * np.exp(values / -2)) @ vectors.T
        rows, columns, weights = _quadratic(len(inverse))
        squares = inverse.take(rows, axis=0)
        squares *= inverse.take(columns, axis=0)
        squares *= weights[:, None]
        return np.asarray(squares)

    def _median(self, logarithms: Sequence[Matrix]) -> Matrix:
        """Elementwise; above the diagonal, zeros are below it."""
        n = len(logarithms)
        # Of so few, sorting takes a quarter of the time of np.partition with two places, and np.median a multiple.
        ordered = np.array(logarithms)
        ordered.sort(axis=0)
        median = np.zeros(self._shape)
        median.put(_upper(len(median)), (ordered[(n - 1) // 2] + ordered[n // 2]) / 2)
        return median


def _excess(triangles: Matrix, sizes: NDArray[np.float64], measure: Matrix) -> NDArray[np.float64]:
    """Return the logarithm of each piece's power, relative to the usual, in the whitened channel where it is largest."""
    powers = (triangles @ measure).max(axis=1)
    return np.asarray(np.log(np.maximum(powers / sizes, TINY)))


def _of(blocks: Sequence[Pieces]) -> list[Matrix]:
    """The logarithms of those blocks that can be learnt from."""
    return [logarithm for some in blocks if (logarithm := some.logarithm()) is not None]


def _limit(excess: NDArray[np.float64], newest: NDArray[np.float64] | None) -> float:
    """Excess above which a piece is unlike the others; the newest ones, where there are others, may say that all changed."""
    limit = _weak_limit(excess)
    if newest is not None and np.count_nonzero(newest > limit) >= _NEARLY_ALL * len(newest):
        return _weak_limit(newest)
    return limit


def _weak_limit(excess: NDArray[np.float64]) -> float:
    ordered = np.sort(excess)
    weaker, weak = _quantile(ordered, _WEAKER), _quantile(ordered, _WEAK)
    return weak + max(_OUTLIER * (weak - weaker), _LEAST_EXCESS)


def _quantile(ordered: NDArray[np.float64], share: float) -> float:
    """Linear between two of the ordered values; on so few, many times faster than :func:`numpy.quantile`."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (place - below) * (ordered[above] - ordered[below]))
