"""What a stream remembers between two windows, and how a step's inputs are gathered from it."""

from __future__ import annotations

from dataclasses import dataclass

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
        # As plain numbers, because each step reads them.
        self._left = (plan.old_left.start, plan.old_left.stop)
        self._right = (plan.old_right.start, plan.old_right.stop)
        self._cached = (plan.cached.start, plan.cached.stop, plan.cached.step)
        self._new_blocks, self._new_tokens = plan.new_blocks, plan.new_tokens
        self._block_end, self._token_end = plan.end_block, plan.last_token + 1

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
        self._blocks[plan.first_block : plan.right_blocks.start] = blocks.T
        self._make_tokens(plan.cached.start, self._token_end - self._new_tokens)

    def look_ahead(self, blocks: Array, hops: int) -> None:
        """Take the blocks of many hops at once, before the steps that would have made them.

        Parameters
        ----------
        blocks : ndarray of float32, shape (ch_dim, hops * new_blocks)
            What the stem makes of the samples of :meth:`ahead_span`.
        hops : int
            At most :attr:`most_ahead`.
        """
        if self._block_base + self._block_end + hops * self._new_blocks > len(self._blocks):
            self._move_to_front()
        first = self._block_base + self._block_end - self._new_blocks
        self._blocks[first : first + blocks.shape[1]] = blocks.T
        start = self._token_end - self._new_tokens
        self._make_tokens(start, start + hops * self._new_tokens)

    @property
    def most_ahead(self) -> int:
        """Hops whose samples lie in one window."""
        plan = self.plan
        return min(_STEPS - 1, (plan.end_block * plan.block - plan.geometry.left) // plan.hop)

    def ahead_span(self, hops: int) -> slice:
        """Samples of the last of some windows from which the stem makes the blocks of all their hops."""
        plan, g = self.plan, self.plan.geometry
        stop = plan.end_block * plan.block - g.left + g.taps - 1
        return slice(stop - hops * plan.hop - g.taps + 1, stop)

    def skip(self, hops: int) -> None:
        """Move on by windows that were decoded from what was looked ahead."""
        self._block_base += hops * self._new_blocks
        self._token_base += hops * self._new_tokens

    def _make_tokens(self, start: int, stop: int) -> None:
        """Tokens numbered ``start`` to ``stop``, from the blocks."""
        plan = self.plan
        per_token, per_grid = plan.geometry.pool // plan.block, plan.grid // plan.block
        first = self._block_base + start * per_grid
        count = stop - start
        blocks = self._blocks[first : first + (count - 1) * per_grid + per_token]
        sums = np.zeros((len(blocks) + 1, blocks.shape[1]))
        np.cumsum(blocks, axis=0, out=sums[1:])
        means = sums[per_token::per_grid] - sums[: len(blocks) - per_token + 1 : per_grid]
        tokens = self._tokens[self._token_base + start : self._token_base + stop]
        np.multiply(means, 1 / per_token, out=tokens, casting="same_kind")

    def gather(self, rows: StepRows, ahead: int = 0) -> None:
        """Copy what a step reads of the memory to its input, for the window so many hops ahead."""
        base = self._block_base + ahead * self._new_blocks
        rows.old_left[...] = self._blocks[base + self._left[0] : base + self._left[1]]
        rows.old_right[...] = self._blocks[base + self._right[0] : base + self._right[1]]
        base = self._token_base + ahead * self._new_tokens
        start, stop, step = self._cached
        rows.cached[...] = self._tokens[base + start : base + stop : step]

    def append(self, rows: StepRows) -> None:
        """Take what a step has made, and move on to the next window."""
        end, last = self._block_base + self._block_end, self._token_base + self._token_end
        self._blocks[end - self._new_blocks : end] = rows.blocks
        self._tokens[last - self._new_tokens : last] = rows.tokens
        self._block_base += self._new_blocks
        self._token_base += self._new_tokens
        if end + self._new_blocks > len(self._blocks):
            self._move_to_front()

    def _move_to_front(self) -> None:
        plan = self.plan
        blocks = self._blocks[self._block_base : self._block_base + plan.right_blocks.start].copy()
        self._blocks[: len(blocks)] = blocks
        tokens = self._tokens[self._token_base : self._token_base + plan.last_token + 1 - plan.new_tokens].copy()
        self._tokens[: len(tokens)] = tokens
        self._block_base = self._token_base = 0


@dataclass(frozen=True, slots=True)
class StepRows:
    """One stream's parts of a step's inputs and outputs, as views that are made once.

    Parameters
    ----------
    left_edge, right_edge : ndarray of float32, shape (n_samples, n_chans)
        Samples at a window's two ends; the zeros around them are never touched.
    old_left, old_right, cached : ndarray of float32, shape (n, ch_dim)
        Rows of the state.
    blocks, tokens : ndarray of float32, shape (n, ch_dim)
        Outputs that become part of the memory.
    first_right : int
        Number of the window's sample with which the right edge begins.
    """

    left_edge: Array
    right_edge: Array
    old_left: Array
    old_right: Array
    cached: Array
    blocks: Array
    tokens: Array
    first_right: int

    def write_edges(self, samples: Array) -> None:
        """Copy the samples at a window's two ends, ``(n_times, n_chans)``, time-major and not aligned."""
        self.left_edge[...] = samples[: len(self.left_edge)]
        self.right_edge[...] = samples[self.first_right : self.first_right + len(self.right_edge)]


def step_rows(plan: StreamingPlan, edges: Array, state: Array, blocks: Array, tokens: Array) -> StepRows:
    """The parts of one stream's inputs ``edges`` and ``state`` and outputs ``blocks`` and ``tokens``."""
    start = plan.geometry.left if plan.left_blocks else 0
    middle = start + plan.left_samples
    left, right = len(plan.old_left), len(plan.old_left) + len(plan.old_right)
    first = len(plan.left_blocks)
    return StepRows(
        left_edge=edges[start:middle],
        right_edge=edges[middle : middle + plan.right_samples],
        old_left=state[:left],
        old_right=state[left:right],
        cached=state[right:],
        blocks=blocks[first : first + plan.new_blocks],
        tokens=tokens,
        first_right=plan.right_blocks.start * plan.block - plan.geometry.left,
    )
