"""False activations of a person at rest, and time to a wanted activation.

A decision that is asked for at a moment is one thing; a program that acts on predictions as they come is another.
Here an action is what the simplest such program would do: act once a class other than idle has led with enough
probability for long enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from mindwire.errors import UsageError
from mindwire.evaluation.scores import EvaluatedRun, Trace
from mindwire_models.contract import Contract

IDLE_NAMES = ("idle", "rest", "nothing")
_CLOCK_TOLERANCE_S = 1e-6


@dataclass(frozen=True, slots=True)
class ActivationRule:
    """Rule by which a program would act: a class has this probability for this long, in successive valid predictions.

    Raises
    ------
    UsageError
        A value is out of its range.
    """

    probability: float = 0.6
    dwell_s: float = 0.5

    def __post_init__(self) -> None:
        if not (0 < self.probability <= 1 and self.dwell_s >= 0):
            msg = (
                "Expected a probability above 0 and up to 1 and a dwell of at least 0 s, found "
                f"{self.probability:g} and {self.dwell_s:g}."
            )
            raise UsageError(msg)


class IdleFigures(BaseModel, frozen=True):
    """False activations at rest and the time to a right one.

    ``idle_minutes`` is the time of all idle trials with a valid prediction, from the cue to the moment of decision; of ``n_movements``
    trials of other classes ``n_reached`` led to an activation of the right class before that moment, half of them
    within ``median_seconds`` of the cue, and ``n_wrong`` to one of another class first or only.
    """

    idle_class: str
    probability: float
    dwell_s: float
    idle_minutes: float
    false_activations: int
    false_activations_per_minute: float | None
    n_movements: int
    n_reached: int
    n_wrong: int
    median_seconds: float | None


def idle_class(wanted: str | None, classes: Sequence[str]) -> str | None:
    """Return the class that means rest; by default one called idle, rest or nothing, and None where there is none.

    A UsageError says that the one wanted is not among the classes.
    """
    if wanted is not None and wanted not in classes:
        msg = f"--idle {wanted}: expected one of the classes {', '.join(classes)}."
        raise UsageError(msg)
    return wanted or next((name for name in classes if name.casefold() in IDLE_NAMES), None)


def activations(trace: Trace, idle: int, rule: ActivationRule) -> list[tuple[float, int]]:
    """Return when a program would have acted on predictions, in the recording's clock, and on which class.

    ``idle`` is the index of the class that asks for nothing; a class that goes on leading acts once.
    """
    leading: NDArray[np.intp] = trace.probabilities.argmax(axis=1)
    strong = trace.valid & (leading != idle) & (trace.probabilities.max(axis=1) >= rule.probability)
    found = []
    since, running, acted = 0.0, -1, False
    for time, name, is_strong in zip(trace.times.tolist(), leading.tolist(), strong.tolist(), strict=True):
        if not is_strong:
            running = -1
            continue
        if name != running:
            since, running, acted = time, name, False
        if not acted and time - since >= rule.dwell_s - _CLOCK_TOLERANCE_S:
            found.append((time, name))
            acted = True
    return found


def idle_figures(
    runs: Sequence[EvaluatedRun],
    contract: Contract,
    classes: Sequence[str],
    *,
    idle: str,
    at_s: float,
    rule: ActivationRule,
) -> IdleFigures:
    """False activations per minute and time to a right activation, over the trials of some recordings.

    Each trial starts at its cue, so that a class that led before does not count towards the dwell, and ends ``at_s`` later.
    """
    columns = [contract.classes.index(name) for name in classes]
    n_idle = n_false = n_movements = n_wrong = 0
    seconds: list[float] = []
    for run in runs:
        trace = run.trace.restricted(columns)
        for trial in run.trials:
            since = trace.times - trial.cue
            inside = (since >= -_CLOCK_TOLERANCE_S) & (since < at_s + _CLOCK_TOLERANCE_S)
            part = Trace(trace.times[inside], trace.probabilities[inside], trace.reasons[inside])
            acted = activations(part, classes.index(idle), rule)
            if trial.label == idle:
                n_idle += bool(part.valid.any())
                n_false += len(acted)
                continue
            n_movements += 1
            right = [time - trial.cue for time, name in acted if classes[name] == trial.label]
            seconds += right[:1]
            n_wrong += bool(acted) and classes[acted[0][1]] != trial.label
    minutes = n_idle * at_s / 60
    return IdleFigures(
        idle_class=idle,
        probability=rule.probability,
        dwell_s=rule.dwell_s,
        idle_minutes=minutes,
        false_activations=n_false,
        false_activations_per_minute=n_false / minutes if minutes else None,
        n_movements=n_movements,
        n_reached=len(seconds),
        n_wrong=n_wrong,
        median_seconds=float(np.median(seconds)) if seconds else None,
    )
