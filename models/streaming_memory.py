"""What a stream remembers between two windows, and how a step's inputs are gathered from it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.streaming_plan import StreamingPlan

Array = NDArray[np.float32]

# Steps between two moves of the memory to the front of its buffers.
_STEPS = 256


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
        # A window's blocks and tokens, numbered as the plan numbers them, begin here in the buffers.
        self._block_base = self._token_base = 0
        self._blocks = np.empty((plan.end_block + _STEPS * plan.new_blocks, ch_dim), dtype=np.float32)
        self._tokens = np.empty((plan.last_token + 1 + _STEPS * plan.new_tokens, ch_dim), dtype=np.float32)

    @property
    def box(self) -> Array:
        """The stem's averaging over one block."""
        return np.full((self.plan.block, 1), 1 / self.plan.block, dtype=np.float32)

    @property
    def stem_span(self) -> slice:
        """Samples of a window from which the stem makes what :meth:`fill` takes."""
        plan, g = self.plan, self.plan.geometry
        start = plan.first_block * plan.block - g.left
        stop = plan.right_blocks.start * plan.block - g.left + g.taps - 1
        return slice(start, stop)

    def fill(self, blocks: Array) -> None:
        """Begin anew, as if all but the newest hop of a window had been seen.

        Parameters
        ----------
        blocks : ndarray of float32, shape (ch_dim, n_blocks)
            What the stem makes of the samples of :attr:`stem_span`.
        """
        plan = self.plan
        self._block_base = self._token_base = 0
        first, end = plan.first_block, plan.right_blocks.start
        self._blocks[first:end] = blocks.T
        sums = np.zeros((end - first + 1, len(blocks)))
        np.cumsum(self._blocks[first:end], axis=0, out=sums[1:])
        per_token, per_grid = plan.geometry.pool // plan.block, plan.grid // plan.block
        start, stop = plan.cached.start, plan.last_token - plan.new_tokens + 1
        begin = start * per_grid - first
        count = stop - start
        lower = sums[begin : begin + count * per_grid : per_grid]
        upper = sums[begin + per_token : begin + per_token + count * per_grid : per_grid]
        np.multiply(upper - lower, 1 / per_token, out=self._tokens[start:stop], casting="same_kind")

    def gather(self, out: Array) -> None:
        """Copy the rows of the memory that a step reads.

        Parameters
        ----------
        out : ndarray of float32, shape (kept, ch_dim)
        """
        plan, base = self.plan, self._block_base
        left, right = len(plan.old_left), len(plan.old_left) + len(plan.old_right)
        out[:left] = self._blocks[base + plan.old_left.start : base + plan.old_left.stop]
        out[left:right] = self._blocks[base + plan.old_right.start : base + plan.old_right.stop]
        cached, base = plan.cached, self._token_base
        out[right:] = self._tokens[base + cached.start : base + cached.stop : cached.step]

    def append(self, blocks: Array, tokens: Array) -> None:
        """Take what a step has made, and move on to the next window.

        Parameters
        ----------
        blocks : ndarray of float32, shape (n, ch_dim)
            All blocks of the step; those of the hop are kept.
        tokens : ndarray of float32, shape (new_tokens, ch_dim)
        """
        plan = self.plan
        first = len(plan.left_blocks)
        end, last = self._block_base + plan.end_block, self._token_base + plan.last_token + 1
        self._blocks[end - plan.new_blocks : end] = blocks[first : first + plan.new_blocks]
        self._tokens[last - plan.new_tokens : last] = tokens
        self._block_base += plan.new_blocks
        self._token_base += plan.new_tokens
        if end + plan.new_blocks > len(self._blocks):
            self._move_to_front()

    def _move_to_front(self) -> None:
        plan = self.plan
        blocks = self._blocks[self._block_base : self._block_base + plan.right_blocks.start].copy()
        self._blocks[: len(blocks)] = blocks
        tokens = self._tokens[self._token_base : self._token_base + plan.last_token + 1 - plan.new_tokens].copy()
        self._tokens[: len(tokens)] = tokens
        self._block_base = self._token_base = 0


def write_edges(out: Array, samples: Array, plan: StreamingPlan) -> None:
    """Copy the samples at a window's two ends that a step filters; the zeros around them are left as they are.

    Parameters
    ----------
    out : ndarray of float32, shape (edge_samples, n_chans)
    samples : ndarray of float32, shape (n_times, n_chans)
        The window, time-major, not aligned.
    plan : StreamingPlan
    """
    start = plan.geometry.left if plan.left_blocks else 0
    middle = start + plan.left_samples
    out[start:middle] = samples[: plan.left_samples]
    first = plan.right_blocks.start * plan.block - plan.geometry.left
    out[middle : middle + plan.right_samples] = samples[first : first + plan.right_samples]
