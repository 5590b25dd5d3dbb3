"""Evaluation of control: the decisions of a policy on whole recordings, counted in trials and at rest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from mindwire.control.controller import Controller
from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Decide, Latest
from mindwire.evaluation.metrics import itr_bits_per_decision, poisson_bound, poisson_interval, wilson_interval
from mindwire.evaluation.scores import EvaluatedRun
from mindwire.offline.trials import Trial
from mindwire.types import ControlOutput, Decision
from mindwire_models.contract import Contract

RAW_RULE = "a class other than idle that leads with 0.6 for 0.5 s, then 1 s refractory"
_CLOCK_TOLERANCE_S = 1e-6
Interval = tuple[float, float]


def raw_argmax(idle: str | None) -> ControlPolicy:
    """Return the rule that tuned policies are compared with, :data:`RAW_RULE`."""
    rule = Decide(commit=0.6, release=0.6, dwell_s=0.5, refractory_s=1.0)
    return ControlPolicy(evidence=Latest(), decide=rule, idle=idle)


@dataclass(frozen=True, slots=True)
class ControlTask:
    """Classes of a model, one of which may be idle; its window and hop and the recordings' trials in seconds."""

    classes: tuple[str, ...]
    idle: str | None
    window_s: float
    hop_s: float
    trial_s: float

    @classmethod
    def of(cls, contract: Contract, idle: str | None, trial_s: float) -> Self:
        """Return the task of a model with a contract."""
        window_s, hop_s = contract.window_samples / contract.sfreq, contract.hop_samples / contract.sfreq
        return cls(contract.classes, idle, window_s, hop_s, trial_s)

    @property
    def n_commands(self) -> int:
        """Number of classes that can be decided."""
        return sum(name != self.idle for name in self.classes)


@dataclass(frozen=True, slots=True)
class CuedTrial:
    """A trial from its cue to its end, in seconds, which is that of its length or the next cue."""

    cue: float
    end: float
    label: str


@dataclass(frozen=True, slots=True)
class ControlRun:
    """One recording as a policy meets it.

    Parameters
    ----------
    file : str
    predictions : sequence of (float, sequence of float or None)
        Time in seconds and probabilities of each, None where invalid.
    trials : sequence of CuedTrial
        Of the classes that ask for something.
    rest : sequence of (float, float)
        Begin and end of each time in which the person asks for nothing, in seconds; they do not overlap.
    sha256 : str
        Of the recording, empty where it is not known.
    """

    file: str
    predictions: Sequence[tuple[float, Sequence[float] | None]]
    trials: Sequence[CuedTrial]
    rest: Sequence[Interval]
    sha256: str = ""

    @classmethod
    def of(
        cls,
        run: EvaluatedRun,
        task: ControlTask,
        *,
        between: bool = False,
        whole: bool = False,
        ranges: Iterable[Interval] = (),
    ) -> Self:
        """Return a recording that has been run as predictions, trials and rest, on which policies are counted.

        Parameters
        ----------
        run : EvaluatedRun
        task : ControlTask
            Trials of its idle class are rest.
        between : bool
            The time between trials is rest too; see :func:`time_between`.
        whole : bool
            All of the recording is rest, whatever its cues.
        ranges : iterable of (float, float)
            Further rest in seconds, apart from what of it is in a trial.
        """
        trace = run.trace
        rows = [
            (time, row if valid else None)
            for time, row, valid in zip(
                trace.times.tolist(), trace.probabilities.tolist(), trace.valid.tolist(), strict=True
            )
        ]
        if whole:
            return cls(run.file, rows, (), [(-math.inf, math.inf)], run.sha256)
        trials = _cued(run.trials, task.trial_s)
        rest = [(trial.cue, trial.end) for trial in trials if trial.label == task.idle]
        if between:
            rest += time_between(run.trials, task)
        asked = [trial for trial in trials if trial.label != task.idle]
        return cls(run.file, rows, asked, _separate([*rest, *ranges], asked), run.sha256)

    def outputs(self, policy: ControlPolicy, task: ControlTask) -> list[ControlOutput]:
        """Return a policy's output for each prediction; it runs through the whole recording."""
        controller = Controller(policy, task.classes, task.window_s, task.hop_s)
        outputs = [controller.update(seq, time, row) for seq, (time, row) in enumerate(self.predictions)]
        return [output for output in outputs if output is not None]

    def decisions(self, policy: ControlPolicy, task: ControlTask) -> list[Decision]:
        """Return the decisions of a policy; the idle class asks for nothing."""
        made = [output.decision for output in self.outputs(policy, task) if output.decision is not None]
        return [decision for decision in made if decision.label != task.idle]


def _cued(trials: Iterable[Trial], trial_s: float) -> list[CuedTrial]:
    """Return trials in the order of their cues; one that the next cue comes into ends there."""
    ordered = sorted(trials, key=lambda trial: trial.cue)
    limits = [*(trial.cue for trial in ordered[1:]), math.inf]
    return [
        CuedTrial(trial.cue, min(trial.cue + trial_s, limit), trial.label)
        for trial, limit in zip(ordered, limits, strict=False)
    ]


def time_between(trials: Iterable[Trial], task: ControlTask) -> list[Interval]:
    """Return the times between trials whose windows hold nothing of the trial before: a later decision on that is no false one."""
    pairs = pairwise(_cued(trials, task.trial_s))
    spans = [(trial.end + task.window_s, following.cue) for trial, following in pairs]
    return [(begin, end) for begin, end in spans if begin < end]


def _separate(spans: Iterable[Interval], trials: Iterable[CuedTrial]) -> list[Interval]:
    """Return times merged where they overlap, without the trials in them."""
    merged: list[Interval] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    for trial in trials:
        parts = [[(begin, min(end, trial.cue)), (max(begin, trial.end), end)] for begin, end in merged]
        merged = [(begin, end) for pair in parts for begin, end in pair if end > begin]
    return merged


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts over some recordings, which may be added.

    Parameters
    ----------
    rest_s : float
        Rest with valid predictions in seconds.
    false_activations : int
        Decisions at rest.
    trials, decided, right, wrong_first, wrong : int
        Trials; those with a decision; with a right one; with a first one of another class; decisions of another class.
    by_chance : float
        Trials expected to have a right decision if decisions had nothing to do with the classes: the mean over all
        exchanges of the classes among the trials of a recording.
    undecided_s, trials_s : float
        Time of trials before their first decision, and of all trials, in seconds.
    seconds : tuple of float
        From the cue to the first right decision.
    """

    rest_s: float = 0.0
    false_activations: int = 0
    trials: int = 0
    decided: int = 0
    right: int = 0
    wrong_first: int = 0
    wrong: int = 0
    by_chance: float = 0.0
    undecided_s: float = 0.0
    trials_s: float = 0.0
    seconds: tuple[float, ...] = field(default=())

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def rest_minutes(self) -> float:
        """Minutes of rest with valid predictions."""
        return self.rest_s / 60


def within(times: np.ndarray, begin: float, end: float) -> np.ndarray:
    """Return the indices of times after a begin, up to and including an end.

    A window that ends at a cue holds nothing of the trial, and one that ends with the trial is all of it.
    """
    found: np.ndarray = np.flatnonzero((times > begin + _CLOCK_TOLERANCE_S) & (times <= end + _CLOCK_TOLERANCE_S))
    return found


def count(run: ControlRun, decisions: Sequence[Decision], task: ControlTask) -> Counts:
    """Count the decisions of one recording in its trials and at rest."""
    times = np.array([decision.time for decision in decisions])
    valid = np.array([time for time, row in run.predictions if row is not None])
    rest_s = sum(len(within(valid, *span)) for span in run.rest) * task.hop_s
    total = Counts(rest_s, sum(len(within(times, *span)) for span in run.rest))
    labels = Counter(trial.label for trial in run.trials)
    for trial in run.trials:
        made = [decisions[i] for i in within(times, trial.cue, trial.end)]
        right = [decision.time - trial.cue for decision in made if decision.label == trial.label]
        length = trial.end - trial.cue
        total += Counts(
            trials=1,
            decided=bool(made),
            right=bool(right),
            wrong_first=bool(made) and made[0].label != trial.label,
            wrong=len(made) - len(right),
            by_chance=sum(labels[name] for name in {decision.label for decision in made}) / len(run.trials),
            undecided_s=made[0].time - trial.cue if made else length,
            trials_s=length,
            seconds=tuple(right[:1]),
        )
    return total


class ControlFigures(BaseModel):
    """Figures of a policy.

    Intervals are of 95 %, ``false_bound`` is the one-sided 95 % bound of the rate; all three are None without rest.
    Times are in seconds from the cue to the first right decision, over the trials that have one. The transfer rate is
    Wolpaw's for the first decision of each trial, over the time until then.
    """

    model_config = ConfigDict(frozen=True)

    rest_minutes: float
    false_activations: int
    false_per_minute: float | None
    false_interval: Interval | None
    false_bound: float | None
    n_trials: int
    n_decided: int
    n_right: int
    right_interval: Interval
    right_by_chance: float
    n_wrong_first: int
    n_wrong: int
    median_s: float | None
    p90_s: float | None
    undecided_share: float | None
    itr_bits_per_minute: float | None

    @classmethod
    def of(cls, counts: Counts, n_commands: int) -> Self:
        """Return the figures of counts; ``n_commands`` classes can be decided."""
        minutes, seconds, n_false = counts.rest_minutes, counts.seconds, counts.false_activations
        return cls(
            rest_minutes=minutes,
            false_activations=n_false,
            false_per_minute=n_false / minutes if minutes else None,
            false_interval=poisson_interval(n_false, minutes) if minutes else None,
            false_bound=poisson_bound(n_false, minutes) if minutes else None,
            n_trials=counts.trials,
            n_decided=counts.decided,
            n_right=counts.right,
            right_interval=wilson_interval(counts.right, counts.trials),
            right_by_chance=counts.by_chance,
            n_wrong_first=counts.wrong_first,
            n_wrong=counts.wrong,
            median_s=float(np.median(seconds)) if seconds else None,
            p90_s=float(np.percentile(seconds, 90)) if seconds else None,
            undecided_share=counts.undecided_s / counts.trials_s if counts.trials_s else None,
            itr_bits_per_minute=_transfer_rate(counts, n_commands),
        )


def _transfer_rate(counts: Counts, n_commands: int) -> float | None:
    """Return the bits per minute of the first decisions; None where there is none, or nothing to choose between."""
    if n_commands < 2 or not counts.decided or not counts.undecided_s:
        return None
    bits = itr_bits_per_decision((counts.decided - counts.wrong_first) / counts.decided, n_commands)
    return 60 * bits * counts.decided / counts.undecided_s


def control_counts(runs: Iterable[ControlRun], policy: ControlPolicy, task: ControlTask) -> list[Counts]:
    """Return the counts of a policy on each recording."""
    return [count(run, run.decisions(policy, task), task) for run in runs]
