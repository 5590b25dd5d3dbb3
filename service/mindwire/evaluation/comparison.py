"""Comparison of two models or control policies on the same recordings, decision by decision.

Trials and rest are the same for both, so trials are compared in pairs: of those that only one has right, half would be
either's if the two were equally good (exact test of McNemar). False activations are compared as two Poisson rates: given
their sum, the count of one is binomial with its share of the minutes (Przyborowski and Wilenski 1940).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel
from scipy import stats

from mindwire.control.policy import ControlPolicy
from mindwire.errors import UsageError
from mindwire.evaluation.control import ControlRun, ControlTask, count
from mindwire.evaluation.metrics import CONFIDENCE, cohens_kappa, confusion_matrix, restrict
from mindwire.evaluation.rest import RestTimes
from mindwire.evaluation.scores import EvaluatedRun
from mindwire.offline.trials import Trial
from mindwire.types import Decision

REST = "rest"
# Decisions of both within this time are two answers to the same signal.
TOGETHER_S = 1.0


@dataclass(frozen=True, slots=True)
class Side:
    """A model with a policy, and the recordings that it was run on: those with cues, then those of rest."""

    policy: ControlPolicy
    task: ControlTask
    cued: Sequence[EvaluatedRun]
    resting: Sequence[EvaluatedRun] = ()


class PairedTrials(BaseModel, frozen=True):
    """Trials in which something was the case for both, for one alone, for neither; p is of the exact test of McNemar."""

    both: int
    only_a: int
    only_b: int
    neither: int
    p_value: float

    @classmethod
    def of(cls, a: Sequence[bool], b: Sequence[bool]) -> Self:
        """Compare trial by trial."""
        pairs = list(zip(a, b, strict=True))
        only_a, only_b = pairs.count((True, False)), pairs.count((False, True))
        p = float(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0
        return cls(
            both=pairs.count((True, True)), only_a=only_a, only_b=only_b, neither=pairs.count((False, False)), p_value=p
        )


class ComparedRates(BaseModel, frozen=True):
    """False activations of both, the minutes of rest in which each had valid predictions, and the exact conditional test.

    ``ratio`` is the 95 % interval of the rate of A divided by that of B, without an upper end (None) where B has none.
    """

    n_a: int
    n_b: int
    minutes_a: float
    minutes_b: float
    ratio: tuple[float, float | None]
    p_value: float

    @classmethod
    def of(cls, n_a: int, minutes_a: float, n_b: int, minutes_b: float) -> Self:
        """Compare two counts; both have some minutes."""
        p, low, high = 1.0, 0.0, 1.0
        if n_a + n_b:
            test = stats.binomtest(n_a, n_a + n_b, minutes_a / (minutes_a + minutes_b))
            interval = test.proportion_ci(CONFIDENCE, method="exact")
            p, low, high = float(test.pvalue), float(interval.low), float(interval.high)
        scale = minutes_b / minutes_a
        ratio = (scale * low / (1 - low), scale * high / (1 - high) if high < 1 else None)
        return cls(n_a=n_a, n_b=n_b, minutes_a=minutes_a, minutes_b=minutes_b, ratio=ratio, p_value=p)


class Agreement(BaseModel, frozen=True):
    """Most probable class of both, over the classes they share, wherever both have a valid prediction."""

    classes: list[str]
    n_predictions: int
    n_equal: int
    kappa: float | None


class DecisionPair(BaseModel, frozen=True):
    """A decision of A and one of B up to a second apart in the same trial or rest, or a decision of one of them alone.

    ``trial`` is the class of the trial, ``rest``, or empty for a time that is neither; times are in seconds in the
    recording's clock, ``since_cue_s`` is that of the earlier one.
    """

    time: float
    recording: str
    trial: str
    since_cue_s: float | None
    a: str | None
    b: str | None
    time_a: float | None
    time_b: float | None

    @property
    def equal(self) -> bool:
        """True if both decided the same."""
        return self.a == self.b


class DecisionComparison(BaseModel, frozen=True):
    """Differences between two sides, on the trials of the classes that both decide."""

    classes: list[str]
    left_out: list[str]
    right: PairedTrials
    wrong_first: PairedTrials
    false_activations: ComparedRates | None
    agreement: Agreement | None
    decisions: list[DecisionPair]


@dataclass(frozen=True, slots=True)
class MatchedRuns:
    """Recordings of both sides with the same trials and the same rest."""

    classes: list[str]
    left_out: list[str]
    a: list[ControlRun]
    b: list[ControlRun]

    @classmethod
    def of(cls, a: Side, b: Side, rest: RestTimes) -> Self:
        """Give both sides the trials of the classes that both decide, and all rest.

        Raises
        ------
        UsageError
            They decide no class in common, or a marker stands for different classes.
        """
        ours, theirs = ([name for name in side.task.classes if name != side.task.idle] for side in (a, b))
        classes = [name for name in ours if name in theirs]
        if not classes:
            msg = f"A decides {', '.join(ours)} and B {', '.join(theirs)}; expected at least one class in common to compare by."
            raise UsageError(msg)
        idle = a.task.idle or b.task.idle
        trials = [_united(x, y, {a.task.idle, b.task.idle}, idle) for x, y in zip(a.cued, b.cued, strict=True)]
        # Rest between trials begins when neither's window holds anything of the trial before.
        task = replace(a.task, idle=idle, window_s=max(a.task.window_s, b.task.window_s))
        runs = []
        for side in (a, b):
            cued = [replace(run, trials=some) for run, some in zip(side.cued, trials, strict=True)]
            of_all = rest.control_runs(cued, side.resting, task)
            runs.append([replace(run, trials=[t for t in run.trials if t.label in classes]) for run in of_all])
        left_out = {t.label for some in trials for t in some} - {*classes, idle}
        return cls(classes, sorted(left_out), *runs)


def _united(a: EvaluatedRun, b: EvaluatedRun, idle: set[str | None], name: str | None) -> tuple[Trial, ...]:
    """Return the trials that either side knows, those of either's idle class under one name."""
    labels: dict[float, str] = {}
    for trial in (*a.trials, *b.trials):
        label = name if trial.label in idle and name is not None else trial.label
        if labels.setdefault(trial.cue, label) != label:
            msg = (
                f"{a.file}: the cue at {trial.cue:.3f} s stands for {labels[trial.cue]} with A and for {label} with B; "
                "say which with --markers LABEL=CLASS."
            )
            raise UsageError(msg)
    return tuple(Trial(cue, label) for cue, label in sorted(labels.items()))


def compare(a: Side, b: Side, runs: MatchedRuns) -> DecisionComparison:
    """Compare two sides on recordings that are matched."""
    made = [[(run, run.decisions(side.policy, side.task)) for run in some] for side, some in ((a, runs.a), (b, runs.b))]
    outcomes = [
        [count(replace(run, trials=[t], rest=()), found, side.task) for run, found in some for t in run.trials]
        for side, some in zip((a, b), made, strict=True)
    ]
    rested = [
        [count(replace(run, trials=()), found, side.task) for run, found in some]
        for side, some in zip((a, b), made, strict=True)
    ]
    (n_a, minutes_a), (n_b, minutes_b) = (
        (sum(one.false_activations for one in some), sum(one.rest_minutes for one in some)) for some in rested
    )
    return DecisionComparison(
        classes=runs.classes,
        left_out=runs.left_out,
        right=PairedTrials.of(*([bool(one.right) for one in some] for some in outcomes)),
        wrong_first=PairedTrials.of(*([bool(one.wrong_first) for one in some] for some in outcomes)),
        false_activations=ComparedRates.of(n_a, minutes_a, n_b, minutes_b) if minutes_a and minutes_b else None,
        agreement=_agreement(a, b),
        decisions=[pair for (run, x), (_, y) in zip(*made, strict=True) for pair in pair_decisions(run, x, y)],
    )


def pair_decisions(run: ControlRun, a: Sequence[Decision], b: Sequence[Decision]) -> Iterator[DecisionPair]:
    """Pair the decisions of one recording in the order of time, each with the next of the other side if it may be."""
    left, right = list(a), list(b)
    while left or right:
        x, y = (some[0] if some else None for some in (left, right))
        if x and y and not (_place(run, x.time) == _place(run, y.time) and abs(x.time - y.time) <= TOGETHER_S):
            x, y = (x, None) if x.time <= y.time else (None, y)
        del left[: x is not None], right[: y is not None]
        time = min(decision.time for decision in (x, y) if decision)
        trial, begin = _place(run, time)
        yield DecisionPair(
            time=time,
            recording=Path(run.file).name,
            trial=trial,
            since_cue_s=None if begin is None or trial == REST else time - begin,
            a=x.label if x else None,
            b=y.label if y else None,
            time_a=x.time if x else None,
            time_b=y.time if y else None,
        )


def _place(run: ControlRun, time: float) -> tuple[str, float | None]:
    """Return the class of the trial, or ``rest``, and its begin; of neither an empty text."""
    spans = [*((t.label, t.cue, t.end) for t in run.trials), *((REST, begin, end) for begin, end in run.rest)]
    return next(((name, begin) for name, begin, end in spans if begin < time <= end), ("", None))


def _agreement(a: Side, b: Side) -> Agreement | None:
    """Compare each valid prediction of A with the newest one of B; None for the same predictions or fewer than two classes."""
    classes = [name for name in a.task.classes if name in b.task.classes]
    runs_a, runs_b = [*a.cued, *a.resting], [*b.cued, *b.resting]
    if len(classes) < 2 or all(x.trace is y.trace for x, y in zip(runs_a, runs_b, strict=True)):
        return None
    columns = [[side.task.classes.index(name) for name in classes] for side in (a, b)]
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for x, y in zip((run.trace for run in runs_a), (run.trace for run in runs_b), strict=True):
        if not len(y.times):
            continue
        order = np.argsort(y.times, kind="stable")
        place = np.searchsorted(y.times, x.times + 1e-6, side="right", sorter=order) - 1
        newest = order[np.maximum(place, 0)]
        fresh = (place >= 0) & (x.times - y.times[newest] <= 1.5 * b.task.hop_s)
        both = np.flatnonzero(fresh & x.valid & y.valid[newest])
        tops = [
            restrict(rows, some).argmax(axis=1)
            for rows, some in ((x.probabilities[both], columns[0]), (y.probabilities[newest[both]], columns[1]))
        ]
        confusion += confusion_matrix(tops[0], tops[1], len(classes))
    total = int(confusion.sum())
    kappa = float(cohens_kappa(confusion)) if total else None
    return Agreement(classes=classes, n_predictions=total, n_equal=int(np.trace(confusion)), kappa=kappa)
