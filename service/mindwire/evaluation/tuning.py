"""Tuning of a control policy to a budget of false activations, on whole recordings.

Every combination of evidence, dwell, refractory time and commit threshold runs through all recordings. Allowed are those
whose count of false activations keeps the exact one-sided 95 % bound of their rate within the budget; where not even
none would, the recorded rest cannot prove the budget and only policies without any are allowed. Of these the one with
the most right trials less wrong ones is chosen. The bound holds for a policy that is fixed beforehand; of many the chosen one
was also a lucky one, so its own count is too low as a forecast. What such a choice is worth is estimated with each
recording left out in turn: chosen on the others, counted on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from joblib import Parallel, delayed

from mindwire.control.evidence import accumulator
from mindwire.control.policy import ControlPolicy, FrontierPoint, Tuning
from mindwire.control.stages import Axis, Decide, EstimatedPrior, Evidence, HiddenMarkov, Leaky
from mindwire.errors import ArgumentError
from mindwire.evaluation.control import ControlRun, ControlTask, Counts, control_counts, raw_argmax, within
from mindwire.evaluation.metrics import poisson_bound

_BIAS = EstimatedPrior(time_constant_s=60.0)
EVIDENCE: tuple[Evidence, ...] = (
    Leaky(time_constant_s=0.3),
    Leaky(time_constant_s=0.3, prior=_BIAS),
    Leaky(time_constant_s=1.0),
    Leaky(time_constant_s=1.0, prior=_BIAS),
    Leaky(time_constant_s=2.0, prior=_BIAS),
    HiddenMarkov(idle_s=5.0, active_s=1.0),
)
DWELL_S = (0.0, 0.5)
REFRACTORY_S = (1.0, 2.5)
_QUANTILES = np.linspace(0.05, 0.98, 12)
_RELEASE = 0.8  # Of the commit threshold.
_MARGIN = 3.0  # Thresholds are not lowered further at this many times the rate of the raw argmax.


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy and its counts on each recording."""

    policy: ControlPolicy
    counts: tuple[Counts, ...]

    def total(self, leave_out: int | None = None) -> Counts:
        """Return the sum over the recordings, without one of them."""
        return sum((one for i, one in enumerate(self.counts) if i != leave_out), Counts())


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
    provable : bool
        True if the recorded rest proves the budget.
    """

    policy: ControlPolicy
    counts: Counts
    held_out: Counts
    raw: Counts
    provable: bool


def allowed(budget_per_minute: float, minutes: float) -> int | None:
    """Return the most false activations whose bound is within a budget, None if not even none proves it."""
    if poisson_bound(0, minutes) > budget_per_minute:
        return None
    count = 0
    while poisson_bound(count + 1, minutes) <= budget_per_minute:
        count += 1
    return count


def _merit(counts: Counts) -> tuple[float, ...]:
    median = float(np.median(counts.seconds)) if counts.seconds else math.inf
    return counts.right - counts.wrong_first, -counts.false_activations, -median


def choose(candidates: Sequence[Candidate], budget_per_minute: float, leave_out: int | None = None) -> Candidate:
    """Return the candidate with the most right trials less wrong ones within a budget; see the module."""
    totals = [(candidate, candidate.total(leave_out)) for candidate in candidates]
    most = allowed(budget_per_minute, totals[0][1].rest_minutes) or 0
    fewest = min(counts.false_activations for _, counts in totals)
    affordable = [pair for pair in totals if pair[1].false_activations <= max(most, fewest)]
    return max(affordable, key=lambda pair: _merit(pair[1]))[0]


def _held_out(candidates: Sequence[Candidate], budget_per_minute: float) -> Counts:
    """Return the counts on each recording of the policy chosen on the others, where these have both rest and trials."""
    total = Counts()
    for i in range(len(candidates[0].counts)):
        others = candidates[0].total(i)
        if others.rest_s and others.trials:
            total += choose(candidates, budget_per_minute, i).counts[i]
    return total


def frontier(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that no other one equals with fewer or as many false activations, ascending."""
    best: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.total().false_activations, *(-m for m in _merit(c.total())))):
        if not best or _merit(candidate.total())[0] > _merit(best[-1].total())[0]:
            best.append(candidate)
    return best


def _strongest(run: ControlRun, evidence: Evidence, task: ControlTask) -> list[float]:
    """Return the largest posterior of a class other than idle in each trial and time of rest, without decisions."""
    accumulated = accumulator(ControlPolicy(evidence=evidence, idle=task.idle), task.classes, task.window_s)
    columns = [i for i, name in enumerate(task.classes) if name != task.idle]
    times, tops, previous = [], [], None
    for time, row in run.predictions:
        elapsed = task.hop_s if previous is None or time <= previous else time - previous
        posterior = accumulated.update(row, elapsed)
        previous = time
        times.append(time)
        tops.append(max(posterior[i] for i in columns) if row is not None else 0.0)
    spans = [*run.rest, *((trial.cue, trial.end) for trial in run.trials)]
    at, top = np.array(times), np.array(tops)
    return [float(top[inside].max()) for span in spans if len(inside := within(at, *span))]


def _candidates(runs: Sequence[ControlRun], evidence: Evidence, task: ControlTask, limit: int) -> list[Candidate]:
    """Return the candidates with one kind of evidence."""
    strongest = [value for run in runs for value in _strongest(run, evidence, task) if value > 0]
    thresholds = sorted({round(float(q), 4) for q in np.quantile(strongest, _QUANTILES)}, reverse=True)
    found = []
    for dwell, refractory in product(DWELL_S, REFRACTORY_S):
        for commit in thresholds:
            decide = Decide(commit=commit, release=_RELEASE * commit, dwell_s=dwell, refractory_s=refractory)
            policy = ControlPolicy(evidence=evidence, decide=decide, idle=task.idle)
            candidate = Candidate(policy, tuple(control_counts(runs, policy, task)))
            found.append(candidate)
            if candidate.total().false_activations > limit:
                break
    return found


def default_axes(classes: Sequence[str], idle: str | None) -> tuple[Axis, ...]:
    """Return the axes that the names of the classes suggest: left against right, feet against tongue."""
    axes = []
    for name, low, high in (("x", "left", "right"), ("y", "feet", "tongue")):
        pair = [next((c for c in classes if c != idle and c.casefold().startswith(w)), None) for w in (low, high)]
        if pair[0] and pair[1]:
            axes.append(Axis(name=name, positive=pair[1], negative=pair[0]))
    return tuple(axes)


def tune(
    runs: Sequence[ControlRun],
    task: ControlTask,
    *,
    budget_per_minute: float,
    workers: int | None = None,
) -> TunedPolicy:
    """Search the policy with the most right activations within a budget of false ones.

    Parameters
    ----------
    runs : sequence of ControlRun
    task : ControlTask
    budget_per_minute : float
    workers : int or None
        Processes; None is one per core.

    Raises
    ------
    ArgumentError
        There is no rest, or no trial.
    """
    raw = sum(control_counts(runs, raw_argmax(task.idle), task), Counts())
    if not raw.rest_s or not raw.trials:
        lacking = "rest with a valid prediction" if not raw.rest_s else "trial of a class other than idle"
        msg = f"Tuning needs both rest and trials, and the recordings have no {lacking}; name recordings of rest with --rest."
        raise ArgumentError(msg)
    limit = max(10, round(_MARGIN * raw.false_activations))
    jobs = (delayed(_candidates)(runs, evidence, task, limit) for evidence in EVIDENCE)
    found = [candidate for some in Parallel(n_jobs=workers or -1)(jobs) for candidate in some]
    chosen = choose(found, budget_per_minute)
    counts, held_out = chosen.total(), _held_out(found, budget_per_minute)
    points = tuple(
        FrontierPoint(
            false_per_minute=total.false_activations / total.rest_minutes,
            right=total.right,
            wrong_first=total.wrong_first,
            evidence=candidate.policy.evidence,
            decide=candidate.policy.decide,
        )
        for candidate in frontier(found)
        for total in (candidate.total(),)
    )
    tuning = Tuning(
        budget_per_minute=budget_per_minute,
        proven_per_minute=poisson_bound(counts.false_activations, counts.rest_minutes),
        rest_minutes=counts.rest_minutes,
        trials=counts.trials,
        frontier=points,
    )
    policy = chosen.policy.model_copy(update={"axes": default_axes(task.classes, task.idle), "tuning": tuning})
    provable = tuning.proven_per_minute <= budget_per_minute
    return TunedPolicy(policy, counts, held_out, raw, provable)
