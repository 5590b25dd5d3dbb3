"""Memory of a stream between two windows, and the inputs of a step gathered from it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from mindwire_models.graphs.streaming_plan import StreamingPlan

Array = NDArray[np.float32]

# Steps between two moves of the memory to the front of its buffers.
_HOPS = 64
_LINE = 16  # float32 numbers in a cache line


def step_arrays(
    plan: StreamingPlan, batch: int, n_chans: int, ch_dim: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return inputs and outputs of a step by name, all but ``spatial`` and ``logits``: the plan's matrices, and zeros."""

    def zeros(*shape: int) -> Array:
        return np.zeros((batch, *shape), np.float32)

    return (
        {
            "edges": zeros(2 * plan.edge_samples, n_chans),
            "pool": plan.pool,
            "old_blocks": zeros(ch_dim, len(plan.old_left) + len(plan.old_right)),
            "combine": plan.combine,
            "place": plan.place,
            "cached": zeros(ch_dim, plan.geometry.n_tokens),
        },
        {"blocks": zeros(ch_dim, 2 * plan.edge_blocks), "tokens": zeros(ch_dim, plan.combine.shape[1])},
    )


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
    def of(cls, plan: StreamingPlan, inputs: dict[str, Array], outputs: dict[str, Array]) -> StepRows:
        """Views of a batch's :func:`step_arrays`."""
        edges, start = inputs["edges"], plan.geometry.left if plan.left_blocks else 0
        old, cached, blocks, tokens = (
            array.swapaxes(1, 2)
            for array in (inputs["old_blocks"], inputs["cached"], outputs["blocks"], outputs["tokens"])
        )
        step = plan.cached.step
        return cls(
            left_edge=edges[:, start : start + plan.left_samples],
            right_edge=edges[:, plan.edge_samples : plan.edge_samples + plan.right_samples],
            old_left=old[:, : len(plan.old_left)],
            old_right=old[:, len(plan.old_left) :],
            cached=cached[:, plan.cached.start // step : plan.cached[-1] // step + 1],
            blocks=blocks[:, plan.edge_blocks : plan.edge_blocks + plan.new_blocks],
            tokens=tokens[:, tokens.shape[1] - plan.new_tokens :],
        )

    def row(self, index: int) -> StepRows:
        """Views of one row of the batch."""
        return StepRows(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


class StreamMemory:
    """Blocks and tokens of one stream under one plan and one alignment, and the inputs of steps gathered from them.

    Parameters
    ----------
    plan : StreamingPlan
    blocks, tokens : ndarray of float32, shape (n, ch_dim)
        The former from the plan's first interior block, the latter from its first cached token. Outputs of the stem for the
        plan's ``stem_span(n_hops)`` by its ``spread(n_hops)`` are the memory of all these hops.
    """

    def __init__(self, plan: StreamingPlan, blocks: Array, tokens: Array) -> None:
        self.plan = plan
        self._blocks, self._tokens = blocks, tokens
        self._hop = 0  # newest of the hops that the buffers hold
        first, new_blocks, new_tokens = plan.first_block, plan.new_blocks, plan.new_tokens
        self._old_left = _each_hop(blocks, plan.old_left.start - first, len(plan.old_left), new_blocks)
        self._old_right = _each_hop(blocks, plan.old_right.start - first, len(plan.old_right), new_blocks)
        self._cached = _each_hop(tokens, 0, len(plan.cached), new_tokens, plan.cached.step)
        self._new_blocks = _each_hop(blocks, plan.n_filled_blocks, new_blocks, new_blocks)
        self._new_tokens = _each_hop(tokens, plan.n_filled_tokens, new_tokens, new_tokens)
        self._n_left = plan.left_samples
        self._first_right, self._end_right = plan.first_right, plan.first_right + plan.right_samples

    @classmethod
    def empty(cls, plan: StreamingPlan, ch_dim: int) -> StreamMemory:
        """Return a memory to be filled, in buffers for some hops."""
        # A row each: with many streams none is in the cache when its turn comes, and a step should read few lines of memory.
        return cls(
            plan,
            _aligned_rows(plan.n_filled_blocks + _HOPS * plan.new_blocks, ch_dim),
            _aligned_rows(plan.n_filled_tokens + _HOPS * plan.new_tokens, ch_dim),
        )

    def fill(self, blocks: Array, tokens: Array) -> None:
        """Start over, as if all but the newest hop of a window had been seen.

        ``blocks`` and ``tokens``, ``(ch_dim, n)``, are outputs of the stem for the plan's ``stem_span()`` by its ``spread()``.
        """
        self._hop = 0
        self._blocks[: self.plan.n_filled_blocks] = blocks.T
        self._tokens[: self.plan.n_filled_tokens] = tokens.T

    def gather(self, row: StepRows, samples: Array) -> None:
        """Copy the inputs of the next step, of a window ``(n_times, n_chans)``, time-major and not aligned."""
        self._copy(row, samples[: self._n_left], samples[self._first_right : self._end_right], self._hop)

    def gather_hops(self, batch: StepRows, samples: Array, hops: slice) -> None:
        """Copy the inputs of as many steps as the batch has rows.

        The samples ``(n_times + (n_hops - 1) * hop, n_chans)``, time-major and not aligned, are those of all windows of the
        memory, from the first one's first to the last one's last.
        """
        plan = self.plan
        left = _each_hop(samples, 0, plan.left_samples, plan.hop)
        right = _each_hop(samples, plan.first_right, plan.right_samples, plan.hop)
        self._copy(batch, left[hops], right[hops], hops)

    def _copy(self, rows: StepRows, left: Array, right: Array, hops: int | slice) -> None:
        rows.left_edge[...] = left
        rows.right_edge[...] = right
        rows.old_left[...] = self._old_left[hops]
        rows.old_right[...] = self._old_right[hops]
        rows.cached[...] = self._cached[hops]

    def append(self, row: StepRows) -> None:
        """Keep the outputs of a step, and move on to the next window."""
        self._new_blocks[self._hop] = row.blocks
        self._new_tokens[self._hop] = row.tokens
        self._hop += 1
        if self._hop == _HOPS:
            plan = self.plan
            for buffer, kept in ((self._blocks, plan.n_filled_blocks), (self._tokens, plan.n_filled_tokens)):
                buffer[:kept] = buffer[-kept:].copy()
            self._hop = 0


def _aligned_rows(n: int, width: int) -> Array:
    """Memory for rows, the first of which begins with a cache line."""
    spare = np.empty(n * width + _LINE, dtype=np.float32)
    first = -(spare.ctypes.data // spare.itemsize) % _LINE
    return spare[first : first + n * width].reshape(n, width)


def _each_hop(rows: Array, first: int, length: int, hop: int, step: int = 1) -> Array:
    """Rows from the first on, and the same a hop later, and so on to the end: a view ``(n_hops, length, width)``."""
    if not length:
        return np.empty((1 + len(rows) // hop, 0, rows.shape[1]), np.float32)
    along, across = rows.strides
    n_hops = 1 + (len(rows) - first - (length - 1) * step - 1) // hop
    return as_strided(rows[first:], (n_hops, length, rows.shape[1]), (hop * along, step * along, across))
