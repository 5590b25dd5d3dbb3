"""Decisions and scores from predictions made up by hand, and whole recordings through the real pipeline."""

from __future__ import annotations

import numpy as np
import pytest

from mindwire.errors import UsageError
from mindwire.evaluation.scores import AlignmentMode, Decisions, EvaluatedRun, Trace, contract_for, decide, score_runs
from mindwire.offline.trials import Trial
from mindwire.types import Prediction, Reason
from mindwire_models.contract import Alignment, Contract, NoNormalisation
from mindwire_models.presets import BCIC2A

CLASSES = ("left_hand", "right_hand")


def make_trace(reasons: dict[int, Reason] | None = None, n: int = 100) -> Trace:
    """A prediction each 0.1 s; the first class grows more probable from 0 to 1."""
    reasons = reasons or {}
    first = np.linspace(0, 1, n)
    return Trace.collect(
        (
            Prediction(i, 10 + 0.1 * i, np.array([first[i], 1 - first[i]]), reasons.get(i, Reason.NONE))
            for i in range(n)
        ),
        2,
    )


def test_the_newest_prediction_not_after_that_moment_decides() -> None:
    trace = make_trace()
    decisions = decide(trace, [Trial(10.0, "left_hand"), Trial(10.04, "left_hand")], CLASSES, 4.0, 0.15)
    np.testing.assert_allclose(decisions.probabilities, trace.probabilities[[40, 40]])
    assert decisions.n_undecided == 0


def test_trials_without_a_valid_prediction_are_undecided_by_reason() -> None:
    trace = make_trace({40: Reason.GAP | Reason.FLAT, 50: Reason.MUSCLE})
    trials = [Trial(10.0, "left_hand"), Trial(11.0, "left_hand"), Trial(16.5, "right_hand"), Trial(1.0, "left_hand")]
    decisions = decide(trace, trials, CLASSES, 4.0, 0.15)
    assert decisions.true.tolist() == [0]
    assert decisions.n_undecided == 3
    assert decisions.undecided == {"gap": 1, "flat": 1, "no_prediction": 2}


def test_times_need_not_ascend() -> None:
    trace = make_trace()
    order = np.r_[50:100, 0:50]
    mixed = Trace(trace.times[order], trace.probabilities[order], trace.reasons[order])
    trials = [Trial(10.0, "left_hand"), Trial(14.0, "left_hand"), Trial(1e6, "left_hand"), Trial(np.nan, "left_hand")]
    expected, found = (decide(one, trials, CLASSES, 4.0, 0.15) for one in (trace, mixed))
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    assert found.undecided == {"no_prediction": 2}


def test_a_recording_without_predictions_decides_nothing() -> None:
    trace = Trace.collect([], 2)
    decisions = decide(trace, [Trial(10.0, "left_hand")], CLASSES, 4.0, 0.15)
    assert decisions.n_undecided == 1
    assert Decisions.join([decisions, decisions]).undecided == {"no_prediction": 2}


CONTRACT = BCIC2A.model_copy(update={"hop_samples": 25})


def make_run(file: str, cues: list[tuple[float, str]]) -> EvaluatedRun:
    trace = make_trace()
    four = np.concatenate([np.full((100, 1), 3.0), trace.probabilities, np.zeros((100, 1))], axis=1) / 4
    return EvaluatedRun(
        file=file,
        sha256="0" * 64,
        trace=Trace(trace.times, four, trace.reasons),
        trials=tuple(Trial(*cue) for cue in cues),
        duration_s=10.0,
    )


def test_scores_per_run_and_overall_over_a_subset_of_classes() -> None:
    early, late = (
        make_run("a.xdf", [(10.0, "right_hand"), (10.5, "left_hand")]),
        make_run("b.xdf", [(15.5, "left_hand")]),
    )
    overall, runs = score_runs([early, late], CONTRACT, CLASSES, 4.0)
    assert [(run.file, run.n_correct, run.n_trials, run.accuracy) for run in runs] == [
        ("a.xdf", 1, 2, 0.5),
        ("b.xdf", 1, 1, 1.0),
    ]
    assert (overall.n_correct, overall.n_trials, overall.n_cued) == (2, 3, 3)
    assert overall.accuracy == pytest.approx(2 / 3)
    assert overall.confusion == [[1, 1], [0, 1]]
    assert overall.chance == pytest.approx(2 / 3)  # the share of left hands
    assert [run.better_than_chance for run in runs] == [False, None]
    assert overall.accuracy_interval[0] < 2 / 3 < overall.accuracy_interval[1]
    assert overall.curve.seconds[0] == 0
    assert overall.curve.seconds[-1] == 5
    assert overall.curve.accuracy[40] == overall.accuracy
    # At the last moment the third trial has run past the end of the recording.
    assert overall.curve.n_trials[-1] == 2


def test_a_run_without_any_decision_has_no_accuracy_rather_than_zero() -> None:
    overall, _ = score_runs([make_run("a.xdf", [(50.0, "left_hand")])], CONTRACT, CLASSES, 4.0)
    assert overall.accuracy is None
    assert overall.kappa is None
    assert overall.n_undecided == 1
    assert overall.accuracy_of_cued == 0


def test_alignment_off_and_frozen_are_contracts_of_their_own() -> None:
    assert contract_for(BCIC2A, AlignmentMode.ONLINE) is BCIC2A
    assert contract_for(BCIC2A, AlignmentMode.OFF).normalisation == NoNormalisation()
    with pytest.raises(UsageError, match="no warm start"):
        contract_for(BCIC2A, AlignmentMode.FROZEN)
    warm = Alignment(
        kind="euclidean",
        scale="sample_mean",
        update_samples=125,
        ready_samples=625,
        warm_start=((2.0, 0.0), (0.0, 1.0)),
        warm_start_samples=100,
    )
    contract = Contract(
        channels=("C3", "C4"), sfreq=125.0, normalisation=warm, window_samples=250, hop_samples=5, classes=CLASSES
    )
    frozen = contract_for(contract, AlignmentMode.FROZEN).normalisation
    assert isinstance(frozen, Alignment)
    assert frozen.warm_start == warm.warm_start
    assert frozen.warm_start_samples > 1e9
