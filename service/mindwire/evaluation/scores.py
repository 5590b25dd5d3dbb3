"""Pseudo-online evaluation: whole recordings through the live pipeline, then each trial asked for its answer.

Nothing is cut out of the recording beforehand: filters, alignment and windows run as they do live,
and a trial's decision at T seconds is simply the newest prediction that existed T seconds after its
cue. Trials whose prediction was withheld or flagged at that moment are undecided; they are counted
apart, neither right nor wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from mindwire.errors import UsageError
from mindwire.evaluation import metrics
from mindwire.offline.trials import Trial
from mindwire.types import SUSPECT, Marker, Prediction, Reason
from mindwire_models.contract import Alignment, Contract, NoNormalisation

MISSING = "no_prediction"
_CLOCK_TOLERANCE_S = 1e-6
# Resolution of the accuracy over time, which goes up to one second past the moment of decision.
_CURVE_STEP_S = 0.1


class AlignmentMode(StrEnum):
    """Alignment of the signal during an evaluation."""

    ONLINE = "online"
    FROZEN = "frozen"
    OFF = "off"


def contract_for(contract: Contract, mode: AlignmentMode) -> Contract:
    """The contract with its alignment as live, frozen at the bundle's warm start, or left out.

    A UsageError says that there is no warm start to freeze it at.
    """
    alignment = contract.normalisation
    if mode is AlignmentMode.ONLINE or not isinstance(alignment, Alignment):
        return contract
    if mode is AlignmentMode.OFF:
        return contract.model_copy(update={"normalisation": NoNormalisation()})
    if alignment.warm_start is None:
        msg = "The bundle has no warm start to freeze the alignment at; use --alignment online or off."
        raise UsageError(msg)
    # A warm start of overwhelming weight is one that no later sample moves.
    frozen = alignment.model_copy(update={"warm_start_samples": 10**12, "forgetting_seconds": None})
    return contract.model_copy(update={"normalisation": frozen})


@dataclass(frozen=True, slots=True)
class Trace:
    """All predictions of one recording as arrays of length n; probabilities are (n, n_classes), reasons bits of :class:`Reason`.

    Times are in the recording's clock, in the order of the file; they do not ascend where that clock jumped.
    """

    times: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    reasons: NDArray[np.int64]

    @classmethod
    def collect(cls, predictions: Iterable[Prediction], n_classes: int) -> Trace:
        """Gather predictions in the order they came."""
        rows = [(p.time, int(p.reasons), p.probabilities) for p in predictions]
        return cls(
            times=np.array([row[0] for row in rows], dtype=np.float64),
            probabilities=np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, n_classes),
            reasons=np.array([row[1] for row in rows], dtype=np.int64),
        )

    @property
    def valid(self) -> NDArray[np.bool_]:
        """True for predictions that are valid, shape (n,)."""
        valid: NDArray[np.bool_] = (self.reasons & ~int(SUSPECT)) == 0
        return valid

    def restricted(self, columns: Sequence[int]) -> Trace:
        """The same predictions over a subset of the classes, renormalised."""
        return Trace(self.times, metrics.restrict(self.probabilities, columns), self.reasons)


@dataclass(frozen=True, slots=True)
class Decisions:
    """Newest prediction of each trial at some time since its cue.

    ``true`` holds the class index of each decided trial, ``probabilities`` is (n_trials, n_classes). ``undecided`` counts trials
    without a valid prediction by reason; a trial with several reasons counts once for each.
    """

    true: NDArray[np.intp]
    probabilities: NDArray[np.float64]
    undecided: dict[str, int]
    n_undecided: int

    @property
    def predicted(self) -> NDArray[np.intp]:
        """Index of each decided trial's most probable class, shape (n_trials,)."""
        predicted: NDArray[np.intp] = self.probabilities.argmax(axis=1)
        return predicted

    @property
    def n_correct(self) -> int:
        """Trials decided right."""
        return int((self.predicted == self.true).sum())

    @classmethod
    def join(cls, parts: Sequence[Decisions]) -> Decisions:
        """The decisions of several recordings as one."""
        total: Counter[str] = Counter()
        for part in parts:
            total.update(part.undecided)
        return cls(
            true=np.concatenate([part.true for part in parts]),
            probabilities=np.concatenate([part.probabilities for part in parts]),
            undecided=dict(total),
            n_undecided=sum(part.n_undecided for part in parts),
        )


def decide(trace: Trace, trials: Sequence[Trial], classes: Sequence[str], at_s: float, max_age_s: float) -> Decisions:
    """Each trial's decision: the newest prediction, over ``classes``, whose time is at most ``cue + at_s``.

    One that is older than ``max_age_s`` no longer speaks for that moment.
    """
    true, rows = [], []
    undecided: Counter[str] = Counter()
    n_undecided = 0
    valid = trace.valid
    moments = np.array([trial.cue + at_s for trial in trials]) + _CLOCK_TOLERANCE_S
    # A clock that jumped and returned leaves times that do not ascend.
    order = np.argsort(trace.times, kind="stable")
    newest = np.searchsorted(trace.times, moments, side="right", sorter=order) - 1
    for trial, moment, place in zip(trials, moments, newest, strict=True):
        index = order[place] if place >= 0 else -1
        if index < 0 or not moment - trace.times[index] <= max_age_s:  # nor where the cue has no time
            undecided[MISSING] += 1
            n_undecided += 1
        elif not valid[index]:
            undecided.update(Reason(int(trace.reasons[index]) & ~int(SUSPECT)).labels)
            n_undecided += 1
        else:
            true.append(classes.index(trial.label))
            rows.append(trace.probabilities[index])
    return Decisions(
        true=np.array(true, dtype=np.intp),
        probabilities=np.array(rows, dtype=np.float64).reshape(-1, len(classes)),
        undecided=dict(undecided),
        n_undecided=n_undecided,
    )


class Curve(BaseModel, frozen=True):
    """Accuracy as a function of time since the cue; None where no trial was decided."""

    seconds: list[float]
    accuracy: list[float | None]
    interval: list[tuple[float, float]]
    n_trials: list[int]


class Score(BaseModel, frozen=True):
    """Figures of merit of decided trials.

    ``accuracy`` is ``n_correct / n_trials`` over the ``n_trials`` decided trials; ``n_cued`` trials were
    cued and ``n_undecided`` of them had no valid prediction at that time, by the reasons in ``undecided``.
    ``accuracy_of_cued`` counts undecided trials as not right. Intervals are of 95 %. ``chance`` is the share of the most
    frequent class among the decided trials; ``better_than_chance`` is None where fewer than two classes occur.
    """

    n_cued: int
    n_trials: int
    n_undecided: int
    undecided: dict[str, int]
    n_correct: int
    accuracy: float | None
    accuracy_interval: tuple[float, float]
    accuracy_of_cued: float | None
    chance: float
    chance_interval: tuple[float, float]
    chance_p_value: float
    better_than_chance: bool | None
    kappa: float | None
    normalised_mcc: float | None
    itr_bits_per_decision: float | None
    itr_bits_per_minute: float | None
    calibration_error: float | None
    reliability: list[metrics.Reliability]
    confusion: list[list[int]]
    curve: Curve


class RunScore(Score, frozen=True):
    """The score of one recording."""

    file: str
    sha256: str
    duration_s: float
    n_predictions: int
    n_valid: int


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def score(decisions: Decisions, curve: Curve, n_classes: int, at_s: float) -> Score:
    """Every figure of merit for decisions that fell ``at_s`` seconds after the cue."""
    n_trials = len(decisions.true)
    n_cued = n_trials + decisions.n_undecided
    n_correct = decisions.n_correct
    accuracy = n_correct / n_trials if n_trials else float("nan")
    by_class = np.bincount(decisions.true, minlength=n_classes)
    chance = metrics.chance_level(by_class)
    guessing = metrics.chance_interval(chance, n_trials)
    confusion = metrics.confusion_matrix(decisions.true, decisions.predicted, n_classes)
    bits = metrics.itr_bits_per_decision(accuracy, n_classes) if accuracy > chance else 0.0 * accuracy
    error, bins = metrics.reliability(decisions.probabilities, decisions.true)
    return Score(
        n_cued=n_cued,
        n_trials=n_trials,
        n_undecided=decisions.n_undecided,
        undecided=decisions.undecided,
        n_correct=n_correct,
        accuracy=_finite(accuracy),
        accuracy_interval=metrics.wilson_interval(n_correct, n_trials),
        accuracy_of_cued=n_correct / n_cued if n_cued else None,
        chance=chance,
        chance_interval=guessing,
        chance_p_value=metrics.chance_p_value(n_correct, n_trials, chance),
        better_than_chance=accuracy > guessing[1] if np.count_nonzero(by_class) > 1 else None,
        kappa=_finite(metrics.cohens_kappa(confusion)),
        normalised_mcc=_finite(metrics.normalised_mcc(confusion)),
        itr_bits_per_decision=_finite(bits),
        itr_bits_per_minute=_finite(60 * bits / at_s),
        calibration_error=_finite(error),
        reliability=bins,
        confusion=confusion.tolist(),
        curve=curve,
    )


def accuracy_curve(by_time: Sequence[tuple[float, Decisions]]) -> Curve:
    """Accuracy at each of several times: ``by_time`` holds seconds since the cue, and what was decided then."""
    counts = [(decided.n_correct, len(decided.true)) for _, decided in by_time]
    return Curve(
        seconds=[round(at_s, 3) for at_s, _ in by_time],
        accuracy=[right / n if n else None for right, n in counts],
        interval=[metrics.wilson_interval(right, n) for right, n in counts],
        n_trials=[n for _, n in counts],
    )


@dataclass(frozen=True, slots=True)
class EvaluatedRun:
    """One recording, run and ready to be scored.

    ``trace`` is over all classes of the model; ``left_out`` are labels of the markers that stand for none of the classes,
    ``n_outside`` counts trials whose cue lies where there is no signal, ``problems`` of the file and ``doubts`` about
    all of its signal are a sentence each, and ``markers`` are all of the recording.
    """

    file: str
    sha256: str
    trace: Trace
    trials: tuple[Trial, ...]
    duration_s: float
    left_out: tuple[str, ...] = ()
    n_outside: int = 0
    problems: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    markers: tuple[Marker, ...] = ()


def score_runs(
    runs: Sequence[EvaluatedRun],
    contract: Contract,
    classes: Sequence[str],
    at_s: float,
) -> tuple[Score, list[RunScore]]:
    """Scores of all recordings together, and of each, decided ``at_s`` seconds after the cue.

    The contract is that of the model that made the predictions; a subset of its classes is renormalised.
    """
    columns = [contract.classes.index(name) for name in classes]
    # One hop and a little: clocks jitter, and a resampled stream's hops need not fall on whole samples.
    max_age_s = 1.5 * contract.hop_samples / contract.sfreq
    grid = np.arange(0.0, at_s + 1.0 + _CURVE_STEP_S / 2, _CURVE_STEP_S)
    decided: list[Decisions] = []
    curves: list[list[Decisions]] = []
    scored: list[RunScore] = []
    for run in runs:
        trace = run.trace.restricted(columns)
        final = decide(trace, run.trials, classes, at_s, max_age_s)
        over_time = [decide(trace, run.trials, classes, float(t), max_age_s) for t in grid]
        curve = accuracy_curve(list(zip(grid.tolist(), over_time, strict=True)))
        figures = score(final, curve, len(classes), at_s)
        scored.append(
            RunScore(
                **figures.model_dump(),
                file=Path(run.file).name,
                sha256=run.sha256,
                duration_s=run.duration_s,
                n_predictions=len(trace.times),
                n_valid=int(trace.valid.sum()),
            )
        )
        decided.append(final)
        curves.append(over_time)
    together = [(float(t), Decisions.join([run[i] for run in curves])) for i, t in enumerate(grid)]
    return score(Decisions.join(decided), accuracy_curve(together), len(classes), at_s), scored
