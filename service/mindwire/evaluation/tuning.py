"""Tuning of a control policy to a budget of false activations, on whole recordings.

Every combination of prior and commit threshold runs through all recordings; evidence, dwell and refractory time are those
that were best in other people (docs/control.md), because a choice among hundreds is mostly luck. Allowed are those whose count of false activations keeps the exact one-sided 95 % bound of their rate within the budget; where not even
none would, the recorded rest cannot prove the budget and only policies without any are allowed. Of these the one with
the most right trials less twice those with a wrong class first is chosen, averaged over its threshold and the two next to it: a plateau repeats on
other recordings, a peak may be luck. The bound holds for a policy that is fixed beforehand; of many the chosen one was
also a lucky one, so its own count is too low as a forecast. Therefore what such a choice is worth is estimated with
each recording left out in turn: chosen on the others, counted on it.
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
from mindwire.evaluation.control import ControlRun, ControlTask, Counts, control_counts, raw_argmax
from mindwire.evaluation.metrics import poisson_bound, poisson_interval
from mindwire.evaluation.policy_search import Grid, Tally, strongest, tally
from mindwire_models.text import counted

_PRIORS = (None, EstimatedPrior(time_constant_s=60.0))
EVIDENCE: tuple[Evidence, ...] = tuple(Leaky(time_constant_s=0.3, prior=prior) for prior in _PRIORS)
DWELL_S = 0.0
REFRACTORY_S = 2.5
_WRONG = 2  # Right trials that one with a wrong class first costs.
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


@dataclass(frozen=True, slots=True)
class PolicySearch:
    """All policies of the grid on some recordings.

    Parameters
    ----------
    runs, task
        As of :func:`tune`.
    policies : tuple of ControlPolicy
    found : Tally
        Their counts on each recording.
    merit : ndarray, shape (n_policies, n_runs)
        Right trials less twice those with a wrong class first, averaged over neighbouring thresholds.
    raw : tuple of Counts
        Of the raw argmax on each recording.
    """

    runs: Sequence[ControlRun]
    task: ControlTask
    policies: tuple[ControlPolicy, ...]
    found: Tally
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
        grid = Grid.of(runs, task)
        policies: list[ControlPolicy] = []
        tallies, merits = [], []
        for evidence in EVIDENCE:
            peaks = strongest(grid, evidence, task)
            if not len(peaks):
                continue
            thresholds = np.unique(np.quantile(peaks, _QUANTILES).round(4)).tolist()
            choices = [
                Decide(
                    commit=commit,
                    release=_release(commit, len(task.classes)),
                    dwell_s=DWELL_S,
                    refractory_s=REFRACTORY_S,
                )
                for commit in thresholds
            ]
            policies += [ControlPolicy(evidence=evidence, decide=choice, idle=task.idle) for choice in choices]
            tallies.append(tally(grid, evidence, choices, task))
            merits.append(_smoothed(tallies[-1].right - _WRONG * tallies[-1].wrong_first, len(thresholds)))
        if not tallies:
            msg = "Tuning found no trial in which a class leads other than idle; check the markers and the model with `mindwire evaluate`."
            raise ArgumentError(msg)
        return cls(runs, task, tuple(policies), Tally.join(tallies), np.concatenate(merits), raw)

    def best(self, most: int, leave_out: int | None = None) -> int:
        """Return the index of the best policy with at most ``most`` false activations, or of those with the fewest."""
        kept = np.arange(len(self.runs)) != leave_out
        false = self.found.false[:, kept].sum(axis=1)
        merit = np.where(false <= max(most, false.min()), self.merit[:, kept].sum(axis=1), -np.inf)
        right = np.maximum(self.found.right[:, kept].sum(axis=1), 1)
        seconds = self.found.seconds[:, kept].sum(axis=1) / right
        return int(np.lexsort((seconds, false, -merit))[0])

    def tuned(self, budget_per_minute: float) -> TunedPolicy:
        """Return the best policy within a budget, with its frontier."""
        rests = [one.rest_s / 60 for one in self.raw]
        most = allowed(budget_per_minute, sum(rests)) or 0
        chosen = self.policies[self.best(most)]
        counts = sum(control_counts(self.runs, chosen, self.task), Counts())
        held_out = Counts()
        for i, run in enumerate(self.runs):
            others = sum(self.raw[:i] + self.raw[i + 1 :], Counts())
            if others.rest_s and others.trials:
                without = self.best(allowed(budget_per_minute, others.rest_minutes) or 0, leave_out=i)
                held_out += control_counts([run], self.policies[without], self.task)[0]
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
        minutes, found = sum(self.raw, Counts()).rest_minutes, self.found
        worth = (found.right - _WRONG * found.wrong_first).sum(axis=1)
        kept: list[int] = []
        for i in sorted({self.best(number) for number in numbers}, key=lambda i: (found.false[i].sum(), -worth[i])):
            if i == self.best(chosen) or not kept or worth[i] > worth[kept].max():
                kept.append(i)
        return tuple(
            FrontierPoint(
                false_per_minute=int(found.false[i].sum()) / minutes,
                right=int(found.right[i].sum()),
                wrong_first=int(found.wrong_first[i].sum()),
                evidence=self.policies[i].evidence,
                decide=self.policies[i].decide,
            )
            for i in kept
        )


def _release(commit: float, n_classes: int) -> float:
    chance = min(1 / n_classes, commit)
    return round(chance + _RELEASE * (commit - chance), 4)


def _smoothed(merit: NDArray[np.int64], n_thresholds: int) -> NDArray[np.float64]:
    """Return the mean of each threshold's merit and its neighbours'."""
    groups = merit.reshape(-1, n_thresholds, merit.shape[1])
    padded = np.pad(groups, ((0, 0), (1, 1), (0, 0)), mode="edge")
    smooth: NDArray[np.float64] = (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]).reshape(merit.shape) / 3
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
