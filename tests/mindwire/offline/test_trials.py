"""Markers become trials, whatever way the laboratory wrote them."""

from __future__ import annotations

import pytest

from mindwire.errors import RecordingError, UsageError
from mindwire.offline.trials import (
    Trial,
    check_marker_map,
    left_out_markers,
    match_labels,
    parse_marker_map,
    trials_from_markers,
)
from mindwire.types import Marker

MARKERS = [
    Marker(12.0, "3.000000000000000"),
    Marker(1.0, "1111.000000000000"),
    Marker(1.001, "2.000000000000000"),
    Marker(6.0, "9.000000000000000"),
    Marker(11.9, "1111.000000000000"),
]


def test_marker_maps_are_read_in_every_spelling() -> None:
    expected = {"1": "idle", "2": "left_hand", "3": "right_hand"}
    assert parse_marker_map(["1=idle", "2=left_hand", "3=right_hand"]) == expected
    assert parse_marker_map(["1=idle,2=left_hand", "3=right_hand"]) == expected
    assert parse_marker_map(["1=idle 2=left_hand 3=right_hand"]) == expected
    assert parse_marker_map([]) == {}


@pytest.mark.parametrize(
    ("entry", "label"),
    [
        ("cue=left=left_hand", "cue=left"),
        ("Stimulus/S  1=left_hand", "Stimulus/S 1"),
        ("switch,3,1,2=left_hand", "switch,3,1,2"),
        ("left,x=left_hand", "left,x"),
        ('{"cue": "left", "trial": 3}=left_hand', '{"cue": "left", "trial": 3}'),
        ("type=cue,side=left=left_hand", "type=cue,side=left"),
        ("  left  hand  = left_hand ", "left hand"),
        ("1.000,3.0=left_hand", "1,3"),
    ],
)
def test_one_argument_is_one_entry_split_at_the_last_equals_sign(entry: str, label: str) -> None:
    assert parse_marker_map([entry]) == {label: "left_hand"}


@pytest.mark.parametrize("entry", ["left_hand", "=left_hand", "2=", " =left_hand", ""])
def test_a_malformed_entry_is_refused(entry: str) -> None:
    with pytest.raises(UsageError, match="LABEL=CLASS"):
        parse_marker_map([entry])


def test_one_label_cannot_mean_two_classes() -> None:
    with pytest.raises(UsageError, match="both 'left_hand' and 'right_hand'"):
        parse_marker_map(["2=left_hand", "2=right_hand"])


@pytest.mark.parametrize(
    ("found", "wanted", "same"),
    [
        ("2.000000000000000", "2", True),
        (" left_hand ", "left_hand", True),
        ("2", "3", False),
        ("nan", "nan ", True),
        ("nan", "NaN", False),
        ("Left", "left", False),
        ("2a", "2", False),
        ("Stimulus/S  1", "1", True),
        ("Stimulus/S  1", "S1", True),
        ("S  1", "S1", True),
        ("1.000000000000000", "S  1", True),
        ("Stimulus/S  1", "Stimulus/S 1", True),
        ("Stimulus/S 10", "1", False),
        ("Response/R  1", "R1", True),
        ("Response/R  1", "1", False),
        ("Stimulus/left", "left", True),
        ("1_0", "10", False),
        ("left  hand", "left hand", True),
        ("1.000,3.000", "1,3", True),
    ],
)
def test_labels_are_the_same_as_text_or_as_numbers(found: str, wanted: str, same: bool) -> None:
    assert bool(match_labels([found], [wanted])) is same


def test_where_a_recording_has_both_spellings_each_is_itself() -> None:
    assert match_labels(["1.000", "S  1"], ["1"]) == {"1.000": "1"}
    assert match_labels(["1", "S  1"], ["S1", "1"]) == {"1": "1", "S  1": "S1"}
    assert match_labels(["Stimulus/S  1", "Response/R  1"], ["1"]) == {"Stimulus/S  1": "1"}


def test_markers_that_stand_for_no_class_are_listed_as_they_are_shown() -> None:
    assert left_out_markers(MARKERS, ("left_hand",), {"2": "left_hand", "3": "right_hand"}) == [
        "3",
        "1111",
        "9",
        "1111",
    ]


def test_trials_come_in_the_order_of_time_with_their_class() -> None:
    trials = trials_from_markers(
        MARKERS, ("idle", "left_hand", "right_hand"), {"2": "left_hand", "3": "right_hand", "1": "idle"}
    )
    assert trials == [Trial(1.001, "left_hand"), Trial(12.0, "right_hand")]


def test_a_class_is_found_by_its_own_name_without_a_map() -> None:
    markers = [Marker(1.0, "left_hand"), Marker(5.0, "rest"), Marker(9.0, "right_hand")]
    assert [t.label for t in trials_from_markers(markers, ("left_hand", "right_hand"))] == ["left_hand", "right_hand"]


def test_classes_not_asked_for_are_left_out() -> None:
    trials = trials_from_markers(MARKERS, ("left_hand",), {"2": "left_hand", "3": "right_hand"})
    assert trials == [Trial(1.001, "left_hand")]


def test_a_recording_without_such_trials_lists_what_it_has() -> None:
    with pytest.raises(RecordingError, match=r"file\.xdf: expected markers for feet, .*'1111' \(2×\)"):
        trials_from_markers(MARKERS, ("feet",), where="file.xdf")
    with pytest.raises(RecordingError, match="it has no markers"):
        trials_from_markers([], ("feet",))


def test_a_map_to_an_unknown_class_lists_the_classes() -> None:
    with pytest.raises(UsageError, match=r"'tail' does not exist; the classes are left_hand, feet"):
        check_marker_map({"2": "tail"}, ("left_hand", "feet"), MARKERS, "the recording")


def test_a_map_from_an_unknown_label_lists_the_labels() -> None:
    with pytest.raises(UsageError, match=r"no marker '7'; its markers are '3' \(1×\)"):
        check_marker_map({"7": "feet"}, ("left_hand", "feet"), MARKERS, "the recording")


def test_label_and_class_exchanged_are_told() -> None:
    with pytest.raises(UsageError, match=r"no marker 'left_hand'.* Are the two exchanged\? Write 2=left_hand\."):
        check_marker_map({"left_hand": "2", "right_hand": "3"}, ("2", "3"), MARKERS, "the recording")
    with pytest.raises(UsageError, match=r"class '2' does not exist.* Write 2=left_hand\."):
        check_marker_map({"left_hand": "2"}, ("left_hand", "right_hand"), MARKERS, "the recording")
