"""Decides what the recording graph needs: which samples, and the matrices from blocks to tokens to windows.

Words as in :mod:`mindwire_models.graphs.streaming_plan`: positions, interior, blocks, tokens. Here many windows are decoded at once: what
they share is computed once, in one stretch of samples; each has two edges of its own, where zeros pad it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mindwire_models.graphs.streaming_plan import Matrix, StemGeometry, plan_streaming

_MOST_WINDOWS = 64


@dataclass(frozen=True, slots=True)
class RecordingPlan:
    """One run of windows, each a hop behind the one before.

    Parameters
    ----------
    n_windows, hop : int
    first_sample, n_samples : int
        The stretch that the windows share: its beginning, and its length; what it has behind the last window is zero.
    edge_samples : int
        Samples of an edge, zeros included.
    left_zeros, left_samples : int
        The left edge: so many zeros, then so many samples from the window's first.
    first_right, right_samples : int
        The right edge: the window's sample with which it begins, and their number; zeros fill it up.
    pool : ndarray of float32, shape (positions, edge_blocks)
        Averages over the blocks of one row.
    spread : ndarray of float32, shape (n_blocks, n_tokens + 2 * n_windows * special)
        From the stretch's blocks to tokens: those that windows share, then each window's own as far as they are
        made of shared blocks, left ones first.
    own : ndarray of float32, shape (2, edge_blocks, special)
        From the blocks of a left and of a right edge to the rest of a window's own tokens.
    places : ndarray of float32, shape (n_windows * tokens of a window,)
        Which token is each window's first, second, and so on.
    """

    n_windows: int
    hop: int
    first_sample: int
    n_samples: int
    edge_samples: int
    left_zeros: int
    left_samples: int
    first_right: int
    right_samples: int
    pool: Matrix
    spread: Matrix
    own: Matrix
    places: Matrix

    def cut(self, samples: Matrix, stretch: Matrix, edges: Matrix) -> None:
        """Copy the samples of a run to the graph's inputs, whose zeros are never touched.

        Parameters
        ----------
        samples : ndarray of float32, shape (n_times + (n_windows - 1) * hop, n_chans)
            C-contiguous.
        stretch : ndarray of float32, shape (n_samples, n_chans)
        edges : ndarray of float32, shape (2, n_windows, edge_samples, n_chans)
        """
        shared = samples[self.first_sample : self.first_sample + self.n_samples]
        stretch[: len(shared)] = shared
        if self.left_samples:
            ends = self.left_zeros + self.left_samples
            edges[0, :, self.left_zeros : ends] = self._of_each(samples, self.left_samples)
        if self.right_samples:
            edges[1, :, : self.right_samples] = self._of_each(samples[self.first_right :], self.right_samples)

    def _of_each(self, samples: Matrix, length: int) -> Matrix:
        """The beginnings of overlapping windows, as a view."""
        row, column = samples.strides
        shape = (self.n_windows, length, samples.shape[1])
        return np.ndarray(shape, np.float32, samples, strides=(self.hop * row, row, column))


def most_windows(geometry: StemGeometry, hop: int) -> int:
    """Windows that are best decoded in one run: more would leave the processor's cache."""
    return min(_MOST_WINDOWS, 1 + geometry.n_times // (2 * hop))


def plan_recording(geometry: StemGeometry, hop: int, n_windows: int) -> RecordingPlan | None:
    """How to decode a run.

    Parameters
    ----------
    geometry : StemGeometry
    hop : int
        Samples between two windows.
    n_windows : int

    Returns
    -------
    RecordingPlan or None
        None where windows of this hop share too little.
    """
    g, streaming = geometry, plan_streaming(geometry, hop)
    if streaming is None:
        return None
    block, grid, first, end = streaming.block, streaming.grid, streaming.first_block, streaming.end_block
    per_token, per_grid, step = g.pool // block, grid // block, g.stride // grid
    starts = np.arange(g.n_tokens) * step * per_grid  # of a window's tokens, in blocks
    left = np.flatnonzero(starts < first)
    right = np.flatnonzero(starts + per_token > end)
    if len(np.intersect1d(left, right)):
        return None
    special = max(len(left), len(right), 1)
    n_right = g.used // block - end
    edge_blocks = max(first, n_right, 1)

    moved = np.arange(n_windows) * (hop // block)
    last = int(moved[-1]) + end
    n_blocks = -(-(last - first) // edge_blocks) * edge_blocks
    first_token = -(-first // per_grid)
    n_tokens = (last - per_token) // per_grid - first_token + 1
    spread = np.zeros((n_blocks, n_tokens + 2 * n_windows * special), np.float32)
    own = np.zeros((2, edge_blocks, special), np.float32)
    places = (np.arange(n_windows) * (hop // grid))[:, None] + np.arange(g.n_tokens) * step - first_token
    for token in range(n_tokens):
        row = (first_token + token) * per_grid - first
        spread[row : row + per_token, token] = 1 / per_token
    for side, tokens in enumerate((left, right)):
        columns = n_tokens + (side * n_windows + np.arange(n_windows)) * special
        for number, token in enumerate(tokens.tolist()):
            places[:, token] = columns + number
            begin = token * step * per_grid
            for k in range(begin, begin + per_token):
                if first <= k < end:
                    spread[moved + k - first, columns + number] = 1 / per_token
                else:
                    own[side, k if side == 0 else k - end, number] = 1 / per_token

    first_right = end * block - g.left
    return RecordingPlan(
        n_windows=n_windows,
        hop=hop,
        first_sample=first * block - g.left,
        n_samples=n_blocks * block + g.taps - 1,
        edge_samples=edge_blocks * block + g.taps - 1,
        left_zeros=g.left,
        left_samples=first * block + g.taps - 1 - g.left if len(left) else 0,
        first_right=first_right,
        right_samples=min(n_right * block + g.taps - 1, g.n_times - first_right) if len(right) else 0,
        pool=np.repeat(np.eye(edge_blocks), block, axis=0).astype(np.float32) / np.float32(block),
        spread=spread,
        own=own,
        places=places.ravel().astype(np.float32),
    )
