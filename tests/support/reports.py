"""A report of an evaluation, made from trials that were made up."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from mindwire.control.policy import ControlPolicy, FrontierPoint, Tuning
from mindwire.control.stages import Decide, Latest
from mindwire.evaluation.certificate import (
    AdaptationRecord,
    Clock,
    ModelRecord,
    Quantiles,
    RunCertificate,
    SignalRecord,
)
from mindwire.evaluation.certificate_report import Certificate
from mindwire.evaluation.comparison import MatchedRuns, Side, compare
from mindwire.evaluation.comparison_report import ComparedSide, ComparisonReport
from mindwire.evaluation.control import ControlRun, ControlTask, CuedTrial, control_counts, raw_argmax
from mindwire.evaluation.control_report import ControlScore, report_control
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


def controlled(minutes_of_rest: float = 2.0, sha256: str = "") -> Report:
    """Report of a policy that decides right in the first of two trials, and once at rest."""
    trials = [CuedTrial(10.0, 14.0, "left_hand"), CuedTrial(20.0, 24.0, "right_hand")]
    times = np.arange(0.0, 30.0 + 60 * minutes_of_rest, 0.25)
    left = ((times > 11) & (times < 13)) | ((times > 21) & (times < 23)) | ((times > 40) & (times < 41))
    rows = [(float(t), [0.1, 0.8, 0.1] if up else [0.8, 0.1, 0.1]) for t, up in zip(times, left, strict=True)]
    run = ControlRun("a<b>.xdf", rows, trials, [(30.0, math.inf)] if minutes_of_rest else [], sha256)
    task = ControlTask(("idle", "left_hand", "right_hand"), "idle", 2.0, 0.25, 4.0)
    stages = {"evidence": Latest(), "decide": Decide(commit=0.7, release=0.7)}
    point = FrontierPoint(false_per_minute=0.5, right=1, wrong_first=1, **stages)
    tuning = Tuning(
        budget_per_minute=1.0,
        proven_per_minute=2.0,
        rest_minutes=2.0,
        trials=2,
        frontier=(point,),
        recordings=("ab" * 32,),
    )
    return make_report().model_copy(
        update={"control": report_control([run], ControlPolicy(idle="idle", tuning=tuning, **stages), task)}
    )


def make_comparison() -> ComparisonReport:
    """Report of two policies that decide once in each of two trials, one of them also at rest."""
    trials = [CuedTrial(10.0, 14.0, "left_hand"), CuedTrial(20.0, 24.0, "right_hand")]
    times = np.arange(0.0, 150.0, 0.25)
    left = ((times > 11) & (times < 13)) | ((times > 21) & (times < 23)) | ((times > 40) & (times < 41))
    rows = np.where(left[:, None], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1])
    run = ControlRun("a<b>.xdf", list(zip(times.tolist(), rows.tolist(), strict=True)), trials, [(30.0, math.inf)])
    task = ControlTask(("idle", "left_hand", "right_hand"), "idle", 2.0, 0.25, 4.0)
    trace = Trace(times, rows, np.zeros(len(times), np.int64))
    evaluated = EvaluatedRun("a<b>.xdf", "ab" * 32, trace, (), 150.0)
    policies = (
        raw_argmax("idle"),
        ControlPolicy(evidence=Latest(), decide=Decide(commit=0.7, dwell_s=1.0), idle="idle"),
    )
    a, b = (Side(policy, task, [evaluated]) for policy in policies)
    found = compare(a, b, MatchedRuns(["left_hand", "right_hand"], [], [run], [run]))

    def compared(side: Side, *, raw: bool) -> ComparedSide:
        score = ControlScore.of([run], control_counts([run], side.policy, task), 2)
        return ComparedSide(name="demo", sha256="cd" * 32, policy_sha256=side.policy.hash, raw=raw, score=score)

    sides = {"a": compared(a, raw=True), "b": compared(b, raw=False)}
    return ComparisonReport(created=datetime(2026, 1, 2, tzinfo=UTC), trial_s=4.0, comparison=found, notes=[], **sides)


def make_certificate() -> Certificate:
    """Two runs of a session, of which the second has faults."""
    ages = Quantiles(900, 3.1, 7.25, 31.5)
    run = RunCertificate(
        "run-01.xdf",
        "ab" * 32,
        123456789,
        "a<b>",
        confirmed=True,
        lacking=("3 predictions cannot be checked: the recording lacks their samples.",),
        begun_unix=1.0,
        models=(ModelRecord("model", "cd" * 32, {"model.onnx": "ef" * 32, "contract.json": "01" * 32}),),
        software={"mindwire": "0.0", "sha256": "23" * 32},
        predictions={
            "recorded": 903,
            "confirmed": 900,
            "valid": 800,
            "equal": 790,
            "largest_difference": 3e-8,
            "unchecked": 3,
        },
        decisions={"confirmed": 12, "different": 0},
        input={"same": 90000, "different": 0, "missing": 30},
        latency_ms={"age": ages, "decode": ages},
        decision_age_ms=ages,
        signal=SignalRecord(90000, 3, 0.4, 0, 1, 2, 800, {"aligning": 60, "settling": 40}),
        clocks=(Clock("EEG", 40, 0, 1e-4, -1.4, 2e-5, 6e-5), Clock("Mindwire-input", 1, 0)),
        adaptation=AdaptationRecord(30, 90.0, 1.2, 2.6, frozen=False, points=[(10.0 * k, 0.1 * k) for k in range(26)]),
        policies=({"seq": 0, "hash": "45" * 32, "paused": None}, {"seq": 80, "hash": None, "paused": True}),
        events=({"kind": "gap", "unix_time": 9.0, "message": "A gap of 120 ms was bridged."},),
        further_events=2,
    )
    bad = replace(run, file="run-02.xdf", confirmed=False, faults=("1 decision not as the control policy makes them.",))
    return Certificate("P01 2026-01-02", "2026-01-02T10:00:00+00:00", (run, bad), 1e-6, session={"sha256": "67" * 32})
