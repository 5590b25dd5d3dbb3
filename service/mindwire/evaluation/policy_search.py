"""Decisions of many policies at once: what a controller decides, on arrays of recordings × policies.

A grid of some hundred policies over eleven recordings takes 25 times as long with a :class:`Controller` for each. The
arithmetic is that of :mod:`mindwire.control`, the sums in another order, so posteriors agree to rounding errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.control.decide import hops
from mindwire.control.evidence import ClassPrior
from mindwire.control.stages import Decide, Evidence, HiddenMarkov, Leaky
from mindwire.errors import ArgumentError
from mindwire.evaluation.control import ControlRun, ControlTask, within

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_NONE = -1
_REST = -2


@dataclass(frozen=True, slots=True)
class Grid:
    """Predictions of several recordings as arrays, padded with invalid ones to the length of the longest.

    Parameters
    ----------
    probabilities : ndarray, shape (n_times, n_classes, n_runs)
    valid, restart, interrupted : ndarray of bool, shape (n_times, n_runs)
        True for valid predictions; for those that the clock was set back before; for those that do not continue the one before.
    elapsed_s : ndarray, shape (n_times, n_runs)
        Since the previous prediction.
    place : ndarray of int, shape (n_times, n_runs)
        Trial that a prediction is in, counted over all recordings, or −1 for none and −2 for rest.
    since_cue_s : ndarray, shape (n_times, n_runs)
    labels, run_of : ndarray of int, shape (n_trials,)
        Class and recording of each trial.
    """

    probabilities: Floats
    valid: NDArray[np.bool_]
    restart: NDArray[np.bool_]
    interrupted: NDArray[np.bool_]
    elapsed_s: Floats
    place: Ints
    since_cue_s: Floats
    labels: Ints
    run_of: Ints

    @classmethod
    def of(cls, runs: Sequence[ControlRun], task: ControlTask) -> Grid:
        """Arrange the predictions of recordings."""
        n, k, r = max(len(run.predictions) for run in runs), len(task.classes), len(runs)
        uniform = np.full(k, 1 / k)
        probabilities, valid = np.full((n, k, r), 1 / k), np.zeros((n, r), dtype=bool)
        elapsed, place, since = np.full((n, r), task.hop_s), np.full((n, r), _NONE), np.zeros((n, r))
        labels: list[int] = []
        run_of: list[int] = []
        for i, run in enumerate(runs):
            m = len(run.predictions)
            times = np.array([time for time, _ in run.predictions])
            rows = np.array([uniform if row is None else row for _, row in run.predictions])
            probabilities[:m, :, i] = rows.reshape(m, k)
            valid[:m, i] = [row is not None for _, row in run.predictions]
            elapsed[1:m, i] = np.diff(times)
            for span in run.rest:
                place[within(times, *span), i] = _REST
            for trial in run.trials:
                inside = within(times, trial.cue, trial.end)
                place[inside, i], since[inside, i] = len(labels), times[inside] - trial.cue
                labels.append(task.classes.index(trial.label))
                run_of.append(i)
        restart = (elapsed <= 0) | (elapsed > max(task.window_s, 1.5 * task.hop_s))
        interrupted = (elapsed <= 0) | (elapsed > task.hop_s + task.window_s / 2)
        elapsed[restart] = task.hop_s
        return cls(
            probabilities,
            valid,
            restart,
            interrupted,
            elapsed,
            place,
            since,
            np.array(labels, dtype=int),
            np.array(run_of, dtype=int),
        )

    def log_ratios(self, evidence: Evidence, classes: Sequence[str]) -> Floats:
        """Return ``log(p / prior)`` as the policies see it, zero where invalid."""
        ratios = np.zeros_like(self.probabilities)
        for i in range(ratios.shape[2]):
            prior = ClassPrior(evidence.prior, classes)
            chosen = np.flatnonzero(self.valid[:, i])
            rows, elapsed = self.probabilities[chosen, :, i].tolist(), self.elapsed_s[chosen, i].tolist()
            if len(chosen):
                ratios[chosen, :, i] = [prior.log_ratios(row, dt) for row, dt in zip(rows, elapsed, strict=True)]
        return ratios


class _Leaky:
    """:class:`mindwire.control.evidence.LeakyEvidence` for many policies; arrays of classes × recordings × policies."""

    def __init__(self, options: Leaky, grid: Grid, task: ControlTask, n_policies: int) -> None:
        leak = 1 / options.time_constant_s if options.time_constant_s else 0.0
        rate = np.where(grid.valid, leak, max(leak, 1 / task.window_s))
        self._kept = np.exp(-grid.elapsed_s * rate)[..., None]
        weight = np.minimum(1, grid.elapsed_s / task.window_s)[:, None, :]
        self._added = (weight * grid.log_ratios(options, task.classes))[..., None]
        self.state = np.zeros((*grid.probabilities.shape[1:], n_policies))
        self.initial = np.zeros((len(task.classes), 1))

    def update(self, t: int) -> Floats:
        self.state *= self._kept[t]
        self.state += self._added[t]
        weights = np.exp(self.state - self.state.max(axis=0))
        posterior: Floats = weights / weights.sum(axis=0)
        return posterior


class _HiddenMarkov:
    """:class:`mindwire.control.evidence.HiddenMarkovEvidence` for many policies."""

    def __init__(self, options: HiddenMarkov, grid: Grid, task: ControlTask, n_policies: int) -> None:
        self._begin = -np.expm1(-grid.elapsed_s / options.idle_s)[..., None]
        self._end = -np.expm1(-grid.elapsed_s / options.active_s)[..., None]
        weight = np.minimum(1, grid.elapsed_s / task.window_s)[:, None, :]
        self._factor = np.exp(weight * grid.log_ratios(options, task.classes))[..., None]
        self._n_classes = len(task.classes)
        self._idle = self._n_classes if task.idle is None else task.classes.index(task.idle)
        n_states = self._n_classes + (task.idle is None)
        self.initial = np.zeros((n_states, 1))
        self.initial[self._idle] = 1.0
        self.state = np.zeros((n_states, grid.valid.shape[1], n_policies)) + self.initial[..., None]

    def update(self, t: int) -> Floats:
        idle, begin, end = self.state[self._idle].copy(), self._begin[t], self._end[t]
        self.state *= 1 - end
        self.state += idle * begin / (len(self.state) - 1)
        self.state[self._idle] = idle * (1 - begin) + (1 - idle) * end
        self.state[: self._n_classes] *= self._factor[t]
        self.state /= self.state.sum(axis=0)
        return self.state[: self._n_classes]


def _accumulator(evidence: Evidence, grid: Grid, task: ControlTask, n_policies: int) -> _Leaky | _HiddenMarkov:
    if isinstance(evidence, Leaky):
        return _Leaky(evidence, grid, task, n_policies)
    if isinstance(evidence, HiddenMarkov):
        return _HiddenMarkov(evidence, grid, task, n_policies)
    msg = f"Policies are searched with leaky or hidden Markov evidence, found {evidence.kind}."
    raise ArgumentError(msg)


def strongest(grid: Grid, evidence: Evidence, task: ControlTask) -> Floats:
    """Return the largest posterior in each trial of a class that leads, other than idle, sorted; without decisions."""
    accumulated = _accumulator(evidence, grid, task, 1)
    idle = _NONE if task.idle is None else task.classes.index(task.idle)
    top = np.zeros(grid.valid.shape)
    for t in range(len(top)):
        accumulated.state[:, grid.restart[t]] = accumulated.initial[..., None]
        posterior = accumulated.update(t)[..., 0]
        peak = posterior.max(axis=0)
        top[t] = np.where((posterior.argmax(axis=0) != idle) & (1 - posterior.sum(axis=0) <= peak), peak, 0)
    top[~grid.valid] = 0
    peaks = np.zeros(len(grid.labels))
    inside = grid.place >= 0
    np.maximum.at(peaks, grid.place[inside], top[inside])
    return np.sort(peaks[peaks > 0])


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of policies on recordings; arrays of policies × recordings.

    Parameters
    ----------
    false, right, wrong_first : ndarray of int
        Decisions at rest; trials with a right decision; with a first one of another class.
    seconds : ndarray of float
        Sum over the trials with a right decision of the time to the first one.
    """

    false: Ints
    right: Ints
    wrong_first: Ints
    seconds: Floats

    @classmethod
    def join(cls, parts: Sequence[Tally]) -> Tally:
        """Return the counts of several groups of policies as one."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))


def tally(grid: Grid, evidence: Evidence, choices: Sequence[Decide], task: ControlTask) -> Tally:
    """Count the decisions of policies with the same evidence, each with one commit and one release threshold for all classes.

    Parameters
    ----------
    grid : Grid
    evidence : Leaky or HiddenMarkov
    choices : sequence of Decide
    task : ControlTask

    Raises
    ------
    ArgumentError
        The evidence is of another kind.
    """
    steps, r, p, c = _decided(grid, evidence, choices, task)
    shape = (len(choices), grid.valid.shape[1])

    def added(chosen: NDArray[np.bool_] | Ints, weights: Floats | None = None) -> NDArray[Any]:
        cells = np.ravel_multi_index((p[chosen], r[chosen]), shape)
        return np.bincount(cells, weights, minlength=shape[0] * shape[1]).reshape(shape)

    place = grid.place[steps, r]
    in_trial = np.flatnonzero(place >= 0)
    right = grid.labels[place[in_trial]] == c[in_trial]
    trial = p[in_trial] * len(grid.labels) + place[in_trial]  # one number per policy and trial, in the order of time
    first = np.unique(trial, return_index=True)[1]
    reached = np.flatnonzero(right)
    first_right = in_trial[reached[np.unique(trial[reached], return_index=True)[1]]]
    return Tally(
        false=added(place == _REST).astype(int),
        right=added(first_right).astype(int),
        wrong_first=added(in_trial[first[~right[first]]]).astype(int),
        seconds=added(first_right, grid.since_cue_s[steps[first_right], r[first_right]]),
    )


def _decided(
    grid: Grid, evidence: Evidence, choices: Sequence[Decide], task: ControlTask
) -> tuple[Ints, Ints, Ints, Ints]:
    """Return the prediction, recording, policy and class of all decisions, in the order of time."""
    commit, release = np.array([choice.commit for choice in choices]), np.array([choice.release for choice in choices])
    dwell = np.array([hops(choice.dwell_s, task.hop_s) for choice in choices])
    refractory = np.array([hops(choice.refractory_s, task.hop_s) for choice in choices])
    reset = np.array([choice.reset for choice in choices])
    idle = _NONE if task.idle is None else task.classes.index(task.idle)
    accumulated = _accumulator(evidence, grid, task, len(choices))
    shape = (grid.valid.shape[1], len(choices))
    candidate, active = np.full(shape, _NONE), np.full(shape, _NONE)
    since, resting = np.zeros(shape, dtype=int), np.zeros(shape, dtype=int)
    found: list[tuple[Ints, ...]] = []
    for t in range(len(grid.valid)):
        if grid.restart[t].any():
            accumulated.state[:, grid.restart[t]] = accumulated.initial[..., None]
        posterior = accumulated.update(t)
        valid = grid.valid[t][:, None]
        top = posterior.argmax(axis=0)
        peak = posterior.max(axis=0)
        if grid.interrupted[t].any():
            candidate[grid.interrupted[t]] = active[grid.interrupted[t]] = _NONE
        if not reset.all():
            held = np.take_along_axis(posterior, np.maximum(active, 0)[None], axis=0)[0]
            active[(held < release) | ~valid] = _NONE
        wanted = valid & (peak >= commit) & (top != idle) & (top != active) & (1 - posterior.sum(axis=0) <= peak)
        since = np.where(wanted & (candidate == top), since, t)
        candidate = np.where(wanted, top, _NONE)
        decided = wanted & (t >= resting) & (t - since >= dwell)
        if decided.any():
            r, p = np.nonzero(decided)
            found.append((np.full(len(r), t), r, p, top[r, p]))
            resting[r, p] = t + refractory[p]
            candidate[r, p] = _NONE
            active[r, p] = np.where(reset[p], _NONE, top[r, p])
            r, p = r[reset[p]], p[reset[p]]
            accumulated.state[:, r, p] = accumulated.initial
    if not found:
        none = np.zeros(0, dtype=int)
        return none, none, none, none
    t_, r_, p_, c_ = (np.concatenate(part) for part in zip(*found, strict=True))
    return t_, r_, p_, c_
