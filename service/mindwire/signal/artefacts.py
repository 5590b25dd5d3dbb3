"""Which parts of the signal are unlike the rest, so that the alignment does not learn from them.

No flag tells of a cable that moves or a jaw that clenches, and what is learnt of it stays for the rest of the session. A
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

_BLOCKS = 20  # what is usual is told from so many
_LASTING_BLOCKS = 10  # where nearly all pieces of the newest ones are strange, the signal has changed and is followed
_NEARLY_ALL = 0.9
_FEWEST_BLOCKS = 6
_MEASURE_BLOCKS = 5  # what is usual changes slowly, and to tell it anew costs more than all else
_PIECES = 5  # of a block
_WEAK, _WEAKER = 0.25, 0.1  # quantiles of the pieces' power that no artefact reaches
_OUTLIER = 4.0  # times the distance between these
_LEAST_EXCESS = 1.4  # a logarithm: four times the usual power is nothing strange, however alike pieces are

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Block:
    """What is learnt from at a time.

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
    """Where pieces of a block begin and end, and their sizes."""
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
    halves : ndarray of float64, shape (n_pieces, n_channels * (n_channels + 1) / 2)
        What of them lies on and above the diagonal, which says all.
    sizes : ndarray of float64, shape (n_pieces,)
        Samples of each piece.
    usual : ndarray of bool, shape (n_pieces,)
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
        self.halves = self.products.reshape(n_pieces, -1).take(_upper(good.shape[1]), axis=1)
        self.usual: Mask = np.ones(n_pieces, dtype=bool)
        self._block: Block | None = None
        self._logarithm: Matrix | None = None

    def judged(self, usual: Mask) -> None:
        """Note which pieces are like the rest."""
        if not (usual == self.usual).all():
            self.usual, self._block, self._logarithm = usual, None, None

    def block(self) -> Block | None:
        """The pieces that are like the rest, as one; None where they are too few for a covariance."""
        if self._block is None:
            n = int(self.sizes @ self.usual)
            # A covariance of fewer samples than channels is singular and has no place on the manifold.
            if n >= 2 * self.products.shape[1]:
                shape = self.products.shape
                share = self.usual / n
                self._block = Block((share @ self.products.reshape(shape[0], -1)).reshape(shape[1:]), n)
        return self._block

    def logarithm(self) -> Matrix | None:
        """What of the logarithm of that covariance lies on and above the diagonal."""
        if self._logarithm is None and (block := self.block()) is not None:
            self._logarithm = _logarithms(block.covariance[None])[0]
        return self._logarithm


def _logarithms(covariances: Matrix) -> Matrix:
    """What of the logarithms lies on and above the diagonal, which says all; a row each."""
    values, vectors = spectrum(covariances)
    logarithms = (vectors * np.log(values)[:, None]) @ vectors.transpose(0, 2, 1)
    return np.asarray(logarithms.reshape(len(values), -1).take(_upper(values.shape[1]), axis=1))


class _First:
    """The first blocks, as long as all of them are remembered, and their pieces one below the other."""

    def __init__(self, n_channels: int) -> None:
        self.blocks: list[Pieces] = []
        self._halves: Matrix = np.empty((_BLOCKS * _PIECES, len(_upper(n_channels))))
        self._sizes: NDArray[np.float64] = np.empty(_BLOCKS * _PIECES)
        self._usual: Mask = np.ones(_BLOCKS * _PIECES, dtype=bool)
        self._edges = [0]

    def append(self, pieces: Pieces) -> None:
        """Remember one more."""
        self.blocks.append(pieces)
        begin, end = self._edges[-1], self._edges[-1] + len(pieces.sizes)
        self._edges.append(end)
        self._halves[begin:end], self._sizes[begin:end] = pieces.halves, pieces.sizes
        pieces.halves = self._halves[begin:end]  # not twice

    @property
    def halves(self) -> Matrix:
        """As :class:`Pieces` has them."""
        return self._halves[: self._edges[-1]]

    @property
    def sizes(self) -> NDArray[np.float64]:
        """As :class:`Pieces` has them."""
        return self._sizes[: self._edges[-1]]

    def by_block(self, of_pieces: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Cut what is known of each piece."""
        return [of_pieces[begin:end] for begin, end in itertools.pairwise(self._edges)]

    def judged(self, usual: Mask) -> None:
        """Note which pieces are like the rest; as a rule hindsight changes nothing."""
        known = self._usual[: len(usual)]
        if (known == usual).all():
            return
        known[:] = usual
        for some, (begin, end) in zip(self.blocks, itertools.pairwise(self._edges), strict=True):
            some.judged(usual[begin:end])


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
        self._first: _First | None = _First(n_channels)
        # Of the newest blocks, whose logarithms nobody has needed yet: several at once cost half.
        self._covariances: list[Matrix] = []
        self._measure: Matrix = np.empty((0, 0))  # see _measure_of
        self._measured = 0  # blocks, since it was taken

    @property
    def remembers_all(self) -> bool:
        """Whether every block so far is remembered, so that what turns out to be strange can be taken back."""
        return self._first is not None

    def judge(self, pieces: Pieces) -> None:
        """Judge the newest block."""
        known = len(self._logarithms) + len(self._covariances)
        if known < _BLOCKS or not self._measured:
            if self._covariances:
                self._logarithms.extend(_logarithms(np.array(self._covariances)))
                self._covariances.clear()
            # The first few have nothing to be compared with but themselves.
            own = _of([pieces]) if known < _FEWEST_BLOCKS else []
            self._measure = self._measure_of([*self._logarithms, *own])
        self._measured = (self._measured + 1) % _MEASURE_BLOCKS
        excess = _excess(pieces.halves, pieces.sizes, self._measure)
        self._excess.append(excess)
        if len(self._excess) >= _FEWEST_BLOCKS:
            pieces.judged(excess <= _limit(np.concatenate(self._excess), self._newest()))
        if (block := pieces.block()) is not None:
            self._covariances.append(block.covariance)

    def judge_anew(self, pieces: Pieces) -> Sequence[Pieces]:
        """Judge all blocks so far by hindsight; only while :attr:`remembers_all`.

        Returns
        -------
        sequence of Pieces
            In the order they came.
        """
        if self._first is None:
            msg = "The first blocks are forgotten and cannot be judged anew."
            raise RuntimeError(msg)
        first = self._first
        first.append(pieces)
        blocks = first.blocks
        excess = _excess(first.halves, first.sizes, self._measure_of(_of(blocks)))
        self._excess = deque(first.by_block(excess), maxlen=_BLOCKS)
        if len(blocks) >= _FEWEST_BLOCKS:
            first.judged(excess <= _limit(excess, self._newest()))
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
        """What the halves of pieces are multiplied with for the diagonals of all of them, whitened by what is usual."""
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


def _excess(halves: Matrix, sizes: NDArray[np.float64], measure: Matrix) -> NDArray[np.float64]:
    """How much stronger each piece is than is usual, in the whitened channel where it is most so; a logarithm."""
    powers = (halves @ measure).max(axis=1)
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
