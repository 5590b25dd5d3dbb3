"""Counts of decisions in trials and at rest, against a computation of one hop after the other."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindwire.errors import UsageError
from mindwire.evaluation.control import (
    ControlFigures,
    ControlRun,
    ControlTask,
    Counts,
    control_counts,
    count,
    raw_argmax,
)
from mindwire.evaluation.metrics import poisson_bound, poisson_interval
from mindwire.evaluation.rest import RestTimes
from mindwire.evaluation.scores import EvaluatedRun, Trace
from mindwire.offline.trials import Trial
from mindwire.types import Decision, Marker, Reason

CLASSES = ("idle", "left", "right")
HOP_S = 0.125
TASK = ControlTask(CLASSES, "idle", window_s=2.0, hop_s=HOP_S, trial_s=2.0)


def evaluated(n: int, trials: list[Trial], valid: list[bool], rows: np.ndarray | None = None) -> EvaluatedRun:
    rows = np.full((n, 3), 1 / 3) if rows is None else rows
    reasons = np.where(valid, 0, int(Reason.GAP)).astype(np.int64)
    return EvaluatedRun("a.xdf", "", Trace(HOP_S * np.arange(n), rows, reasons), tuple(trials), n * HOP_S)


@st.composite
def recordings(draw: st.DrawFn) -> tuple[EvaluatedRun, list[Decision], bool]:
    n = draw(st.integers(1, 200))
    valid = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    cues = draw(st.lists(st.integers(0, n), unique=True, max_size=5))
    labels = draw(st.lists(st.sampled_from(CLASSES), min_size=len(cues), max_size=len(cues)))
    trials = [Trial(cue * HOP_S, label) for cue, label in zip(cues, labels, strict=True)]
    at = sorted(draw(st.lists(st.integers(0, n - 1), unique=True, max_size=20)))
    decisions = [Decision(seq, seq * HOP_S, draw(st.sampled_from(CLASSES[1:])), 0.9) for seq in at]
    return evaluated(n, trials, valid), decisions, draw(st.booleans())


@given(recordings())
def test_counts_are_those_of_an_independent_computation(case: tuple[EvaluatedRun, list[Decision], bool]) -> None:
    run, decisions, between = case
    found = count(ControlRun.of(run, TASK, between=between), decisions, TASK)

    trials = sorted(run.trials, key=lambda trial: trial.cue)
    rest_hops = n_false = undecided_hops = trial_hops = 0
    made: list[list[tuple[int, str]]] = [[] for _ in trials]
    by_seq = {decision.seq: decision.label for decision in decisions}
    length, cues = round(TASK.trial_s / HOP_S), [round(trial.cue / HOP_S) for trial in trials]
    for seq, valid in enumerate(run.trace.valid):
        newest = max((i for i, cue in enumerate(cues) if cue < seq), default=None)
        inside = newest is not None and seq - cues[newest] <= length
        idle = inside and newest is not None and trials[newest].label == "idle"
        clear = newest is not None and seq - cues[newest] > length + round(TASK.window_s / HOP_S)
        after = clear and newest is not None and newest + 1 < len(trials) and between
        if idle or after:
            rest_hops += bool(valid)
            n_false += seq in by_seq
        elif inside and newest is not None and seq in by_seq:
            made[newest].append((seq - cues[newest], by_seq[seq]))
    asked = [i for i, trial in enumerate(trials) if trial.label != "idle"]
    for i in asked:
        end = min(length, cues[i + 1] - cues[i] if i + 1 < len(trials) else length)
        undecided_hops += made[i][0][0] if made[i] else end
        trial_hops += end
    labels = [trials[i].label for i in asked]
    exchanges = [
        sum(any(name == label for _, name in made[i]) for i, label in zip(asked, order, strict=True))
        for order in permutations(labels)
    ]
    right = [[at for at, name in made[i] if name == trials[i].label] for i in asked]
    assert found.rest_s == pytest.approx(rest_hops * HOP_S)
    assert found.false_activations == n_false
    assert (found.trials, found.decided) == (len(asked), sum(bool(made[i]) for i in asked))
    assert found.right == sum(map(bool, right))
    assert found.wrong_first == sum(bool(made[i]) and made[i][0][1] != trials[i].label for i in asked)
    assert found.wrong == sum(name != trials[i].label for i in asked for _, name in made[i])
    assert found.by_chance == pytest.approx(np.mean(exchanges))
    assert found.undecided_s == pytest.approx(undecided_hops * HOP_S)
    assert found.trials_s == pytest.approx(trial_hops * HOP_S)
    assert found.seconds == pytest.approx([times[0] * HOP_S for times in right if times])


def test_a_whole_recording_may_be_rest() -> None:
    run = evaluated(80, [Trial(1.0, "left")], [True] * 60 + [False] * 20)
    found = count(
        ControlRun.of(run, TASK, whole=True),
        [Decision(0, 0.0, "left", 1.0), Decision(79, 79 * HOP_S, "left", 1.0)],
        TASK,
    )
    assert (found.trials, found.rest_s, found.false_activations) == (0, 60 * HOP_S, 2)


def test_rest_is_what_markers_enclose_apart_from_trials_and_counted_once() -> None:
    run = evaluated(160, [Trial(4.0, "left"), Trial(8.0, "idle"), Trial(11.0, "left")], [True] * 160)
    labels = [(1.0, "open"), (2.0, "closed"), (3.0, "open"), (7.0, "closed"), (9.0, "open"), (12.0, "closed")]
    run = replace(run, markers=tuple(Marker(time, label) for time, label in labels))
    resting = evaluated(16, [], [True] * 16)
    times = RestTimes.parse(["open..closed"])
    cued, whole = times.control_runs([run], [resting], TASK)
    assert cued.rest == [(1.0, 2.0), (3.0, 4.0), (6.0, 7.0), (8.0, 11.0)]
    assert count(cued, [], TASK).rest_s == 6.0
    assert (whole.trials, count(whole, [], TASK).rest_s) == ((), 2.0)
    with pytest.raises(UsageError, match=r"--rest shut\.\.open: none of the .* their markers are 'open' \(3×\)"):
        RestTimes.parse(["shut..open"]).control_runs([run], [], TASK)
    with pytest.raises(UsageError, match="--rest nowhere: expected a recording, or markers as BEGIN"):
        RestTimes.parse(["nowhere"])


def test_recordings_of_rest_are_named_as_others_are(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("eyes..open.xdf", "rest1.xdf", "rest2.xdf")]
    for file in files:
        file.touch()
    table = tmp_path / "rest.csv"
    table.write_text("file\nrest2.xdf\n")
    for text, expected in (
        (str(tmp_path), files),
        (f"{tmp_path}/rest*.xdf", files[1:]),
        (str(table), files[2:]),
        (str(files[0]), files[:1]),
    ):
        assert RestTimes.parse([text]).recordings == tuple(expected)
    assert RestTimes.parse(["S*..E[1]"]).ranges == (("S*", "E[1]"),)


def test_the_raw_argmax_acts_after_half_a_second_and_rests_for_one() -> None:
    rows = np.tile([0.1, 0.8, 0.1], (40, 1))
    run = ControlRun.of(evaluated(40, [Trial(0.0, "left")], [True] * 40, rows), TASK)
    policy = raw_argmax("idle")
    assert [decision.seq for decision in run.decisions(policy, TASK)] == [4, 12, 20, 28, 36]
    (counts,) = control_counts([run], policy, TASK)
    assert counts.seconds == (0.5,)


def test_figures_say_what_the_rest_proves_and_what_there_is_none_of() -> None:
    figures = ControlFigures.of(Counts(rest_s=97.2, trials=4, decided=4, right=3, wrong_first=1, undecided_s=8.0), 2)
    assert figures.false_interval == poisson_interval(0, 1.62)
    assert figures.false_bound == poisson_bound(0, 1.62) == pytest.approx(1.849, abs=1e-3)
    assert figures.itr_bits_per_minute == pytest.approx(60 * (1 + 0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)) * 4 / 8)
    none = ControlFigures.of(Counts(), 2)
    assert none.false_per_minute is none.false_interval is none.false_bound is none.itr_bits_per_minute is None
