"""Memory of a stream between two windows, and the inputs of a step gathered from it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from mindwire_models.graphs.streaming_plan import StreamingPlan

Array = NDArray[np.float32]

# Steps between two moves of the memory to the front of its buffers.
_STEPS = 64
_LINE = 16  # float32 numbers in a cache line


def _aligned_rows(n: int, width: int) -> Array:
    """Memory for rows, the first of which begins with a cache line."""
    spare = np.empty(n * width + _LINE, dtype=np.float32)
    first = -(spare.ctypes.data // spare.itemsize) % _LINE
    return spare[first : first + n * width].reshape(n, width)


@dataclass(frozen=True, slots=True)
class StepRows:
    """Parts of a step's inputs and outputs, as views that are made once; for one row, or for a whole batch.

    Parameters
    ----------
    left_edge, right_edge : ndarray of float32, shape ([batch,] n_samples, n_chans)
        Samples at a window's two ends; the zeros around them stay as they are.
    old_left, old_right : ndarray of float32, shape ([batch,] n, ch_dim)
        Blocks of earlier steps.
    cached : ndarray of float32, shape ([batch,] n, ch_dim)
        Tokens of earlier steps.
    blocks, tokens : ndarray of float32, shape ([batch,] n, ch_dim)
        Outputs that become part of the memory.
    """

    left_edge: Array
    right_edge: Array
    old_left: Array
    old_right: Array
    cached: Array
    blocks: Array
    tokens: Array

    @classmethod
    def of(
        cls, plan: StreamingPlan, *, edges: Array, old: Array, cached: Array, blocks: Array, tokens: Array
    ) -> StepRows:
        """Views of a batch's inputs and outputs, which are as :func:`~mindwire_models.graphs.streaming_graph.step_graph` has them."""
        start = plan.geometry.left if plan.left_blocks else 0
        old, cached, blocks, tokens = (array.swapaxes(1, 2) for array in (old, cached, blocks, tokens))
        return cls(
            left_edge=edges[:, start : start + plan.left_samples],
            right_edge=edges[:, plan.edge_samples : plan.edge_samples + plan.right_samples],
            old_left=old[:, : len(plan.old_left)],
            old_right=old[:, len(plan.old_left) :],
            cached=cached[:, plan.cached_columns],
            blocks=blocks[:, plan.edge_blocks : plan.edge_blocks + plan.new_blocks],
            tokens=tokens[:, tokens.shape[1] - plan.new_tokens :],
        )

    def row(self, index: int) -> StepRows:
        """Views of one row of the batch."""
        return StepRows(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


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
        # A window's blocks and tokens, numbered as the plan numbers them, begin here in the buffers. A row each: with many
        # streams none is in the cache when its turn comes, and a step should read few lines of memory.
        self._block_base = self._token_base = 0
        self._blocks = _aligned_rows(plan.end_block + _STEPS * plan.new_blocks, ch_dim)
        self._tokens = _aligned_rows(plan.last_token + 1 + _STEPS * plan.new_tokens, ch_dim)
        self._n_blocks = len(self._blocks)
        # As plain numbers, because each step reads them.
        self._n_left = plan.left_samples
        self._first_right, self._end_right = plan.first_right, plan.first_right + plan.right_samples
        self._left = (plan.old_left.start, plan.old_left.stop)
        self._right = (plan.old_right.start, plan.old_right.stop)
        self._cached = (plan.cached.start, plan.cached.stop, plan.cached.step)
        self._new_blocks, self._new_tokens = plan.new_blocks, plan.new_tokens
        self._block_end, self._token_end = plan.end_block, plan.last_token + 1

    def fill(self, blocks: Array, tokens: Array) -> None:
        """Start over, as if all but the newest hop of a window had been seen.

        Parameters
        ----------
        blocks : ndarray of float32, shape (ch_dim, n_blocks)
            Output of the stem for the samples of the plan's ``stem_span``.
        tokens : ndarray of float32, shape (ch_dim, n_tokens)
            Its output by the plan's ``spread``.
        """
        plan = self.plan
        self._block_base = self._token_base = 0
        self._blocks[plan.first_block : plan.right_blocks.start] = blocks.T
        self._tokens[plan.cached.start : self._token_end - self._new_tokens] = tokens.T

    def gather(self, row: StepRows, samples: Array) -> None:
        """Copy the inputs of a step.

        Parameters
        ----------
        row : StepRows
        samples : ndarray of float32, shape (n_times, n_chans)
            The window, time-major and not aligned; only its two ends are read.
        """
        row.left_edge[...] = samples[: self._n_left]
        row.right_edge[...] = samples[self._first_right : self._end_right]
        base, blocks = self._block_base, self._blocks
        start, stop = self._left
        row.old_left[...] = blocks[base + start : base + stop]
        start, stop = self._right
        row.old_right[...] = blocks[base + start : base + stop]
        base = self._token_base
        start, stop, step = self._cached
        row.cached[...] = self._tokens[base + start : base + stop : step]

    def append(self, row: StepRows) -> None:
        """Keep the outputs of a step, and move on to the next window."""
        new_blocks, new_tokens = self._new_blocks, self._new_tokens
        end, last = self._block_base + self._block_end, self._token_base + self._token_end
        self._blocks[end - new_blocks : end] = row.blocks
        self._tokens[last - new_tokens : last] = row.tokens
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


class RecordedHops:
    """Inputs of many steps at once: windows of a recording, each a hop after the one before, under one alignment.

    All that the steps remember is made by the stem, for all windows together.

    Parameters
    ----------
    plan : StreamingPlan
    samples : ndarray of float32, shape (n_times + (n_hops - 1) * hop, n_chans)
        From the first window's first sample to the last one's last, time-major and not aligned.
    blocks, tokens : ndarray of float32, shape (ch_dim, n)
        Outputs of the stem for the samples of the plan's ``stem_span(n_hops)``, by its ``spread(n_hops)``.
    n_hops : int
    """

    def __init__(self, plan: StreamingPlan, samples: Array, blocks: Array, tokens: Array, n_hops: int) -> None:
        def each_hop(rows: Array, first: int, length: int, hop: int, step: int = 1) -> Array:
            """Rows that begin ``hop`` later for each window, as a view ``(n_hops, length, width)``."""
            along, across = rows.strides
            shape = (n_hops, length, rows.shape[1])
            return as_strided(rows[first if length else 0 :], shape, (hop * along, step * along, across))

        self._inputs = {
            "left_edge": each_hop(samples, 0, plan.left_samples, plan.hop),
            "right_edge": each_hop(samples, plan.first_right, plan.right_samples, plan.hop),
            "old_left": each_hop(blocks.T, plan.old_left.start - plan.first_block, len(plan.old_left), plan.new_blocks),
            "old_right": each_hop(
                blocks.T, plan.old_right.start - plan.first_block, len(plan.old_right), plan.new_blocks
            ),
            "cached": each_hop(tokens.T, 0, len(plan.cached), plan.new_tokens, plan.cached.step),
        }

    def gather(self, batch: StepRows, hops: slice) -> None:
        """Copy the inputs of some steps, as many as the batch has rows."""
        for name, values in self._inputs.items():
            getattr(batch, name)[...] = values[hops]
