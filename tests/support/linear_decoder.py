"""A decoder of a few lines whose logits depend on every sample of a window, for tests of what surrounds it."""

from __future__ import annotations

import numpy as np


class LinearDecoder:
    engine = "linear"
    device = "cpu"
    reason = "a test"

    def __init__(self, n_classes: int, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._n_classes = n_classes
        self._weights: np.ndarray | None = None

    def session(self) -> None:
        return None

    def decode(self, sessions, windows):
        rows = []
        for window in windows:
            if self._weights is None:
                self._weights = self._rng.standard_normal((self._n_classes, *window.samples.shape)).astype(np.float32)
            aligned = window.samples.astype(np.float64) @ window.alignment.astype(np.float64)
            rows.append((self._weights * aligned).sum(axis=(1, 2)))
        return np.array(rows, dtype=np.float32).reshape(-1, self._n_classes)
