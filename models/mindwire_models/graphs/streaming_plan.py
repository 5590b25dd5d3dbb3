"""Decides what a streaming step needs: which samples, which blocks, which tokens, and the matrices between them.

Positions count filtered samples of a window from its first: position ``p`` sees the samples ``p - taps // 2`` to
``p - taps // 2 + taps - 1``. A position is *interior* when all of these lie in the window; only then is its value the same
in every window. Blocks are the largest stretches of which all tokens of all windows of a hop are made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mindwire_models.errors import BundleError

Matrix = NDArray[np.float32]

# What streaming graphs of this version of Mindwire say of themselves; others cannot be driven by it.
FORMAT_KEY, FORMAT = "mindwire_streaming", "2"


@dataclass(frozen=True, slots=True)
class StemGeometry:
    """Lengths of the stem, in samples but for ``n_tokens``.

    Parameters
    ----------
    n_times : int
        Window.
    taps : int
        Temporal filters.
    pool, stride : int
        First pool.
    n_tokens : int
        Steps after the first pool.
    """

    n_times: int
    taps: int
    pool: int
    stride: int
    n_tokens: int

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], where: str) -> StemGeometry:
        """Read what :meth:`to_metadata` wrote.

        Raises
        ------
        BundleError
            A length is missing, no number, or impossible.
        """
        try:
            geometry = cls(**{field.name: int(metadata[field.name]) for field in fields(cls)})
        except (KeyError, ValueError) as error:
            msg = f"{where}: expected the lengths of the stem in the graph's metadata, found none; export again."
            raise BundleError(msg) from error
        lengths = (geometry.n_times, geometry.taps, geometry.pool, geometry.stride, geometry.n_tokens)
        if min(lengths) < 1 or geometry.used > geometry.n_times + 1 or geometry.taps > 2 * geometry.n_times:
            msg = f"{where}: the lengths of the stem, {lengths}, contradict each other; export the bundle again."
            raise BundleError(msg)
        return geometry

    def to_metadata(self) -> dict[str, str]:
        """These lengths as a graph's metadata."""
        return {field.name: str(getattr(self, field.name)) for field in fields(self)}

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

    All indices of blocks and tokens are relative to the window's first position, in units of ``block`` and ``grid``.

    Parameters
    ----------
    geometry : StemGeometry
    hop : int
        Samples between two windows.
    block : int
        Positions per block.
    grid : int
        Positions between the starts of two tokens that some window of this hop uses.
    first_block, end_block : int
        Interior blocks: ``first_block <= k < end_block``.
    last_token : int
        The newest token made of interior blocks only, on the grid.
    cached : range
        Tokens of the window, on the grid, that earlier steps made.
    left_samples, right_samples : int
        Samples at the window's beginning and end that a step filters.
    right_zeros : int
        Zeros after the window.
    left_blocks, right_blocks : range
        Blocks that a step makes itself: at the left edge, and at the right one with the hop's new ones.
    old_left, old_right : range
        Blocks of earlier steps that a step reads.
    edge_samples, edge_blocks : int
        Samples and blocks of the longer edge; the other is filled up to it with what nobody reads.
    spread : ndarray of float32, shape (right_blocks.start - first_block, n_filled)
        From the blocks with which a memory begins to its tokens.
    pool : ndarray of float32, shape (filtered, edge_blocks)
    combine : ndarray of float32, shape (2 * edge_blocks + old, fresh)
        Tokens that a step makes: the window's own, then those that become part of the memory.
    place : ndarray of float32, shape (fresh, n_tokens)
        One where a fresh token is one of the window's.
    cached_columns : slice
        The window's tokens that are not fresh.
    """

    geometry: StemGeometry
    hop: int
    block: int
    grid: int
    first_block: int
    end_block: int
    last_token: int
    cached: range
    left_samples: int
    right_samples: int
    right_zeros: int
    left_blocks: range
    right_blocks: range
    old_left: range
    old_right: range
    edge_samples: int
    edge_blocks: int
    pool: Matrix
    combine: Matrix
    place: Matrix
    cached_columns: slice
    spread: Matrix

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
    def n_old(self) -> int:
        """Blocks of earlier steps that a step reads."""
        return len(self.old_left) + len(self.old_right)


def plan_streaming(geometry: StemGeometry, hop: int) -> StreamingPlan | None:
    """How to stream with a hop.

    Parameters
    ----------
    geometry : StemGeometry
    hop : int
        Samples between two windows.

    Returns
    -------
    StreamingPlan or None
        None where streaming would not save anything: too few positions of a window are interior, or the hop leaves
        no token for the next window.
    """
    g = geometry
    block = math.gcd(g.pool, g.stride, hop)
    grid = math.gcd(g.stride, hop)
    per_token, per_grid, per_stride = g.pool // block, grid // block, g.stride // block
    n_blocks = g.used // block
    last_interior = g.n_times - g.taps + g.left
    first_block = -(-g.left // block)
    end_block = min(n_blocks, (last_interior + 1) // block)
    last_token = (end_block - per_token) // per_grid  # on the grid
    # Tokens of the window that were complete one hop ago, then counted from another beginning.
    ready = last_token - hop // grid
    step = per_stride // per_grid
    starts = range(0, g.n_tokens * step, step)
    cached = [start for start in starts if start * per_grid >= first_block and start <= ready]
    if not cached:
        return None
    left_tokens = [start for start in starts if start < cached[0]]
    right_tokens = [start for start in starts if start > cached[-1]]
    fresh_tokens = range(last_token - hop // grid + 1, last_token + 1)

    left_blocks = range(first_block)
    right_blocks = range(end_block - hop // block, n_blocks)
    needed_left = {k for t in left_tokens for k in range(t * per_grid, t * per_grid + per_token)}
    needed_right = {k for t in (*right_tokens, *fresh_tokens) for k in range(t * per_grid, t * per_grid + per_token)}
    old_left = _span(needed_left - set(left_blocks) - set(right_blocks))
    old_right = _span(needed_right - set(right_blocks) - set(left_blocks))
    if right_blocks.start < first_block or (old_right and old_right.start < first_block):
        return None

    # The samples that those positions see.
    left_samples = len(left_blocks) * block + g.taps - 1 - g.left if left_blocks else 0
    first_right = right_blocks.start * block - g.left
    right_end = n_blocks * block - g.left + g.taps - 1
    right_samples = min(right_end, g.n_times) - first_right
    right_zeros = max(0, right_end - g.n_times)
    if left_samples > g.n_times or first_right < 0:
        return None

    edge_blocks = max(len(left_blocks), len(right_blocks))
    pool = np.repeat(np.eye(edge_blocks), block, axis=0).astype(np.float32) / np.float32(block)

    # The rows of a step's memory: blocks of the two edges, then old ones (whose two spans may overlap).
    rows = {k: row for row, k in enumerate(left_blocks)}
    rows |= {k: edge_blocks + row for row, k in enumerate(right_blocks)}
    rows |= {k: 2 * edge_blocks + row for row, k in enumerate((*old_left, *old_right))}
    own = [*left_tokens, *right_tokens]
    combine = np.zeros((2 * edge_blocks + len(old_left) + len(old_right), len(own) + len(fresh_tokens)), np.float32)
    for column, start in enumerate((*own, *fresh_tokens)):
        for k in range(start * per_grid, start * per_grid + per_token):
            combine[rows[k], column] = 1 / per_token
    place = np.zeros((combine.shape[1], g.n_tokens), np.float32)
    for row, start in enumerate(own):
        place[row, start // step] = 1

    filled = range(cached[0], last_token + 1 - len(fresh_tokens))
    spread = np.zeros((right_blocks.start - first_block, len(filled)), np.float32)
    for column, start in enumerate(filled):
        row = start * per_grid - first_block
        spread[row : row + per_token, column] = 1 / per_token

    return StreamingPlan(
        geometry=g,
        hop=hop,
        block=block,
        grid=grid,
        first_block=first_block,
        end_block=end_block,
        last_token=last_token,
        cached=range(cached[0], cached[-1] + 1, step),
        left_samples=left_samples,
        right_samples=right_samples,
        right_zeros=right_zeros,
        left_blocks=left_blocks,
        right_blocks=right_blocks,
        old_left=old_left,
        old_right=old_right,
        edge_samples=edge_blocks * block + g.taps - 1,
        edge_blocks=edge_blocks,
        pool=pool,
        combine=combine,
        place=place,
        cached_columns=slice(cached[0] // step, cached[-1] // step + 1),
        spread=spread,
    )


def _span(indices: set[int]) -> range:
    return range(min(indices), max(indices) + 1) if indices else range(0)
