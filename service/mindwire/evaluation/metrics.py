"""Figures of merit for classified trials, each with its formula, on plain counts and arrays.

Nothing here knows of signals or files. Intervals are part of every figure because thirty trials say
less than they seem to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from scipy import stats

CONFIDENCE = 0.95
ITR_FORMULA = (
    "B = log2 N + P log2 P + (1 − P) log2((1 − P) / (N − 1)) bits per decision for N classes and accuracy P, "
    "0 where P ≤ 1/N; bits per minute = 60 B / T for one decision every T seconds (Wolpaw et al. 2000)"
)


def wilson_interval(n_correct: int, n_trials: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a proportion; (0, 1) without any trial."""
    if n_trials == 0:
        return 0.0, 1.0
    interval = stats.binomtest(n_correct, n_trials).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def chance_level(by_class: Sequence[int] | NDArray[np.integer]) -> float:
    """The accuracy of always answering the most frequent class, from the trials of each; ``1 / len(by_class)`` without any trial."""
    n_trials = int(np.sum(by_class))
    return int(np.max(by_class)) / n_trials if n_trials else 1 / len(by_class)


def chance_interval(chance: float, n_trials: int) -> tuple[float, float]:
    """Return the interval into which the accuracy of guessing falls in 95 % of experiments; (0, 1) without any trial.

    The central interval of the binomial distribution with ``p = chance``; an accuracy above its upper end is better
    than chance at that level (Müller-Putz et al. 2008, "Better than random? A closer look on BCI results").
    """
    if n_trials == 0:
        return 0.0, 1.0
    low, high = stats.binom.interval(CONFIDENCE, n_trials, chance)
    return float(low) / n_trials, float(high) / n_trials


def chance_p_value(n_correct: int, n_trials: int, chance: float) -> float:
    """Return the probability of at least ``n_correct`` right by guessing (one-sided binomial test); 1 without any trial."""
    return float(stats.binomtest(n_correct, n_trials, chance, "greater").pvalue) if n_trials else 1.0


def confusion_matrix(true: NDArray[np.intp], predicted: NDArray[np.intp], n_classes: int) -> NDArray[np.int64]:
    """Counts with the true class in rows and the predicted one in columns."""
    counts = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(counts, (true, predicted), 1)
    return counts


def cohens_kappa(confusion: NDArray[np.int64]) -> float:
    """Cohen's κ, ``(p_o - p_e) / (1 - p_e)``: agreement beyond that expected from the margins (Cohen 1960).

    ``nan`` without trials; 0 where only one class was both shown and predicted.
    """
    total = confusion.sum()
    if total == 0:
        return math.nan
    observed = float(np.trace(confusion) / total)
    expected = float(confusion.sum(axis=0) @ confusion.sum(axis=1) / total**2)
    return 0.0 if expected == 1.0 else (observed - expected) / (1 - expected)


def normalised_mcc(confusion: NDArray[np.int64]) -> float:
    """Matthews' correlation for several classes, mapped from [−1, 1] to [0, 1] as ``(R_K + 1) / 2`` (Gorodkin 2004).

    ``nan`` without trials; 0.5 where a margin is concentrated on one class.
    """
    total = float(confusion.sum())
    if total == 0:
        return math.nan
    true = confusion.sum(axis=1).astype(np.float64)
    predicted = confusion.sum(axis=0).astype(np.float64)
    covariance = float(np.trace(confusion)) * total - float(true @ predicted)
    spread = math.sqrt((total**2 - float(true @ true)) * (total**2 - float(predicted @ predicted)))
    return 0.5 if spread == 0 else (covariance / spread + 1) / 2


def itr_bits_per_decision(accuracy: float, n_classes: int) -> float:
    """Wolpaw's information transfer per decision in bits, see :data:`ITR_FORMULA`; ``nan`` for an undefined accuracy."""
    if math.isnan(accuracy):
        return math.nan
    if accuracy <= 1 / n_classes:
        return 0.0
    bits = math.log2(n_classes) + accuracy * math.log2(accuracy)
    if accuracy < 1:
        bits += (1 - accuracy) * math.log2((1 - accuracy) / (n_classes - 1))
    return bits


class Reliability(BaseModel, frozen=True):
    """Trials whose highest probability fell into one bin: its mean, and the share of them that were right."""

    confidence: float
    accuracy: float
    n_trials: int


def reliability(
    probabilities: NDArray[np.float64], true: NDArray[np.intp], n_bins: int = 10
) -> tuple[float, list[Reliability]]:
    """Expected calibration error, ``nan`` without trials, and the bins of the reliability curve that are not empty (Guo et al. 2017).

    Bins have equal widths; the error is the mean distance of confidence and accuracy, weighted by trials.
    """
    if len(true) == 0:
        return math.nan, []
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == true
    index = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    bins = [
        Reliability(
            confidence=confidence[index == i].mean(), accuracy=right[index == i].mean(), n_trials=(index == i).sum()
        )
        for i in np.unique(index)
    ]
    error = sum(abs(b.confidence - b.accuracy) * b.n_trials for b in bins) / len(true)
    return float(error), bins


def restrict(probabilities: NDArray[np.float64], columns: Sequence[int]) -> NDArray[np.float64]:
    """Probabilities over some columns, renormalised to sum to one; uniform where these had no probability at all."""
    kept = probabilities[:, list(columns)]
    total = kept.sum(axis=1, keepdims=True)
    uniform: NDArray[np.float64] = np.full_like(kept, 1 / len(columns))
    np.divide(kept, total, out=uniform, where=total > 0)
    return uniform


def poisson_interval(count: int, minutes: float) -> tuple[float, float]:
    """Return the exact 95 % interval of a rate per minute; (0, inf) without any time.

    The central interval after Garwood, ``χ²(α/2; 2n) / 2T`` to ``χ²(1 − α/2; 2n + 2) / 2T`` for ``n`` events in ``T``.

    References
    ----------
    Garwood 1936, "Fiducial limits for the Poisson distribution", Biometrika 28.
    """
    if minutes <= 0:
        return 0.0, math.inf
    tail = (1 - CONFIDENCE) / 2
    low = float(stats.chi2.ppf(tail, 2 * count)) / 2 if count else 0.0
    return low / minutes, float(stats.chi2.ppf(1 - tail, 2 * count + 2)) / 2 / minutes


def poisson_bound(count: int, minutes: float) -> float:
    """Return the exact one-sided 95 % upper bound of a rate per minute, ``χ²(0.95; 2n + 2) / 2T``; inf without any time."""
    return float(stats.chi2.ppf(CONFIDENCE, 2 * count + 2)) / 2 / minutes if minutes > 0 else math.inf


def poisson_forecast(count: int, minutes: float, later_minutes: float) -> tuple[int, int]:
    """Return the 95 % interval of the number of events in later minutes, after ``count`` in the first ones.

    The central interval of the negative binomial distribution that follows from Jeffreys' prior of the rate, a gamma
    distribution of shape ``n + ½`` and rate ``T``: it has the uncertainty of the rate and the chance of the later count.
    """
    if minutes <= 0 or later_minutes <= 0:
        return 0, 0
    low, high = stats.nbinom.interval(CONFIDENCE, count + 0.5, minutes / (minutes + later_minutes))
    return int(low), int(high)
