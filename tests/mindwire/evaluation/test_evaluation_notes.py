"""What is told beside the figures: cues without signal, classes that are missing or confounded."""

from __future__ import annotations

import numpy as np
import pytest

from mindwire.errors import RecordingError
from mindwire.evaluation.notes import notes
from mindwire.evaluation.scores import EvaluatedRun, Trace
from mindwire.offline.covered_time import CoveredTime
from mindwire.offline.trials import Trial

CLASSES = ("left", "right", "rest")


def made_run(file: str, labels: str, left_out: tuple[str, ...] = (), n_outside: int = 0) -> EvaluatedRun:
    trace = Trace(np.empty(0), np.empty((0, 3)), np.empty(0, np.int64))
    trials = tuple(Trial(float(i), label) for i, label in enumerate(labels.split()))
    return EvaluatedRun(f"folder/{file}", "00" * 32, trace, trials, 1.0, left_out, n_outside)


def test_nothing_is_told_where_nothing_is_amiss() -> None:
    runs = [made_run("a", "left right rest"), made_run("b", "left right rest")]
    assert notes(runs, CLASSES, CLASSES, 1.0) == []


def test_markers_left_out_and_cues_outside_are_counted_over_all_recordings() -> None:
    runs = [made_run("a", "left right rest", ("9",) * 3, 1), made_run("b", "left right rest", ("9", "a b"))]
    assert notes(runs, CLASSES, CLASSES, 1.0) == [
        "5 markers (9 4, 'a b' 1) belong to no class of the model and were left out.",
        "1 of 6 cues lies outside the EEG's time (before it, after it or in a gap); such trials are undecided.",
    ]
    assert notes([made_run("a", "left right", ("rest",))], CLASSES, ("left", "right"), 1.0) == [
        "1 marker (rest 1) belongs to none of the classes left, right and was left out."
    ]


@pytest.mark.parametrize(
    ("second", "told"),
    [("left right rest", None), ("left right", "rest (in a) occurs"), ("right", "left (in a), rest (in a) occur")],
)
def test_a_class_in_one_recording_alone_is_confounded(second: str, told: str | None) -> None:
    found = notes([made_run("a", "left right rest"), made_run("b", second)], CLASSES, CLASSES, 1.0)
    assert ([note for note in found if note.startswith("Confounded")] == []) == (told is None)
    assert told is None or f"Confounded: {told} in one recording alone" in found[0]


def test_a_single_recording_confounds_nothing() -> None:
    assert notes([made_run("a", "left right rest"), made_run("b", "")], CLASSES, CLASSES, 1.0) == []


def covered(*spans: tuple[float, float]) -> CoveredTime:
    time = CoveredTime()
    for first, last in spans:
        for chunk in np.array_split(np.arange(first, last, 0.01), 7):
            time.take(chunk)
    return time


def test_cues_are_outside_before_after_and_in_gaps() -> None:
    time = covered((10, 20), (500, 510), (20, 30))
    cues = [Trial(cue, "left") for cue in (9.0, 10.0, 15.0, 20.0, 29.9, 31.0, 505.0, 100.0)]
    assert (time.distances(cues) > 0).tolist() == [True, False, False, False, False, True, False, True]
    assert time.count_outside(cues, "f.xdf") == 3


def test_a_jump_within_a_chunk_is_a_gap() -> None:
    time = CoveredTime()
    time.take(np.array([1.0, 1.1, 50.0, 50.1, 1.2, 1.3, np.nan]))
    assert time.distances([Trial(1.25, "left"), Trial(20.0, "left")]).tolist() == pytest.approx([0, 18.7])


def test_no_cue_within_the_signal_is_refused_with_the_distance_and_the_clocks() -> None:
    with pytest.raises(
        RecordingError, match=r"f: none of the 1 cues .* 10\.0 s apart; the two were stamped by different"
    ):
        covered((10, 20)).count_outside([Trial(0.0, "left")], "f")
    with pytest.raises(RecordingError, match="the EEG counts the time of LSL, the cues Unix time"):
        covered((10, 20)).count_outside([Trial(1.7e9, "left")], "f")


def test_trials_that_are_decided_after_the_next_cue_are_told() -> None:
    runs = [made_run("a", "left right rest"), made_run("b", "left right")]  # a cue every second
    assert not [note for note in notes(runs, CLASSES, CLASSES, 1.2) if "next cue" in note]
    told = notes(runs, CLASSES, CLASSES, 1.3)[-1]
    assert told.startswith("3 of 5 trials are decided 1.3 s after the cue, when the next cue has come already")
