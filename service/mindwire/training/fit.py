"""Fitting of network and baseline to recorded trials, cross-validated by recording, with calibrated probabilities.

No trial has windows on both sides of a fold, and where there are several recordings, folds hold out whole ones: neither
filters, alignment nor weights depend on the recordings that are scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from mindwire.errors import ArgumentError
from mindwire.evaluation.scores import MISSING, Decisions, Score, accuracy_curve, score
from mindwire.training.data import RecordedTrials
from mindwire_models.training.pool import Job, Progress, Trained, run_jobs
from mindwire_models.training.trials import TrialWindows

if TYPE_CHECKING:
    from mindwire_models.network.riemann import TangentSpaceNetwork
    from mindwire_models.training.fit import Recipe

Logits = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Network to train; ``members`` is the number of networks, with successive seeds, whose logits are averaged."""

    recipe: Recipe
    network_arguments: Mapping[str, Any] = field(default_factory=dict)
    members: int = 1


@dataclass(frozen=True, slots=True)
class Fold:
    """Trials to train on and trials held out, as indices of cued trials."""

    train: NDArray[np.intp]
    test: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Logits of held-out trials: of deciding and of all windows, in the order of :class:`RecordedTrials`."""

    deciding: Logits
    windows: Logits


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
    held_out: HeldOut | None
    by_fold: list[list[Trained]] = field(default_factory=list)


def make_folds(data: RecordedTrials, n_folds: int | None = None) -> list[Fold]:
    """Make folds that keep recordings whole; of a single recording, stretches of successive trials.

    By default each recording is held out once, and a single one is cut into five stretches.

    Raises
    ------
    ArgumentError
        More folds than recordings or trials, or a fold whose training part lacks a class.
    """
    n_recordings = int(data.recording.max()) + 1
    trials = np.arange(len(data.labels))
    if n_recordings > 1:
        group, n_groups, default = data.recording, n_recordings, n_recordings
        what, where = "recordings", "one recording"
    else:
        group, n_groups, default = trials, len(trials), 5
        what, where = "trials", "one stretch of the recording"
    n_folds = default if n_folds is None else n_folds
    if not 2 <= n_folds <= n_groups:
        msg = f"Cross-validation needs 2 to {n_groups} folds with {n_groups} {what}, found {n_folds}."
        raise ArgumentError(msg)
    folds = []
    for part in np.array_split(np.arange(n_groups), n_folds):
        test = np.isin(group, part)
        folds.append(Fold(trials[~test], trials[test]))
        if not np.isin(data.labels, data.labels[~test]).all():
            msg = (
                f"A class occurs in {where} alone, so holding that out leaves nothing to learn it from; "
                "record each class in several, or leave validation out with --folds 0."
            )
            raise ArgumentError(msg)
    return folds


def trial_windows(data: RecordedTrials) -> tuple[TrialWindows, NDArray[np.intp]]:
    """Return the trials that have windows, and their indices among the cued trials."""
    usable, trial = np.unique(data.trial, return_inverse=True)
    return TrialWindows(data.windows, trial, data.labels[usable]), usable


def train_candidates(
    data: RecordedTrials,
    n_classes: int,
    candidates: Sequence[Candidate],
    folds: Sequence[Fold],
    *,
    final: bool = True,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Fitted]:
    """Train every candidate on every fold and, with ``final``, on all trials; progress counts epochs."""
    windows, usable = trial_windows(data)
    # The same arrays for all candidates: joblib maps each of them once.
    parts = [(np.flatnonzero(np.isin(usable, fold.train)), _test_windows(data, fold)) for fold in folds]
    jobs: list[Job] = []
    for candidate in candidates:
        for member in range(candidate.members):
            recipe = replace(candidate.recipe, seed=candidate.recipe.seed + member)
            jobs += [Job(part, recipe, candidate.network_arguments, test) for part, test in parts]
            if final:
                jobs.append(Job(np.arange(len(usable)), recipe, candidate.network_arguments))
    trained = iter(run_jobs(windows, n_classes, jobs, workers=workers, progress=progress))
    fitted = []
    for candidate in candidates:
        members, networks = [], []
        for _ in range(candidate.members):
            members.append([next(trained) for _ in folds])
            if final:
                networks.append(next(trained))
        by_fold = [[member[i] for member in members] for i in range(len(folds))]
        logits = [np.mean([one.logits for one in fold], axis=0) for fold in by_fold]
        fitted.append(Fitted(networks, _assemble(data, n_classes, folds, logits) if folds else None, by_fold))
    return fitted


def fit_baseline(data: RecordedTrials, n_classes: int, trials: NDArray[np.intp] | None = None) -> TangentSpaceNetwork:
    """Fit the tangent-space baseline to the windows of some trials, each trial weighted equally."""
    from mindwire_models.network.riemann import fit_tangent_space

    chosen = np.ones(len(data.trial), dtype=bool) if trials is None else np.isin(data.trial, trials)
    trial = data.trial[chosen]
    weights = 1 / np.bincount(trial, minlength=len(data.labels))[trial]
    return fit_tangent_space(data.windows[chosen], data.labels[trial], n_classes, weights=weights)


def validate_baseline(data: RecordedTrials, n_classes: int, folds: Sequence[Fold]) -> HeldOut:
    """Return the baseline's logits of held-out trials, on the same windows and folds as the network."""
    by_fold = [
        fit_baseline(data, n_classes, fold.train).logits(_test_windows(data, fold)).astype(np.float64) for fold in folds
    ]
    return _assemble(data, n_classes, folds, by_fold)


def _test_masks(data: RecordedTrials, fold: Fold) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    return np.isin(data.trial, fold.test), np.isin(data.decided, fold.test)


def _test_windows(data: RecordedTrials, fold: Fold) -> NDArray[np.float32]:
    windows, deciding = _test_masks(data, fold)
    return np.concatenate([data.windows[windows], data.deciding[deciding]])


def _assemble(
    data: RecordedTrials, n_classes: int, folds: Sequence[Fold], by_fold: Sequence[NDArray[np.floating[Any]]]
) -> HeldOut:
    """Arrange the folds' logits in the order of the data."""
    held_out = HeldOut(np.zeros((len(data.decided), n_classes)), np.zeros((len(data.trial), n_classes)))
    for fold, logits in zip(folds, by_fold, strict=True):
        windows, deciding = _test_masks(data, fold)
        split = int(windows.sum())
        held_out.windows[windows], held_out.deciding[deciding] = logits[:split], logits[split:]
    return held_out


def validate(data: RecordedTrials, held_out: HeldOut, n_classes: int, at_s: float) -> Validation:
    """Score held-out trials, decided ``at_s`` seconds after the cue, with probabilities at the fitted temperature."""
    from mindwire_models.training.fit import fit_temperature

    temperature = fit_temperature(held_out.windows, data.labels[data.trial])
    probabilities = softmax(held_out.deciding / temperature, axis=1)

    def scored(trials: NDArray[np.bool_]) -> Score:
        chosen = trials[data.decided]
        n_undecided = int(trials.sum() - chosen.sum())
        decisions = Decisions(
            true=data.labels[data.decided[chosen]],
            probabilities=probabilities[chosen],
            undecided={MISSING: n_undecided} if n_undecided else {},
            n_undecided=n_undecided,
        )
        return score(decisions, accuracy_curve([]), n_classes, at_s)

    recordings = [scored(data.recording == index) for index in range(int(data.recording.max()) + 1)]
    return Validation(scored(np.ones(len(data.labels), dtype=bool)), recordings, temperature)
