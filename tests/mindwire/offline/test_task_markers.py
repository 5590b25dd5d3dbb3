"""Markers of a task made into trials: aborted and unfinished ones count for nothing, however tasks are interrupted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindwire.errors import RecordingError
from mindwire.offline.trial_end import find_trial_end
from mindwire.offline.trials import Trial, left_out_markers, trials_from_markers, unfinished_trials
from mindwire.types import Marker

CLASSES = ("left", "right")
# How a trial went, as what is marked after its cue.
WAYS = {
    "done": ["imagery_end"],
    "aborted": ["trial_aborted"],
    "aborted after its end": ["imagery_end", "trial_aborted"],
    "page closed": [],
    "paused": ["trial_aborted", "pause", "resume"],
    "paused after it": ["imagery_end", "pause", "resume"],
}
GOOD = ("done", "paused after it")
trials = st.lists(st.tuples(st.sampled_from(["left", "right", "feet", "practice_left"]), st.sampled_from(sorted(WAYS))))


def marked(course, *, fixation=True, stream="", start=0.0):
    """Markers of trials, and the cues of those of the classes that were done."""
    markers, good, at = [Marker(start, "task_start short", stream)], [], start
    for label, way in course:
        at += 2.0
        markers += [Marker(at, "fixation", stream)] * fixation
        at += 2.0
        markers.append(Marker(at, label, stream))
        if way in GOOD and label in CLASSES:
            good.append(Trial(at, label))
        for n, word in enumerate(WAYS[way]):
            markers.append(Marker(at + 4.0 + n, word, stream))
        at += 8.0
    markers += [
        Marker(at, "rest_start", stream),
        Marker(at + 1, "rest_end", stream),
        Marker(at + 2, "task_end", stream),
    ]
    return markers, good


def found(markers, classes=CLASSES):
    try:
        return trials_from_markers(markers, classes)
    except RecordingError:
        return []


@given(trials, st.randoms(use_true_random=False))
def test_only_finished_trials_count(course, rng):
    course = [*course, ("left", "done")]  # one end at least, or it is no recording of a task
    markers, good = marked(course)
    rng.shuffle(markers)
    markers = sorted(markers, key=lambda marker: marker.time)
    assert found(markers) == good
    unfinished = unfinished_trials(markers, CLASSES)
    cued = [Trial(m.time, m.label) for m in markers if m.label in CLASSES]
    assert sorted([*good, *unfinished], key=lambda trial: trial.cue) == cued


@given(
    st.lists(
        st.tuples(st.sampled_from(CLASSES), st.sampled_from(["done", "aborted", "aborted after its end", "paused"]))
    )
)
def test_without_fixations_a_trial_lasts_until_the_next_cue(course):
    markers, good = marked(course, fixation=False)
    assert found(markers) == good


@given(trials, st.floats(0, 5))
def test_another_stream_without_ends_keeps_its_trials_and_ends_none(course, start):
    markers, good = marked([*course, ("right", "done")], stream="Mindwire-eeg-Markers")
    other = [Marker(start + 1000 + 10 * n, "left", "PsychoPy") for n in range(3)]
    other += [Marker(at, "response", "PsychoPy") for at in range(0, 40, 3)]
    assert found(sorted(markers + other, key=lambda m: m.time)) == good + [Trial(m.time, "left") for m in other[:3]]


@given(st.lists(st.sampled_from(["left", "right"]), min_size=1))
def test_a_program_that_marks_no_ends_has_all_its_trials(labels):
    markers = [Marker(10.0 * n, label) for n, label in enumerate(labels)]
    assert found(markers) == [Trial(m.time, m.label) for m in markers]


def test_imagery_ends_at_its_marker():
    markers, good = marked([("left", "done"), ("right", "aborted"), ("left", "paused after it"), ("right", "done")] * 3)
    end = find_trial_end([markers], [good])
    assert (end.seconds, end.marker) == (4.0, "imagery_end")


def test_a_recording_of_aborted_trials_alone_says_so():
    markers, _ = marked([("left", "aborted"), ("right", "paused")])
    with pytest.raises(
        RecordingError, match=r"expected finished trials of left, right, but 2 trials of them were aborted"
    ):
        trials_from_markers(markers, CLASSES)


def test_the_course_of_a_task_is_not_listed_as_unknown_markers():
    markers, _ = marked([("left", "paused"), ("feet", "done"), ("practice_left", "done")])
    assert left_out_markers([*markers, Marker(5.0, "target 3 0"), Marker(6.0, "cough")], CLASSES) == ["feet", "cough"]


def test_a_class_may_have_the_name_of_a_marker_if_the_map_says_so():
    markers = [Marker(1.0, "imagery_end"), Marker(9.0, "imagery_end"), Marker(5.0, "left")]
    mapping = {"imagery_end": "right"}
    assert [trial.label for trial in trials_from_markers(markers, CLASSES, mapping)] == ["right", "left", "right"]
