"""A report of an evaluation, made from trials that were made up."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from mindwire.evaluation.report import (
    EvaluatedModel,
    Report,
)
from mindwire.evaluation.scores import AlignmentMode, EvaluatedRun, Trace, score_runs
from mindwire.offline.trials import Trial
from mindwire_models.presets import BCIC2A

CLASSES = ("left_hand", "right_hand")


def make_report(n_right: int = 18, n_late: int = 1, name: str = "a<b>.xdf") -> Report:
    """Twenty decided trials, ``n_right`` of them right, and ``n_late`` after the recording's end."""
    times = 10 + 0.04 * np.arange(4000)
    labels = [CLASSES[i % 2] for i in range(20)]
    trials = [Trial(12.0 + 6 * i, label) for i, label in enumerate(labels)]
    probabilities = np.full((4000, 4), 0.1)
    for i, (trial, label) in enumerate(zip(trials, labels, strict=True)):
        told = label if i < n_right else CLASSES[1 - CLASSES.index(label)]
        probabilities[(times >= trial.cue) & (times < trial.cue + 5.5), BCIC2A.classes.index(told)] = 0.7
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    trials += [Trial(1000.0 + i, "left_hand") for i in range(n_late)]
    run = EvaluatedRun(name, "ab" * 32, Trace(times, probabilities, np.zeros(4000, np.int64)), tuple(trials), 160.0)
    overall, runs = score_runs([run], BCIC2A, CLASSES, 4.0)
    return Report(
        created=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        mindwire="0.0",
        model=EvaluatedModel(name="demo", sha256="cd" * 32, engine="onnxruntime", device="cpu"),
        classes=list(CLASSES),
        at_s=4.0,
        alignment=AlignmentMode.ONLINE,
        overall=overall,
        runs=runs,
        definitions={"accuracy": "right & decided"},
    )
