"""Report of a training: figures and codes, which the page puts into words; nothing here is a sentence.

The thresholds are fixed and stand here:

- **poor**: no better than guessing, the accuracy is within what guessing gives in 95 % of experiments;
- **good**: Cohen's κ, by equal chances, is at least 0.4, which is 70 % right of two classes and 55 % of four, and no class is weak;
- **usable**: everything between;
- a class is **weak** if it is decided right no more often than by chance, or the interval of that share lies below the accuracy;
- **few trials**: fewer than 20 of a class; an **electrode is bad** if it was bad or suspect for a fifth of the time, and left out
  if it was bad for half of a recording;
- **stop**: good, and ten more trials per class bring less than 0.03, or there are 40; **change** something (cap, classes, strategy)
  if it is poor after 40; else **more**.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mindwire.evaluation.metrics import poisson_bound, wilson_interval
from mindwire.evaluation.scores import Curve, Score
from mindwire.evaluation.tuning import TunedPolicy
from mindwire.training.data import RecordedTrials
from mindwire.training.fit import Logits
from mindwire.training.learning_curve import MORE, LearningCurve
from mindwire.training.run import Prepared, Result
from mindwire_models.contract import Contract
from mindwire_models.electrodes import positions
from mindwire_models.errors import ArgumentError

GOOD_KAPPA = 0.4
FEW_TRIALS = 20
ENOUGH_TRIALS = 40
STOP_GAIN = 0.03
BAD_SHARE = 0.2
LEFT_OUT_SHARE = 0.1
POOR, USABLE, GOOD = "poor", "usable", "good"


@dataclass(frozen=True, slots=True)
class Findings:
    """Findings on a trained model beside its validation.

    Parameters
    ----------
    over_time : Curve
        Accuracy of held-out trials by time since the cue.
    curve : LearningCurve or None
    tuned : TunedPolicy or None
        None where no rest was recorded, or nothing could be tuned on it.
    has_rest : bool
    dead : sequence of str
        Electrodes that the model does without.
    left_out : sequence of mapping
        Recordings that were not taken: ``reason``, ``recording`` and ``trials``.
    """

    over_time: Curve
    curve: LearningCurve | None
    tuned: TunedPolicy | None
    has_rest: bool
    dead: Sequence[str]
    left_out: Sequence[Mapping[str, Any]]


def make_report(result: Result, findings: Findings) -> dict[str, Any]:
    """Return the report of a training, JSON-serialisable."""
    prepared, data = result.prepared, result.prepared.data
    validation = result.validations[result.decoder]
    score = validation.overall
    per_class = _per_class(data)
    over_time, tuned = findings.over_time, findings.tuned
    reasons = _reasons(prepared, score, per_class, findings)
    level = _level(score, reasons)
    return {
        "verdict": {"level": level, "reasons": reasons},
        "decoder": "network" if result.decoder == "network" else "tangent_space",
        "classes": list(data.classes),
        "accuracy": score.accuracy,
        "interval": list(score.accuracy_interval),
        "chance": score.chance,
        "chance_interval": list(score.chance_interval),
        "baseline_accuracy": _accuracy(result, "baseline"),
        "network_accuracy": _accuracy(result, "network"),
        "confusion": score.confusion,
        "over_time": {
            "seconds": over_time.seconds,
            "accuracy": over_time.accuracy,
            "interval": [list(one) for one in over_time.interval],
            "decided_at": prepared.span.decided_at,
        },
        "patterns": _patterns(data, result.held_out[result.decoder], prepared.contract),
        "left_out": [
            *({"reason": reason, "trials": count} for reason, count in sorted(data.left_out.items())),
            *findings.left_out,
        ],
        "trials": len(data.usable),
        "trials_per_class": per_class,
        "recordings": [
            {
                "recording": f"{source.path.parent.name}/{source.path.name}",
                "trials": source.n_cued,
                "accuracy": one.accuracy,
            }
            for source, one in zip(prepared.sources, validation.recordings, strict=True)
        ],
        "frontier": None if tuned is None else _frontier(tuned),
        "policy": None if tuned is None else _policy(tuned),
        "advice": _advice(score, level, per_class, findings.curve),
        "learning_curve": [] if findings.curve is None else findings.curve.points(),
    }


def _accuracy(result: Result, name: str) -> float | None:
    found = result.validations.get(name)
    return None if found is None else found.overall.accuracy


def _per_class(data: RecordedTrials) -> dict[str, int]:
    counts = np.bincount(data.labels[data.usable], minlength=len(data.classes))
    return dict(zip(data.classes, counts.tolist(), strict=True))


def kappa(accuracy: float, n_classes: int) -> float:
    """Return Cohen's κ of an accuracy if all classes are as frequent."""
    return (accuracy - 1 / n_classes) / (1 - 1 / n_classes)


def _level(score: Score, reasons: Sequence[Mapping[str, Any]]) -> str:
    if score.accuracy is None or not score.better_than_chance:
        return POOR
    weak = any(reason["code"] == "weak_class" for reason in reasons)
    return GOOD if kappa(score.accuracy, len(score.confusion)) >= GOOD_KAPPA and not weak else USABLE


def _reasons(
    prepared: Prepared, score: Score, per_class: Mapping[str, int], findings: Findings
) -> list[dict[str, Any]]:
    """Return what speaks for and against a model, the result first, as codes with values."""
    data = prepared.data
    code = (
        "no_decision" if score.accuracy is None else "above_chance" if score.better_than_chance else "not_above_chance"
    )
    found = [_reason(code, accuracy=score.accuracy, chance=score.chance, guessing=score.chance_interval[1])]
    found += _weak_classes(data.classes, score)
    fewest = min(per_class.values())
    if fewest < FEW_TRIALS:
        found.append(_reason("few_trials", trials=fewest, wanted=FEW_TRIALS))
    found += _electrodes(prepared, findings.dead)
    missing = len(data.labels) - len(data.usable)
    if missing > LEFT_OUT_SHARE * len(data.labels):
        found.append(_reason("many_left_out", trials=missing, of=len(data.labels)))
    return found + _control(findings)


def _control(findings: Findings) -> list[dict[str, Any]]:
    """Return what keeps a model from deciding, or its false activations from being proven."""
    if findings.tuned is None:
        return [_reason("no_policy" if findings.has_rest else "no_rest")]
    if findings.tuned.provable:
        return []
    tuning = findings.tuned.tuning
    return [
        _reason(
            "budget_not_proven",
            budget=tuning.budget_per_minute,
            proven=tuning.proven_per_minute,
            rest_minutes=tuning.rest_minutes,
            needed_minutes=poisson_bound(0, 1) / tuning.budget_per_minute,
        )
    ]


def _weak_classes(classes: Sequence[str], score: Score) -> list[dict[str, Any]]:
    found = []
    for index, (name, row) in enumerate(zip(classes, score.confusion, strict=True)):
        right, trials = row[index], sum(row)
        if trials and score.accuracy is not None:
            share = right / trials
            if share <= 1 / len(classes) or wilson_interval(right, trials)[1] < score.accuracy:
                found.append(_reason("weak_class", **{"class": name, "share": share, "trials": trials}))
    return found


def _electrodes(prepared: Prepared, dead: Sequence[str]) -> list[dict[str, Any]]:
    shares: Counter[str] = Counter()
    for source in prepared.sources:
        shares.update({label: share / len(prepared.sources) for label, share in source.troubled.items()})
    bad = sorted(label for label, share in shares.items() if share >= BAD_SHARE)
    found = [_reason("bad_electrodes", labels=bad)] if bad else []
    return found + ([_reason("electrodes_left_out", labels=list(dead))] if dead else [])


def _reason(code: str, **values: Any) -> dict[str, Any]:
    return {"code": code, "values": values}


def _patterns(data: RecordedTrials, held_out: Logits, contract: Contract) -> list[dict[str, Any]]:
    """Return each class's pattern: the covariance of each electrode's power with the decoder's output, in decibels per standard deviation.

    As of Haufe et al. 2014, for the features that the decoder has of the signal: where power falls as the class becomes more
    probable, the value is negative. The outputs are of held-out trials, so that nothing fitted by chance is shown.
    """
    if len(data.powers) < 2:
        return []
    outputs = held_out[len(data.trial) :]
    outputs = outputs - outputs.mean(axis=1, keepdims=True)  # of one class against the others
    outputs = outputs - outputs.mean(axis=0)
    deviations = np.maximum(outputs.std(axis=0), np.finfo(np.float64).tiny)
    powers = data.powers - data.powers.mean(axis=0)
    values = (outputs / deviations).T @ powers / len(powers)
    return [
        {
            "class": name,
            "labels": list(contract.channels),
            "positions": _places(contract.channels),
            "values": row.round(4).tolist(),
        }
        for name, row in zip(data.classes, values, strict=True)
    ]


def _places(labels: Sequence[str]) -> list[list[float]] | None:
    """Return the electrodes seen from above, nose up, 1 at the level of the ears; None where one has no place on the head."""
    try:
        x, y, z = positions(labels).T
    except ArgumentError:
        return None
    away = np.arccos(np.clip(z, -1, 1)) / (np.pi / 2)
    direction = np.arctan2(y, x)
    places: list[list[float]] = np.stack([away * np.cos(direction), away * np.sin(direction)], axis=1).round(4).tolist()
    return places


def _frontier(tuned: TunedPolicy) -> list[dict[str, Any]]:
    return [
        {
            "false_per_minute": point.false_per_minute,
            "right": point.right,
            "wrong_first": point.wrong_first,
            "chosen": (point.evidence, point.decide) == (tuned.policy.evidence, tuned.policy.decide),
        }
        for point in tuned.tuning.frontier
    ]


def _policy(tuned: TunedPolicy) -> dict[str, Any]:
    tuning, counts, held_out = tuned.tuning, tuned.counts, tuned.held_out
    return {
        "budget_per_minute": tuning.budget_per_minute,
        "proven_per_minute": tuning.proven_per_minute,
        "rest_minutes": tuning.rest_minutes,
        "false_activations": counts.false_activations,
        "trials": counts.trials,
        "right": counts.right,
        "held_out_trials": held_out.trials,
        "held_out_right": held_out.right,
        "held_out_false_activations": held_out.false_activations,
        "held_out_rest_minutes": held_out.rest_minutes,
    }


def _advice(score: Score, level: str, per_class: Mapping[str, int], curve: LearningCurve | None) -> dict[str, Any]:
    """Return what more trials would bring, and one of ``stop``, ``more`` and ``change``.

    The interval after more trials joins those of the accuracy and of the gain (Zou & Donner 2008, "Construction of confidence
    limits about effect measures").
    """
    now = min(per_class.values())
    gain, low, high = (0.0, 0.0, 0.0) if curve is None else curve.gain(now)
    accuracy = score.accuracy or 0.0
    worst, best = score.accuracy_interval
    more = min(1.0, accuracy + gain)
    interval = [
        max(0.0, more - float(np.hypot(accuracy - worst, gain - low))),
        min(1.0, more + float(np.hypot(best - accuracy, high - gain))),
    ]
    enough = now >= ENOUGH_TRIALS
    code = "more"
    if level == GOOD and (enough or (more - accuracy < STOP_GAIN and now >= FEW_TRIALS)):
        code = "stop"
    elif level == POOR and enough:
        code = "change"
    return {
        "code": code,
        "trials_per_class": now,
        "expected": score.accuracy,
        "interval": [worst, best],
        "more": MORE,
        "ten_more": more,
        "ten_more_interval": interval,
    }
