"""Fitting of network and baseline to recorded trials, cross-validated by recording, with calibrated probabilities.

No trial has windows on both sides of a fold, and where there are several recordings, folds hold out whole ones: neither
filters, alignment nor weights depend on the recordings that are scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from mindwire.errors import ArgumentError
from mindwire.evaluation.scores import MISSING, Decisions, Score, accuracy_curve, score
from mindwire.training.data import RecordedTrials
from mindwire_models.parallel import Parallel
from mindwire_models.training.pool import Job, Trained, run_jobs
from mindwire_models.training.trials import Progress, TrialWindows

if TYPE_CHECKING:
    from mindwire_models.network.attentionbasenet import AttentionBaseNet
    from mindwire_models.network.riemann import TangentSpaceNetwork
    from mindwire_models.training.fit import Recipe

Fold = NDArray[np.intp]
"""Trials to hold out, as indices of cued trials; the others are trained on."""
Logits = NDArray[np.float64]
"""Logits of held-out trials, ``(n_windows + n_decided, n_classes)``: of all windows, then of the deciding ones."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Network to train, from the weights of ``start`` if there is one; ``members`` is the number of networks, with successive seeds, whose logits are averaged."""

    recipe: Recipe
    network_arguments: Mapping[str, Any] = field(default_factory=dict)
    members: int = 1
    start: AttentionBaseNet | None = None


@dataclass(frozen=True, slots=True)
class Validation:
    """Scores of held-out trials, and the softmax temperature fitted to them."""

    overall: Score
    recordings: list[Score]
    temperature: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A candidate's networks on all trials, one per member, its held-out logits, and the networks of each fold."""

    networks: list[Trained]
    held_out: Logits | None
    by_fold: list[list[Trained]]


def make_folds(data: RecordedTrials, n_folds: int | None = None) -> list[Fold]:
    """Make folds that keep recordings whole; of a single recording, stretches of successive trials.

    By default each recording is held out once, and a single one is cut into five stretches. An ArgumentError says that there
    are too few recordings or trials, or that the training part of a fold lacks a class.
    """
    n_recordings = int(data.recording.max()) + 1
    if n_recordings > 1:
        group, default, what, where = data.recording, n_recordings, "recordings", "one recording"
    else:
        group, default, what, where = np.arange(len(data.labels)), 5, "trials", "one stretch of the recording"
    n_groups = int(group.max()) + 1
    n_folds = default if n_folds is None else n_folds
    if not 2 <= n_folds <= n_groups:
        msg = f"Cross-validation needs 2 to {n_groups} folds with {n_groups} {what}, found {n_folds}."
        raise ArgumentError(msg)
    folds = [np.flatnonzero(np.isin(group, part)) for part in np.array_split(np.arange(n_groups), n_folds)]
    if any(not np.isin(data.labels, np.delete(data.labels, fold)).all() for fold in folds):
        msg = (
            f"A class occurs in {where} alone, so holding that out leaves nothing to learn it from; "
            "record each class in several, or leave validation out with --folds 0."
        )
        raise ArgumentError(msg)
    return folds


def train_candidates(
    data: RecordedTrials,
    candidates: Sequence[Candidate],
    folds: Sequence[Fold],
    *,
    final: bool = True,
    parallel: Parallel | None = None,
    progress: Progress | None = None,
) -> list[Fitted]:
    """Train every candidate on every fold and, with ``final``, on all trials; progress counts epochs."""
    usable, trial = np.unique(data.trial, return_inverse=True)
    windows = TrialWindows(data.windows, trial, data.labels[usable])
    # The same arrays for all candidates.
    parts = [(np.flatnonzero(~np.isin(usable, fold)), _test_windows(data, fold)) for fold in folds]
    jobs: list[Job] = []
    for candidate in candidates:
        for member in range(candidate.members):
            recipe = replace(candidate.recipe, seed=candidate.recipe.seed + member)
            arguments, start = candidate.network_arguments, candidate.start
            jobs += [Job(part, recipe, arguments, test, start) for part, test in parts]
            if final:
                jobs.append(Job(np.arange(len(usable)), recipe, arguments, start=start))
    trained = iter(run_jobs(windows, len(data.classes), jobs, parallel=parallel, progress=progress))
    fitted = []
    for candidate in candidates:
        members = [list(islice(trained, len(folds) + final)) for _ in range(candidate.members)]
        by_fold = [[member[i] for member in members] for i in range(len(folds))]
        logits = [np.mean([one.logits for one in fold], axis=0) for fold in by_fold]
        networks = [member[-1] for member in members] if final else []
        fitted.append(Fitted(networks, _assemble(data, folds, logits) if folds else None, by_fold))
    return fitted


def fit_baseline(data: RecordedTrials, held_out: Fold | None = None) -> TangentSpaceNetwork:
    """Fit the tangent-space baseline to all windows but those of held-out trials, each trial weighted equally."""
    from mindwire_models.network.riemann import fit_tangent_space

    chosen = ~np.isin(data.trial, () if held_out is None else held_out)
    trial = data.trial[chosen]
    weights = 1 / np.bincount(trial)[trial]
    return fit_tangent_space(data.windows[chosen], data.labels[trial], len(data.classes), weights=weights)


def untouched_logits(data: RecordedTrials, network: AttentionBaseNet) -> Logits:
    """Return the logits of a network that was trained on none of the trials."""
    from mindwire_models.training.fit import predict_logits

    return predict_logits(network, np.concatenate([data.windows, data.deciding])).astype(np.float64)


def baseline_logits(data: RecordedTrials, folds: Sequence[Fold]) -> Logits | None:
    """Return the baseline's logits of held-out trials, on the windows and folds of the network; None without folds."""
    by_fold = [fit_baseline(data, fold).logits(_test_windows(data, fold)) for fold in folds]
    return _assemble(data, folds, by_fold) if folds else None


def _test_windows(data: RecordedTrials, fold: Fold) -> NDArray[np.float32]:
    return np.concatenate([data.windows[np.isin(data.trial, fold)], data.deciding[np.isin(data.decided, fold)]])


def _assemble(data: RecordedTrials, folds: Sequence[Fold], by_fold: Sequence[NDArray[np.floating[Any]]]) -> Logits:
    """Arrange the folds' logits in the order of the data."""
    trial = np.concatenate([data.trial, data.decided])
    held_out = np.zeros((len(trial), len(data.classes)))
    for fold, logits in zip(folds, by_fold, strict=True):
        held_out[np.isin(trial, fold)] = logits
    return held_out


def validate(data: RecordedTrials, held_out: Logits) -> Validation:
    """Score held-out trials, with probabilities at the temperature fitted to them."""
    from mindwire_models.training.fit import fit_temperature

    of_windows, deciding = np.split(held_out, [len(data.trial)])
    temperature = fit_temperature(of_windows, data.labels[data.trial], len(data.usable))
    probabilities = softmax(deciding / temperature, axis=1)

    def scored(trials: NDArray[np.bool_]) -> Score:
        chosen = trials[data.decided]
        n_undecided = int(trials.sum() - chosen.sum())
        decisions = Decisions(
            true=data.labels[data.decided[chosen]],
            probabilities=probabilities[chosen],
            undecided={MISSING: n_undecided} if n_undecided else {},
            n_undecided=n_undecided,
        )
        return score(decisions, accuracy_curve([]), len(data.classes), data.decided_at)

    recordings = [scored(data.recording == index) for index in range(int(data.recording.max()) + 1)]
    return Validation(scored(np.ones(len(data.labels), dtype=bool)), recordings, temperature)
