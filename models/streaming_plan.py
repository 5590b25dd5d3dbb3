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

from models.errors import BundleError

Matrix = NDArray[np.float32]


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
    pool : ndarray of float32, shape (filtered, new_blocks)
    combine : ndarray of float32, shape (new_blocks + kept, n_tokens)
    extend : ndarray of float32, shape (new_blocks + kept, new_tokens)
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
    pool: Matrix
    combine: Matrix
    extend: Matrix

    @property
    def edge_samples(self) -> int:
        """Length of a step's input, zeros included."""
        zeros = (self.geometry.left if self.left_blocks else 0) + self.right_zeros
        return zeros + self.left_samples + self.right_samples

    @property
    def new_blocks(self) -> int:
        """Blocks that become part of the memory with each step."""
        return self.hop // self.block

    @property
    def new_tokens(self) -> int:
        """Tokens that become part of the memory with each step."""
        return self.hop // self.grid

    @property
    def kept(self) -> int:
        """Rows of the state that a step reads."""
        return len(self.old_left) + len(self.old_right) + len(self.cached)


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

    left_zeros = g.left if left_blocks else 0
    filtered = left_zeros + left_samples + right_samples + right_zeros - g.taps + 1
    pool = np.zeros((filtered, len(left_blocks) + len(right_blocks)), dtype=np.float32)
    for column in range(len(left_blocks)):
        pool[column * block : (column + 1) * block, column] = 1 / block
    offset = filtered - len(right_blocks) * block
    for index in range(len(right_blocks)):
        start = offset + index * block
        pool[start : start + block, len(left_blocks) + index] = 1 / block

    rows = (*left_blocks, *right_blocks, *old_left, *old_right)  # the two old spans may overlap
    row_of_block = {k: row for row, k in enumerate(rows)}
    first_cached = len(rows)
    n_rows = len(rows) + len(cached)
    row_of_token = {start: first_cached + index for index, start in enumerate(cached)}

    def columns(tokens: range) -> Matrix:
        matrix = np.zeros((n_rows, len(tokens)), dtype=np.float32)
        for column, start in enumerate(tokens):
            if start in row_of_token and tokens is starts:
                matrix[row_of_token[start], column] = 1
                continue
            for k in range(start * per_grid, start * per_grid + per_token):
                matrix[row_of_block[k], column] = 1 / per_token
        return matrix

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
        pool=pool,
        combine=columns(starts),
        extend=columns(fresh_tokens),
    )


def _span(indices: set[int]) -> range:
    return range(min(indices), max(indices) + 1) if indices else range(0)
