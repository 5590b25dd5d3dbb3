"""Accuracy by number of trials, from cross-validation on subsets of them, and what more trials would bring.

The tangent space decides, which is fitted in milliseconds: a covariance per trial, the mean over its windows. Each fifth of the
successive trials is held out in turn; of the others, subsets are drawn. The reference of the tangent space is that of all
trials but those held out; it knows no labels. The accuracy of n trials per class is taken to be ``a - b / sqrt(n)``, with b not
below zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mindwire.evaluation.metrics import wilson_interval
from mindwire.training.data import RecordedTrials
from mindwire_models.errors import extra

MORE = 10  # trials per class
_SHARES = (0.3, 0.5, 0.75, 1.0)  # of the trials of a class that are there
_FEWEST = 3  # trials per class
_DRAWS = 6
_FOLDS = 5
_RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Accuracy of the tangent space by number of trials.

    Parameters
    ----------
    sizes : ndarray of int, shape (n_sizes,)
        Trials of each class that were trained on, ascending.
    right : ndarray of float64, shape (n_sizes, n_trials)
        Share of the draws in which a held-out trial was decided right.
    """

    sizes: NDArray[np.intp]
    right: NDArray[np.float64]

    def points(self) -> list[dict[str, object]]:
        """Return accuracy and 95 % interval by number of trials."""
        n_trials = self.right.shape[1]
        return [
            {
                "trials_per_class": int(size),
                "accuracy": float(row.mean()),
                "interval": list(wilson_interval(round(float(row.sum())), n_trials)),
            }
            for size, row in zip(self.sizes, self.right, strict=True)
        ]

    def gain(self, now: int, more: int = MORE) -> tuple[float, float, float]:
        """Return the gain of accuracy by more trials per class than there are now, with its 95 % interval; zeros where too little is known."""
        if len(self.sizes) < 2:
            return 0.0, 0.0, 0.0
        rng = np.random.default_rng(0)
        n_trials = self.right.shape[1]
        drawn = rng.integers(n_trials, size=(_RESAMPLES, n_trials))
        means = self.right[:, drawn].mean(axis=2).T
        step = 1 / np.sqrt(now) - 1 / np.sqrt(now + more)
        gains = step * _slope(self.sizes, means)
        low, high = np.quantile(gains, [0.025, 0.975])
        return float(step * _slope(self.sizes, self.right.mean(axis=1)[None])[0]), float(low), float(high)


def _slope(sizes: NDArray[np.intp], accuracies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return b of ``a - b / sqrt(n)``, not below zero, of each row, ``(n_rows, n_sizes)``, by least squares."""
    x = -1 / np.sqrt(sizes)
    centred = x - x.mean()
    return np.asarray(np.maximum(accuracies @ centred / (centred @ centred), 0.0).round(9))


def learning_curve(data: RecordedTrials) -> LearningCurve | None:
    """Return the learning curve of some trials, None where they are too few."""
    with extra("train", "The learning curve needs pyriemann and scikit-learn"):
        from pyriemann.geometry.mean import mean_riemann
        from pyriemann.geometry.tangentspace import tangent_space

        from mindwire_models.network.riemann import covariances
    usable = data.usable
    of_windows = covariances(data.windows)
    matrices = np.stack([of_windows[data.trial == trial].mean(axis=0) for trial in usable])
    labels = data.labels[usable]
    folds = np.array_split(np.arange(len(usable)), _FOLDS)
    parts = [np.setdiff1d(np.arange(len(usable)), fold) for fold in folds]
    n_classes = len(data.classes)
    most = min(int(np.bincount(labels[part], minlength=n_classes).min()) for part in parts)
    sizes = np.unique([max(_FEWEST, round(share * most)) for share in _SHARES])
    if most < _FEWEST:
        return None
    right = np.zeros((len(sizes), len(usable)))
    rng = np.random.default_rng(0)
    for fold, part in zip(folds, parts, strict=True):
        reference = mean_riemann(matrices[part])
        features = tangent_space(matrices, reference, metric="riemann")
        for _ in range(_DRAWS):
            order = rng.permutation(part)
            ranks = np.array([np.sum(labels[order[:i]] == labels[one]) for i, one in enumerate(order)])
            for row, size in enumerate(sizes):
                chosen = order[ranks < size]
                right[row, fold] += _decided(features, labels, chosen, fold) == labels[fold]
    return LearningCurve(sizes, right / _DRAWS)


def _decided(
    features: NDArray[np.float64], labels: NDArray[np.intp], trained: NDArray[np.intp], tested: NDArray[np.intp]
) -> NDArray[np.intp]:
    from sklearn.linear_model import LogisticRegression

    regression = LogisticRegression(max_iter=2000)
    regression.fit(features[trained], labels[trained])
    return np.asarray(regression.predict(features[tested]))
