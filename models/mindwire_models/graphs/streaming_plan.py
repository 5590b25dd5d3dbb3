"""Plan of a streaming step: its samples, blocks and tokens, and the matrices between them.

Positions count filtered samples of a window from its first: position ``p`` sees the samples ``p - taps // 2`` to
``p - taps // 2 + taps - 1``. A position is *interior* when all of these lie in the window; only then is its value the same
in every window. Blocks are the largest stretches of which all tokens of all windows of a hop are made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mindwire_models.errors import BundleError

Matrix = NDArray[np.float32]

# Metadata of streaming graphs of this version of Mindwire; others cannot be used.
FORMAT_KEY, FORMAT = "mindwire_streaming", "2"


@dataclass(frozen=True, slots=True)
class StemGeometry:
    """Lengths of window, temporal filters and first pool, in samples, and the number of tokens, the steps after it."""

    n_times: int
    taps: int
    pool: int
    stride: int
    n_tokens: int

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], where: str) -> StemGeometry:
        """Read what :meth:`to_metadata` wrote; refuse missing and impossible lengths with a BundleError."""
        try:
            geometry = cls(**{field.name: int(metadata[field.name]) for field in fields(cls)})
        except (KeyError, ValueError) as error:
            msg = f"{where}: expected the lengths of the stem in the graph's metadata, found none; export again."
            raise BundleError(msg) from error
        lengths = astuple(geometry)
        if min(lengths) < 1 or geometry.used > geometry.n_times + 1 or geometry.taps > 2 * geometry.n_times:
            msg = f"{where}: the lengths of the stem, {lengths}, contradict each other; export the bundle again."
            raise BundleError(msg)
        return geometry

    def to_metadata(self) -> dict[str, str]:
        """Return these lengths as a graph's metadata."""
        return {name: str(length) for name, length in asdict(self).items()}

    @property
    def left(self) -> int:
        """Zeros before the window."""
        return self.taps // 2

    @property
    def used(self) -> int:
        """Positions that the first pool reads."""
        return (self.n_tokens - 1) * self.stride + self.pool


@dataclass(frozen=True, slots=True)
class StreamingPlan:
    """One hop's streaming step.

    Indices of blocks and tokens are relative to the window's first position, in units of ``block`` and ``grid``.

    Parameters
    ----------
    geometry : StemGeometry
    hop : int
        Samples between two windows.
    block : int
        Positions per block.
    grid : int
        Positions between the starts of two tokens that some window of this hop uses.
    first_block : int
        The first interior block.
    last_token : int
        The newest token made of interior blocks only, on the grid.
    cached : range
        Tokens of the window, on the grid, that earlier steps made.
    left_samples, first_right, right_samples : int
        Samples at the window's beginning and end that a step filters; the latter begin with the window's ``first_right``.
    left_blocks, right_blocks : range
        Blocks that a step makes itself: at the left edge, and at the right one with the hop's new ones.
    old_left, old_right : range
        Blocks of earlier steps that a step reads.
    pool : ndarray of float32, shape (filtered, edge_blocks)
    combine : ndarray of float32, shape (2 * edge_blocks + old, fresh)
        Tokens that a step makes: the window's own, then those that become part of the memory.
    place : ndarray of float32, shape (fresh, n_tokens)
        One where a fresh token is one of the window's.
    """

    geometry: StemGeometry
    hop: int
    block: int
    grid: int
    first_block: int
    last_token: int
    cached: range
    left_samples: int
    first_right: int
    right_samples: int
    left_blocks: range
    right_blocks: range
    old_left: range
    old_right: range
    pool: Matrix
    combine: Matrix
    place: Matrix

    @property
    def edge_blocks(self) -> int:
        """Blocks of the longer edge; the other is filled up to it with values that nothing reads."""
        return max(len(self.left_blocks), len(self.right_blocks))

    @property
    def edge_samples(self) -> int:
        """Samples of an edge, zeros included."""
        return self.edge_blocks * self.block + self.geometry.taps - 1

    @property
    def new_blocks(self) -> int:
        """Blocks that become part of the memory with each step."""
        return self.hop // self.block

    @property
    def new_tokens(self) -> int:
        """Tokens that become part of the memory with each step."""
        return self.hop // self.grid

    @property
    def box(self) -> Matrix:
        """The stem's averaging over one block, ``(block, 1)``."""
        return np.full((self.block, 1), 1 / self.block, dtype=np.float32)

    @property
    def n_filled_blocks(self) -> int:
        """Blocks of the memory before a step, from the first interior one."""
        return self.right_blocks.start - self.first_block

    @property
    def n_filled_tokens(self) -> int:
        """Tokens of the memory before a step, from the first cached one."""
        return self.last_token + 1 - self.new_tokens - self.cached.start

    def stem_span(self, n_hops: int = 1) -> slice:
        """Samples, from a window's first, of which the stem makes the memory for a number of windows."""
        start = self.first_block * self.block - self.geometry.left
        n_blocks = self.n_filled_blocks + (n_hops - 1) * self.new_blocks
        return slice(start, start + n_blocks * self.block + self.geometry.taps - 1)

    def spread(self, n_hops: int = 1) -> Matrix:
        """Matrix from the blocks of :meth:`stem_span` to their tokens, ``(n_blocks, n_tokens)``."""
        per_token, per_grid = self.geometry.pool // self.block, self.grid // self.block
        first = self.cached.start * per_grid - self.first_block
        n_blocks = self.n_filled_blocks + (n_hops - 1) * self.new_blocks
        n_tokens = self.n_filled_tokens + (n_hops - 1) * self.new_tokens
        return pool_matrix(n_blocks, n_tokens, per_token, per_grid, first).astype(np.float32)


def pool_matrix(n_in: int, n_out: int, length: int, stride: int, first: int = 0) -> NDArray[np.float64]:
    """Return an average pool from the ``first`` value on as a matrix, ``(n_in, n_out)``: ``pooled = x @ matrix``."""
    offsets = np.arange(n_in)[:, None] - first - stride * np.arange(n_out)
    return ((offsets >= 0) & (offsets < length)) / length


def plan_streaming(geometry: StemGeometry, hop: int) -> StreamingPlan | None:
    """Decide how to stream with a hop of some samples between two windows.

    Returns None where streaming would not save anything: too few positions of a window are interior, or the hop leaves
    no token for the next window.
    """
    g, block, grid = geometry, math.gcd(geometry.pool, geometry.stride, hop), math.gcd(geometry.stride, hop)
    per_token, per_grid, step = g.pool // block, grid // block, g.stride // grid
    window = range(0, g.n_tokens * step, step)  # its tokens, on the grid

    def blocks_of(tokens: Iterable[int]) -> set[int]:
        return {k for token in tokens for k in range(token * per_grid, token * per_grid + per_token)}

    # Interior blocks, and the tokens that are made of these alone.
    first_block = -(-g.left // block)
    n_blocks = g.used // block
    end_block = min(n_blocks, (g.n_times - g.taps + g.left + 1) // block)
    last_token = (end_block - per_token) // per_grid
    # Tokens of the window that were complete one hop ago, then counted from another beginning.
    known = last_token - hop // grid
    cached = [token for token in window if token * per_grid >= first_block and token <= known]
    if not cached:
        return None
    own = [token for token in window if not cached[0] <= token <= cached[-1]]
    fresh = [*own, *range(known + 1, last_token + 1)]

    left_blocks, right_blocks = range(first_block), range(end_block - hop // block, n_blocks)
    made = {*left_blocks, *right_blocks}
    old_left = _span(blocks_of(token for token in own if token < cached[0]) - made)
    old_right = _span(blocks_of(token for token in fresh if token > cached[-1]) - made)
    first_right = right_blocks.start * block - g.left
    left_samples = first_block * block + g.taps - 1 - g.left if left_blocks else 0
    if right_blocks.start < first_block or (old_right and old_right.start < first_block):
        return None
    if left_samples > g.n_times or first_right < 0:
        return None

    # Rows of ``combine``: the blocks of the two edges, then the old ones, whose two spans may overlap.
    edge_blocks = max(len(left_blocks), len(right_blocks))
    rows = {k: row for row, k in enumerate(left_blocks)}
    rows |= {k: edge_blocks + row for row, k in enumerate(right_blocks)}
    rows |= {k: 2 * edge_blocks + row for row, k in enumerate((*old_left, *old_right))}
    combine = np.zeros((2 * edge_blocks + len(old_left) + len(old_right), len(fresh)), np.float32)
    for column, token in enumerate(fresh):
        combine[[rows[k] for k in blocks_of([token])], column] = 1 / per_token
    place = np.zeros((len(fresh), g.n_tokens), np.float32)
    place[range(len(own)), [token // step for token in own]] = 1
    return StreamingPlan(
        geometry=g,
        hop=hop,
        block=block,
        grid=grid,
        first_block=first_block,
        last_token=last_token,
        cached=range(cached[0], cached[-1] + 1, step),
        left_samples=left_samples,
        first_right=first_right,
        right_samples=min(n_blocks * block - g.left + g.taps - 1, g.n_times) - first_right,
        left_blocks=left_blocks,
        right_blocks=right_blocks,
        old_left=old_left,
        old_right=old_right,
        pool=pool_matrix(edge_blocks * block, edge_blocks, block, block).astype(np.float32),
        combine=combine,
        place=place,
    )


def _span(indices: set[int]) -> range:
    return range(min(indices), max(indices) + 1) if indices else range(0)
