"""Tuning of a control policy to a budget of false activations, on whole recordings.

Every combination of contrast, prior, refractory time and commit threshold runs through all recordings; the rest is what
was best in other people (docs/control.md), because a choice among hundreds is mostly luck. Allowed are those whose
count of false activations keeps the exact one-sided 95 % bound of their rate within the budget; where not even none
would, the recorded rest cannot prove the budget and only policies without any are allowed. Of these the one with the most
right trials less those with a wrong class first is chosen, averaged over its threshold and the two next to it: a
plateau repeats on other recordings, a peak may be luck. The bound holds for a policy that is fixed beforehand; of many
the chosen one was also a lucky one, so its own count is too low as a forecast. Therefore what such a choice is worth is
estimated with each recording left out in turn: chosen on the others, counted on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mindwire.control.policy import ControlPolicy, FrontierPoint, Tuning
from mindwire.control.stages import Axis, Decide, EstimatedPrior, Evidence, Leaky
from mindwire.errors import ArgumentError
from mindwire.evaluation.control import ControlRun, ControlTask, Counts, control_counts, raw_argmax, within
from mindwire.evaluation.metrics import poisson_bound, poisson_interval
from mindwire_models.text import counted

_PRIORS = (None, EstimatedPrior(time_constant_s=60.0))
EVIDENCE: tuple[Evidence, ...] = tuple(
    Leaky(time_constant_s=0.2, contrast=contrast, prior=prior) for contrast in (0.0, 0.25) for prior in _PRIORS
)
DWELL_S = 0.0
REFRACTORY_S = 1.5, 2.5
_QUANTILES = np.linspace(0.02, 0.98, 16)
_RELEASE = 0.5  # Of the way from chance to the commit threshold.
_MARGIN = 3  # The frontier ends at this many times the false activations of the raw argmax.
_POINTS = 60


def allowed(budget_per_minute: float, minutes: float) -> int | None:
    """Return the most false activations whose bound is within a budget, None if not even none proves it."""
    if poisson_bound(0, minutes) > budget_per_minute:
        return None
    count = 0
    while poisson_bound(count + 1, minutes) <= budget_per_minute:
        count += 1
    return count


@dataclass(frozen=True, slots=True)
class TunedPolicy:
    """Result of a tuning.

    Parameters
    ----------
    policy : ControlPolicy
        With its frontier.
    counts : Counts
        On the recordings that it was tuned on.
    held_out : Counts
        Of policies chosen without the recording that they are counted on; of recordings without which there is no rest
        or no trial nothing is counted.
    raw : Counts
        Of the raw argmax.
    """

    policy: ControlPolicy
    counts: Counts
    held_out: Counts
    raw: Counts

    @property
    def tuning(self) -> Tuning:
        """Origin of the policy."""
        return cast(Tuning, self.policy.tuning)

    @property
    def provable(self) -> bool:
        """True if the recorded rest proves the budget."""
        return self.tuning.proven_per_minute <= self.tuning.budget_per_minute

    @property
    def statement(self) -> str:
        """Sentences on the false activations that were counted and the rates that they prove and promise."""
        tuning, counts = self.tuning, self.counts
        budget, minutes = tuning.budget_per_minute, counts.rest_minutes
        text = f"Budget {budget:g} a minute: {_rest(counts)}"
        if not self.held_out.rest_s:
            text += f", which for a policy fixed beforehand proves at most {tuning.proven_per_minute:.2f} a minute (95 %); this one was chosen on the same rest, and no other recording shows its rate."
        else:
            low, high = poisson_interval(self.held_out.false_activations, self.held_out.rest_minutes)
            text += (
                f"; chosen with each recording left out in turn, {_rest(self.held_out)}: expect {low:.2f} to {high:.2f} a minute "
                f"(95 %), proven is at most {tuning.proven_per_minute:.2f}."
            )
        if poisson_bound(0, minutes) > budget:
            text += (
                f" {minutes:.1f} minutes of rest cannot prove this budget: not one false activation in them proves at most "
                f"{poisson_bound(0, minutes):.2f} a minute, and {poisson_bound(0, 1) / budget:.1f} minutes without one are needed."
            )
        elif not self.provable:
            text += " The budget is not proven; record more rest, or allow more."
        return text


def _rest(counts: Counts) -> str:
    return f"{counted(counts.false_activations, 'false activation')} in {counts.rest_minutes:.1f} minutes of rest"


def strongest(runs: Sequence[ControlRun], evidence: Evidence, task: ControlTask) -> list[float]:
    """Return the largest posterior in each trial of a class that leads, other than idle; without decisions."""
    never = ControlPolicy(evidence=evidence, decide=Decide(commit=1.0, release=1.0, reset=False), idle=task.idle)
    peaks: list[float] = []
    for run in runs:
        posterior = np.array([output.evidence for output in run.outputs(never, task)])
        leads = posterior.argmax(axis=1) != (task.classes.index(task.idle) if task.idle else -1)
        valid = np.array([row is not None for _, row in run.predictions])
        top = np.where(valid & leads, posterior.max(axis=1), 0.0)
        times = np.array([time for time, _ in run.predictions])
        peaks += [float(top[within(times, trial.cue, trial.end)].max(initial=0.0)) for trial in run.trials]
    return [peak for peak in peaks if peak > 0]


@dataclass(frozen=True, slots=True)
class PolicySearch:
    """All policies of the grid on some recordings.

    Parameters
    ----------
    runs, task
        As of :func:`tune`.
    policies : tuple of ControlPolicy
    counts : tuple of tuple of Counts
        Of each policy on each recording.
    merit : ndarray, shape (n_policies, n_runs)
        Right trials less those with a wrong class first, averaged over neighbouring thresholds.
    raw : tuple of Counts
        Of the raw argmax on each recording.
    """

    runs: Sequence[ControlRun]
    task: ControlTask
    policies: tuple[ControlPolicy, ...]
    counts: tuple[tuple[Counts, ...], ...]
    merit: NDArray[np.float64]
    raw: tuple[Counts, ...]

    @classmethod
    def of(cls, runs: Sequence[ControlRun], task: ControlTask) -> PolicySearch:
        """Run all policies through recordings.

        Raises
        ------
        ArgumentError
            There is no rest, or no trial, or no class ever leads.
        """
        raw = tuple(control_counts(runs, raw_argmax(task.idle), task))
        total = sum(raw, Counts())
        if not total.rest_s or not total.trials:
            lacking = "rest with a valid prediction" if not total.rest_s else "trial of a class other than idle"
            msg = f"Tuning needs both rest and trials, and the recordings have no {lacking}; name recordings of rest with --rest."
            raise ArgumentError(msg)
        policies: list[ControlPolicy] = []
        counts: list[tuple[Counts, ...]] = []
        merits = []
        for evidence in EVIDENCE:
            peaks = strongest(runs, evidence, task)
            if not peaks:
                continue
            thresholds = np.unique(np.quantile(peaks, _QUANTILES).round(4)).tolist()
            for refractory_s in REFRACTORY_S:
                group = [_policy(evidence, commit, refractory_s, task) for commit in thresholds]
                found = [tuple(control_counts(runs, policy, task)) for policy in group]
                policies += group
                counts += found
                merits.append(_smoothed(np.array([[_worth(one) for one in row] for row in found])))
        if not policies:
            msg = "Tuning found no trial in which a class leads other than idle; check the markers and the model with `mindwire evaluate`."
            raise ArgumentError(msg)
        return cls(runs, task, tuple(policies), tuple(counts), np.concatenate(merits), raw)

    def best(self, most: int, leave_out: int | None = None) -> int:
        """Return the index of the best policy with at most ``most`` false activations, or of those with the fewest."""
        kept = [i for i in range(len(self.runs)) if i != leave_out]
        totals = [sum((row[i] for i in kept), Counts()) for row in self.counts]
        most = max(most, min(total.false_activations for total in totals))
        merits = self.merit[:, kept].sum(axis=1).tolist()
        within_limit = [i for i, total in enumerate(totals) if total.false_activations <= most]

        def rank(i: int) -> tuple[float, ...]:
            total = totals[i]
            return -merits[i], total.false_activations, sum(total.seconds) / max(total.right, 1)

        return min(within_limit, key=rank)

    def tuned(self, budget_per_minute: float) -> TunedPolicy:
        """Return the best policy within a budget, with its frontier."""
        rests = [one.rest_s / 60 for one in self.raw]
        most = allowed(budget_per_minute, sum(rests)) or 0
        best = self.best(most)
        chosen, counts = self.policies[best], sum(self.counts[best], Counts())
        held_out = Counts()
        for i in range(len(self.runs)):
            others = sum(self.raw[:i] + self.raw[i + 1 :], Counts())
            if others.rest_s and others.trials:
                without = self.best(allowed(budget_per_minute, others.rest_minutes) or 0, leave_out=i)
                held_out += self.counts[without][i]
        forecast = held_out if held_out.rest_s else counts
        tuning = Tuning(
            budget_per_minute=budget_per_minute,
            proven_per_minute=poisson_bound(forecast.false_activations, forecast.rest_minutes),
            rest_minutes=counts.rest_minutes,
            trials=counts.trials,
            frontier=self._frontier(most),
            recordings=tuple(run.sha256 for run in self.runs if run.sha256),
        )
        axes = default_axes(self.task.classes, self.task.idle)
        policy = chosen.model_copy(update={"axes": axes, "tuning": tuning})
        return TunedPolicy(policy, counts, held_out, sum(self.raw, Counts()))

    def like_raw(self) -> ControlPolicy:
        """Return the best policy with at most as many false activations as the raw argmax."""
        return self.policies[self.best(sum(self.raw, Counts()).false_activations)]

    def _frontier(self, chosen: int) -> tuple[FrontierPoint, ...]:
        """Return the best policies for ascending numbers of false activations: the chosen one, and those that gain by them."""
        limit = max(10, _MARGIN * sum(self.raw, Counts()).false_activations)
        numbers = {*np.linspace(0, limit, _POINTS).astype(int).tolist(), chosen}
        totals = [sum(row, Counts()) for row in self.counts]
        kept: list[int] = []
        for i in sorted(
            {self.best(number) for number in numbers}, key=lambda i: (totals[i].false_activations, -_worth(totals[i]))
        ):
            if i == self.best(chosen) or not kept or _worth(totals[i]) > max(_worth(totals[k]) for k in kept):
                kept.append(i)
        return tuple(
            FrontierPoint(
                false_per_minute=totals[i].false_activations / totals[i].rest_minutes,
                right=totals[i].right,
                wrong_first=totals[i].wrong_first,
                evidence=self.policies[i].evidence,
                decide=self.policies[i].decide,
            )
            for i in kept
        )


def _worth(counts: Counts) -> int:
    return counts.right - counts.wrong_first


def _policy(evidence: Evidence, commit: float, refractory_s: float, task: ControlTask) -> ControlPolicy:
    """Return a policy that releases a class at ``_RELEASE`` of the way from chance to its commit threshold."""
    chance = min(1 / len(task.classes), commit)
    release = round(chance + _RELEASE * (commit - chance), 4)
    decide = Decide(commit=commit, release=release, dwell_s=DWELL_S, refractory_s=refractory_s)
    return ControlPolicy(evidence=evidence, decide=decide, idle=task.idle)


def _smoothed(merit: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean of each threshold's merit and its neighbours', ``(n_thresholds, n_runs)``."""
    padded = np.pad(merit, ((1, 1), (0, 0)), mode="edge")
    smooth: NDArray[np.float64] = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return smooth


def default_axes(classes: Sequence[str], idle: str | None) -> tuple[Axis, ...]:
    """Return the axes that the names of the classes suggest: left against right, feet against tongue."""
    axes = []
    for name, low, high in (("x", "left", "right"), ("y", "feet", "tongue")):
        pair = [next((c for c in classes if c != idle and c.casefold().startswith(w)), None) for w in (low, high)]
        if pair[0] and pair[1]:
            axes.append(Axis(name=name, positive=pair[1], negative=pair[0]))
    return tuple(axes)


def tune(runs: Sequence[ControlRun], task: ControlTask, *, budget_per_minute: float) -> TunedPolicy:
    """Search the policy with the most right activations within a budget of false ones.

    Parameters
    ----------
    runs : sequence of ControlRun
    task : ControlTask
    budget_per_minute : float

    Raises
    ------
    ArgumentError
        There is no rest, or no trial, or no class ever leads.
    """
    return PolicySearch.of(runs, task).tuned(budget_per_minute)
