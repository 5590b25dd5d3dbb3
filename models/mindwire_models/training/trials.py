"""Windows of labelled trials, as the training takes them, and its progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mindwire_models.errors import ArgumentError

_BURST = 4.0

Progress = Callable[[int, int], None]
"""Called with the number of steps done and the number of all steps."""


@dataclass(frozen=True, slots=True)
class TrialWindows:
    """Windows of labelled trials, conditioned and aligned as the network gets them live.

    Parameters
    ----------
    windows : ndarray of float32, shape (n_windows, n_chans, n_times)
    trial : ndarray of int, shape (n_windows,)
        Which trial each window belongs to; every trial has at least one.
    labels : ndarray of int, shape (n_trials,)
        Index of each trial's class.
    """

    windows: NDArray[np.float32]
    trial: NDArray[np.intp]
    labels: NDArray[np.intp]

    def __post_init__(self) -> None:
        if self.windows.ndim != 3 or len(self.trial) != len(self.windows):
            msg = (
                "Expected windows of shape (n_windows, n_chans, n_times) and a trial for each, found "
                f"{self.windows.shape} and {self.trial.shape}."
            )
            raise ArgumentError(msg)
        n_trials = len(self.labels)
        if n_trials == 0 or not np.array_equal(np.unique(self.trial), np.arange(n_trials)):
            msg = f"Expected at least one window for each of {n_trials} trials; leave out trials without windows."
            raise ArgumentError(msg)

    def subset(self, trials: NDArray[np.intp]) -> TrialWindows:
        """Return only these trials, renumbered in the order given."""
        index = np.full(len(self.labels), -1, dtype=np.intp)
        index[trials] = np.arange(len(trials))
        kept = index[self.trial] >= 0
        return TrialWindows(self.windows[kept], index[self.trial[kept]], self.labels[trials])

    def without_bursts(self) -> TrialWindows:
        """Return the windows with less than four times the usual power in every direction, and the trials that have some.

        A hundredfold power in one window of a hundred would be half of every variance that the network is normalised by.
        """
        strongest = np.array([np.linalg.norm(window.astype(np.float64), 2) ** 2 for window in self.windows])
        steady = strongest <= _BURST * np.median(strongest)
        trials, trial = np.unique(self.trial[steady], return_inverse=True)
        return TrialWindows(self.windows[steady], trial.astype(np.intp), self.labels[trials])
