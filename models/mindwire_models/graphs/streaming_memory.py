"""What a stream remembers between two windows, and how a step's inputs are gathered from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mindwire_models.graphs.streaming_plan import StreamingPlan

Array = NDArray[np.float32]

# Steps between two moves of the memory to the front of its buffers.
_STEPS = 64
_LINE = 16  # numbers of float32 in a line of the cache


def _rows(n: int, width: int) -> Array:
    """Memory for rows that begin with a line of the cache, as far as their width allows."""
    spare = np.empty(n * width + _LINE, dtype=np.float32)
    first = -(spare.ctypes.data // spare.itemsize) % _LINE
    return spare[first : first + n * width].reshape(n, width)


class StreamMemory:
    """Blocks and tokens of one stream under one plan and one alignment.

    Parameters
    ----------
    plan : StreamingPlan
    ch_dim : int
        Channels of blocks and tokens.
    """

    def __init__(self, plan: StreamingPlan, ch_dim: int) -> None:
        self.plan = plan
        # A window's blocks and tokens, numbered as the plan numbers them, begin here in the buffers. A row each: of many
        # streams none is in the cache when its turn comes, and what a step reads should be few lines of memory.
        self._block_base = self._token_base = 0
        self._blocks = _rows(plan.end_block + _STEPS * plan.new_blocks, ch_dim)
        self._tokens = _rows(plan.last_token + 1 + _STEPS * plan.new_tokens, ch_dim)
        self._n_blocks = len(self._blocks)
        # As plain numbers, because each step reads them.
        self._left = (plan.old_left.start, plan.old_left.stop)
        self._right = (plan.old_right.start, plan.old_right.stop)
        self._cached = (plan.cached.start, plan.cached.stop, plan.cached.step)
        self._new_blocks, self._new_tokens = plan.new_blocks, plan.new_tokens
        self._block_end, self._token_end = plan.end_block, plan.last_token + 1

    @property
    def stem_span(self) -> slice:
        """Samples of a window from which the stem makes what :meth:`fill` takes."""
        plan, g = self.plan, self.plan.geometry
        start = plan.first_block * plan.block - g.left
        stop = plan.right_blocks.start * plan.block - g.left + g.taps - 1
        return slice(start, stop)

    def fill(self, blocks: Array, tokens: Array) -> None:
        """Begin anew, as if all but the newest hop of a window had been seen.

        Parameters
        ----------
        blocks : ndarray of float32, shape (ch_dim, n_blocks)
            What the stem makes of the samples of :attr:`stem_span`.
        tokens : ndarray of float32, shape (ch_dim, n_tokens)
            What it makes of these by the plan's ``spread``.
        """
        plan = self.plan
        self._block_base = self._token_base = 0
        self._blocks[plan.first_block : plan.right_blocks.start] = blocks.T
        self._tokens[plan.cached.start : self._token_end - self._new_tokens] = tokens.T

    def gather(self, rows: StepRows, samples: Array) -> None:
        """Copy what a step reads to its inputs.

        Parameters
        ----------
        rows : StepRows
        samples : ndarray of float32, shape (n_times, n_chans)
            The window, time-major and not aligned; of it only the two ends are read.
        """
        rows.left_edge[...] = samples[: rows.n_left]
        rows.right_edge[...] = samples[rows.first_right : rows.end_right]
        base, blocks = self._block_base, self._blocks
        start, stop = self._left
        rows.old_left[...] = blocks[base + start : base + stop]
        start, stop = self._right
        rows.old_right[...] = blocks[base + start : base + stop]
        base = self._token_base
        start, stop, step = self._cached
        rows.cached[...] = self._tokens[base + start : base + stop : step]

    def append(self, rows: StepRows) -> None:
        """Take what a step has made, and move on to the next window."""
        new_blocks, new_tokens = self._new_blocks, self._new_tokens
        end, last = self._block_base + self._block_end, self._token_base + self._token_end
        self._blocks[end - new_blocks : end] = rows.blocks
        self._tokens[last - new_tokens : last] = rows.tokens
        self._block_base += new_blocks
        self._token_base += new_tokens
        if end + new_blocks > self._n_blocks:
            self._move_to_front()

    def _move_to_front(self) -> None:
        plan = self.plan
        blocks = self._blocks[self._block_base : self._block_base + plan.right_blocks.start].copy()
        self._blocks[: len(blocks)] = blocks
        tokens = self._tokens[self._token_base : self._token_base + self._token_end - self._new_tokens].copy()
        self._tokens[: len(tokens)] = tokens
        self._block_base = self._token_base = 0


@dataclass(frozen=True, slots=True)
class StepRows:
    """One stream's parts of a step's inputs and outputs, as views that are made once.

    Parameters
    ----------
    left_edge, right_edge : ndarray of float32, shape (n_samples, n_chans)
        Samples at a window's two ends; the zeros around them are never touched.
    old_left, old_right : ndarray of float32, shape (n, ch_dim)
        Blocks of earlier steps.
    cached : ndarray of float32, shape (n, ch_dim)
        Tokens of earlier steps.
    blocks, tokens : ndarray of float32, shape (n, ch_dim)
        Outputs that become part of the memory.
    n_left : int
        Samples of the left edge.
    first_right, end_right : int
        The window's samples that are the right edge.
    """

    left_edge: Array
    right_edge: Array
    old_left: Array
    old_right: Array
    cached: Array
    blocks: Array
    tokens: Array
    n_left: int
    first_right: int
    end_right: int


def step_rows(
    plan: StreamingPlan, *, edges: Array, old: Array, cached: Array, blocks: Array, tokens: Array
) -> StepRows:
    """The parts of one stream's inputs and outputs, each without the batch's dimension."""
    start = plan.geometry.left if plan.left_blocks else 0
    left, first = len(plan.old_left), plan.edge_blocks
    first_right = plan.right_blocks.start * plan.block - plan.geometry.left
    return StepRows(
        left_edge=edges[start : start + plan.left_samples],
        right_edge=edges[plan.edge_samples : plan.edge_samples + plan.right_samples],
        old_left=old[:, :left].T,
        old_right=old[:, left:].T,
        cached=cached[:, plan.cached_columns].T,
        blocks=blocks[:, first : first + plan.new_blocks].T,
        tokens=tokens[:, tokens.shape[1] - plan.new_tokens :].T,
        n_left=plan.left_samples,
        first_right=first_right,
        end_right=first_right + plan.right_samples,
    )
