"""Evaluation of control: the decisions of a policy on whole recordings, counted in trials and at rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from mindwire.control.controller import Controller
from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Decide, Latest
from mindwire.evaluation.metrics import poisson_interval, wilson_interval
from mindwire.evaluation.scores import EvaluatedRun
from mindwire.offline.trials import Trial
from mindwire.types import Decision

_CLOCK_TOLERANCE_S = 1e-6
Interval = tuple[float, float]


def raw_argmax(idle: str | None) -> ControlPolicy:
    """Return the rule that tuned policies are compared with: a class that leads with 0.6 for 0.5 s, then 1 s refractory."""
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


@dataclass(frozen=True, slots=True)
class ControlRun:
    """One recording as a policy meets it.

    Parameters
    ----------
    file : str
    predictions : sequence of (float, sequence of float or None)
        Time in seconds and probabilities of each, None where invalid.
    trials : sequence of Trial
        Of the classes that ask for something.
    rest : sequence of (float, float)
        Begin and end of each time in which the person asks for nothing, in seconds.
    """

    file: str
    predictions: Sequence[tuple[float, Sequence[float] | None]]
    trials: Sequence[Trial]
    rest: Sequence[Interval]

    @classmethod
    def of(cls, run: EvaluatedRun, task: ControlTask, *, between: bool = False, whole: bool = False) -> Self:
        """Return what a policy meets of a recording that has been run.

        Parameters
        ----------
        run : EvaluatedRun
        task : ControlTask
            Trials of its idle class are rest.
        between : bool
            The time from the end of a trial to the next cue is rest too.
        whole : bool
            All of the recording is rest, whatever its cues.
        """
        trace = run.trace
        rows = [
            (time, row if valid else None)
            for time, row, valid in zip(
                trace.times.tolist(), trace.probabilities.tolist(), trace.valid.tolist(), strict=True
            )
        ]
        if whole or not rows:
            return cls(run.file, rows, (), [(rows[0][0], np.inf)] if rows else [])
        trials = sorted(run.trials, key=lambda trial: trial.cue)
        rest = [(trial.cue, trial.cue + task.trial_s) for trial in trials if trial.label == task.idle]
        if between and trials:
            ends = [trial.cue + task.trial_s for trial in trials]
            begins = [trial.cue for trial in trials[1:]]
            rest += [(end, cue) for end, cue in zip(ends, begins, strict=False) if cue > end]
        return cls(run.file, rows, [trial for trial in trials if trial.label != task.idle], sorted(rest))

    def decisions(self, policy: ControlPolicy, task: ControlTask) -> list[Decision]:
        """Return the decisions of a policy that runs through the whole recording."""
        controller = Controller(policy, task.classes, task.window_s, task.hop_s)
        outputs = [controller.update(seq, time, row) for seq, (time, row) in enumerate(self.predictions)]
        return [output.decision for output in outputs if output is not None and output.decision is not None]


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts over some recordings, which may be added.

    Parameters
    ----------
    rest_s : float
        Rest with valid predictions in seconds.
    false_activations : int
        Decisions at rest.
    trials, right, wrong_first, wrong : int
        Trials; those with a right decision; those whose first decision is of another class; decisions of another class.
    undecided_s, trials_s : float
        Time of trials before their first decision, and of all trials, in seconds.
    seconds : tuple of float
        From the cue to the first right decision.
    """

    rest_s: float = 0.0
    false_activations: int = 0
    trials: int = 0
    right: int = 0
    wrong_first: int = 0
    wrong: int = 0
    undecided_s: float = 0.0
    trials_s: float = 0.0
    seconds: tuple[float, ...] = field(default=())

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def rest_minutes(self) -> float:
        """Minutes of rest with valid predictions."""
        return self.rest_s / 60


def count(run: ControlRun, decisions: Sequence[Decision], task: ControlTask) -> Counts:
    """Count the decisions of one recording in its trials and at rest."""
    times = np.array([decision.time for decision in decisions])
    valid = np.array([time for time, row in run.predictions if row is not None])

    def inside(what: np.ndarray, begin: float, end: float) -> np.ndarray:
        found: np.ndarray = np.flatnonzero((what >= begin - _CLOCK_TOLERANCE_S) & (what < end - _CLOCK_TOLERANCE_S))
        return found

    rest_s = sum(len(inside(valid, *span)) * task.hop_s for span in run.rest)
    total = Counts(rest_s, sum(len(inside(times, *span)) for span in run.rest))
    for trial in run.trials:
        made = [decisions[i] for i in inside(times, trial.cue, trial.cue + task.trial_s)]
        right = [decision.time - trial.cue for decision in made if decision.label == trial.label]
        total += Counts(
            trials=1,
            right=bool(right),
            wrong_first=bool(made) and made[0].label != trial.label,
            wrong=len(made) - len(right),
            undecided_s=made[0].time - trial.cue if made else task.trial_s,
            trials_s=task.trial_s,
            seconds=tuple(right[:1]),
        )
    return total


class ControlFigures(BaseModel):
    """Figures of a policy; intervals are of 95 %, times in seconds from the cue to the first right decision."""

    model_config = ConfigDict(frozen=True)

    rest_minutes: float
    false_activations: int
    false_per_minute: float | None
    false_interval: Interval
    n_trials: int
    n_right: int
    right_interval: Interval
    n_wrong_first: int
    n_wrong: int
    median_s: float | None
    p90_s: float | None
    undecided_share: float | None

    @classmethod
    def of(cls, counts: Counts) -> Self:
        """Return the figures of counts."""
        minutes, seconds = counts.rest_minutes, counts.seconds
        return cls(
            rest_minutes=minutes,
            false_activations=counts.false_activations,
            false_per_minute=counts.false_activations / minutes if minutes else None,
            false_interval=poisson_interval(counts.false_activations, minutes),
            n_trials=counts.trials,
            n_right=counts.right,
            right_interval=wilson_interval(counts.right, counts.trials),
            n_wrong_first=counts.wrong_first,
            n_wrong=counts.wrong,
            median_s=float(np.median(seconds)) if seconds else None,
            p90_s=float(np.percentile(seconds, 90)) if seconds else None,
            undecided_share=counts.undecided_s / counts.trials_s if counts.trials_s else None,
        )


def control_counts(runs: Iterable[ControlRun], policy: ControlPolicy, task: ControlTask) -> list[Counts]:
    """Return the counts of a policy on each recording."""
    return [count(run, run.decisions(policy, task), task) for run in runs]
