"""What tells events is read as markers, whatever its format, type and rate; what does not, is not."""

from __future__ import annotations

import numpy as np
import pytest

from mindwire.errors import RecordingError, StreamNotFoundError
from mindwire.offline.trials import trials_from_markers
from mindwire.sources.markers import MarkerReader, holds_markers, merge_markers, stim_channels, tidy_label
from mindwire.sources.recording import open_recording
from mindwire.types import Marker, SignalInfo
from tests.support.xdf_writer import XdfWriter


def stream(**changes) -> SignalInfo:
    return SignalInfo(**{"name": "Cues", "type": "Markers", "sfreq": 0.0, "n_channels": 1, "dtype": "int32", **changes})


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({"dtype": "string", "type": "log"}, True),
        ({"type": "Stim"}, True),
        ({"type": "Trigger", "dtype": "float32"}, True),
        ({"type": "Events", "sfreq": 250.0}, True),
        ({"type": ""}, True),
        ({"type": "", "dtype": "double64"}, True),
        ({"type": "Buttons"}, True),
        ({"type": "annotations", "n_channels": 5, "dtype": "double64"}, True),
        ({"type": "MocapMarkers", "n_channels": 60, "sfreq": 100.0, "dtype": "float32"}, False),
        ({"type": "Gaze", "n_channels": 2, "dtype": "float32"}, False),
        ({"type": "Pupil", "dtype": "float32"}, False),
        ({"type": "EEG", "sfreq": 250.0}, False),
        ({"type": "EEG"}, False),
        ({"name": "Mindwire-EEG-events", "type": "Events", "dtype": "string"}, False),
        ({"name": "Mindwire-EEG", "type": "Probabilities", "dtype": "float32"}, False),
        ({"name": "Mindwire-EEG-Decisions", "dtype": "string"}, False),
    ],
)
def test_which_streams_hold_markers(changes, holds):
    assert holds_markers(stream(**changes)) is holds


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("1.000000000000000", "1"),
        ("-2.50000", "-2.5"),
        ("1", "1"),
        ("01", "01"),
        ("left", "left"),
        ("1.0.0", "1.0.0"),
        ("", ""),
    ],
)
def test_labels_are_shown_without_meaningless_zeros(label, shown):
    assert tidy_label(label) == shown


def read(info: SignalInfo, values, times, **options) -> list[tuple[float, str]]:
    reader = MarkerReader(info, **options)
    rows, stamps = np.asarray(values), np.asarray(times, dtype=float)
    rows = rows[:, None] if rows.ndim == 1 else rows
    found = []
    for at in range(0, len(stamps), 3):  # a level may be held from one chunk to the next
        found += reader.read(rows[at : at + 3], stamps[at : at + 3])
    return [(round(marker.time, 3), marker.label) for marker in found]


def test_numbers_without_a_rate_are_an_event_each():
    assert read(stream(), [1, 1, 0, 2], [1, 2, 3, 4]) == [(1, "1"), (2, "1"), (3, "0"), (4, "2")]
    assert read(stream(dtype="float32"), [1.0, 2.5], [1, 2]) == [(1, "1"), (2, "2.5")]


def test_of_a_level_only_its_beginning_is_an_event():
    level = [0, 0, 1, 1, 1, 0, 0, 2, 3, 3, 0, 3]
    times = np.arange(12) / 100
    assert read(stream(sfreq=100.0), level, times) == [(0.02, "1"), (0.07, "2"), (0.08, "3"), (0.11, "3")]


def test_what_is_no_whole_number_is_no_code():
    level = [0.0, 0.3, 2.0, 2.1, float("nan"), 3.0]
    assert read(stream(sfreq=100.0), level, np.arange(6) / 100) == [(0.02, "2"), (0.05, "3")]


def test_events_sent_sparsely_at_a_nominal_rate_are_an_event_each():
    assert read(stream(sfreq=100.0), [1, 1, 2, 2], [1, 2, 3, 4]) == [(1, "1"), (2, "1"), (3, "2"), (4, "2")]


def test_annotations_of_mne_lsl_are_named_by_their_channels():
    info = stream(type="annotations", n_channels=3, labels=("T0", "T1", "T2"), dtype="double64")
    values = [[4.1, 0, 0], [0, -1.0, 0], [0, 0, 4.1], [0, 4.0, 0]]
    assert read(info, values, [1, 2, 3, 4]) == [(1, "T0"), (2, "T1"), (3, "T2"), (4, "T1")]
    single = stream(type="annotations", labels=("T1",), dtype="double64")
    assert read(single, [4.1, -1.0], [1, 2]) == [(1, "T1"), (2, "T1")]


def test_what_two_streams_tell_alike_counts_once():
    one = [Marker(1.0, "a"), Marker(1.002, "a"), Marker(2.0, "b"), Marker(3.0, "a")]
    other = [Marker(1.0004, "a"), Marker(2.0004, "b"), Marker(2.5, "c"), Marker(3.1, "a")]
    merged = merge_markers([one, other])
    assert merged == [*one[:3], other[2], one[3], other[3]]


def test_stimulus_channels_are_found_by_type_and_label():
    info = stream(type="EEG", n_channels=4, labels=("C3", "Cz", "STI 014", "x"), types=("EEG", "EEG", "", "stim"))
    assert stim_channels(info) == [2, 3]


def recording(tmp_path):
    writer = XdfWriter().stream(1, labels=["C3", "TRIGGER"], sfreq=100.0)
    level = np.zeros((300, 2), np.float32)
    level[50:60, 1], level[200:, 1] = 4, 5
    writer.samples(level, (10 + np.arange(300) / 100).tolist())
    return writer, tmp_path / "f.xdf"


def test_a_trigger_channel_counts_where_no_marker_stream_tells_anything(tmp_path):
    writer, path = recording(tmp_path)
    expected = [Marker(10.5, "4"), Marker(12.0, "5")]
    assert open_recording(writer.write(path)).markers() == expected
    writer.stream(2, name="Cues", type="Stim", n_channels=1, sfreq=0.0, dtype="int32", source_id="c")
    assert open_recording(writer.write(path)).markers() == expected
    writer.samples([[7]], [11.0], 2)
    opened = open_recording(writer.write(path))
    assert opened.markers() == [Marker(11.0, "7")]
    assert opened.markers("TRIGGER") == expected


def test_a_marker_stream_is_chosen_by_name_source_id_or_number(tmp_path):
    writer, path = recording(tmp_path)
    for number in (2, 3):
        writer.stream(
            number, name="Cues", type="Trigger", n_channels=1, sfreq=0.0, dtype="int32", source_id=f"c{number}"
        )
        writer.samples([[number]], [10.0 + number], number)
    opened = open_recording(writer.write(path))
    assert len(opened.markers("Cues")) == len(opened.markers()) == 2
    for text in ("c3", "3", "id=3", "name=Cues,source_id=c3"):
        assert opened.markers(text) == [Marker(13.0, "3")]
    with pytest.raises(StreamNotFoundError, match="named 'c9', found 'Cues', 'Cues'"):
        opened.markers("c9")


def test_a_numeric_stream_of_another_type_can_be_chosen(tmp_path):
    writer, path = recording(tmp_path)
    writer.stream(2, name="Pad", type="Gamepad", n_channels=2, sfreq=0.0, dtype="float32", source_id="p")
    writer.samples([[1, 0], [0, 1]], [10.5, 11.0], 2)
    assert open_recording(writer.write(path)).markers("Pad") == [Marker(10.5, "1,0"), Marker(11.0, "0,1")]


def test_a_header_that_differs_and_labels_that_do_not_fit_are_told(tmp_path):
    from mindwire.errors import ContractError
    from mindwire.signal.montage import resolve_montage
    from tests.support.signals import small_contract

    writer = XdfWriter().stream(labels=["A"] * 3, n_channels=4).stream(labels=["C3", "C4", "Cz", "D"], n_channels=4)
    writer.samples(np.zeros((5, 4), np.float32), [1.0, 1.1, 1.2, 1.3, 1.4])
    opened = open_recording(writer.write(tmp_path / "f.xdf"))
    with pytest.raises(ContractError, match=r"names 3 channels of 4; stream 1 has a second header that differs"):
        resolve_montage(small_contract(), opened.signal().info)


def two_cue_streams(tmp_path, second, names=("Cues", "Log")):
    writer, path = recording(tmp_path)
    for number, name in enumerate(names, 2):
        writer.stream(number, name=name, type="Markers", n_channels=1, sfreq=0.0, dtype="string", source_id=name)
    writer.samples([["left"], ["right"]], [11.0, 12.5], 2)
    writer.samples([[label] for label, _ in second], [time for _, time in second], 3)
    return open_recording(writer.write(path))


@pytest.mark.parametrize(
    ("second", "found"),
    [
        ([("right", 11.2)], "left at 11.000 s in 'Cues' and right at 11.200 s in 'Log' (1 such pair)"),
        ([("left", 11.2), ("right", 12.7)], "left at 11.000 s in 'Cues' and left at 11.200 s in 'Log' (2 such pairs)"),
    ],
)
def test_cues_that_contradict_each_other_are_refused_with_a_choice(tmp_path, second, found):
    opened = two_cue_streams(tmp_path, second)
    with pytest.raises(RecordingError) as refusal:
        trials_from_markers(opened.markers(), ("left", "right"), where="f.xdf")
    assert found in str(refusal.value)
    assert "choose one with --marker-stream 'Cues'" in str(refusal.value)
    assert [t.label for t in trials_from_markers(opened.markers("Cues"), ("left", "right"))] == ["left", "right"]


def test_streams_of_one_name_are_chosen_between_by_their_numbers(tmp_path):
    opened = two_cue_streams(tmp_path, [("right", 11.2)], names=("Cues", "Cues"))
    with pytest.raises(RecordingError, match=r"in 'id=2' and .* --marker-stream 'id=2'"):
        trials_from_markers(opened.markers(), ("left", "right"))
    assert len(trials_from_markers(opened.markers("id=2"), ("left", "right"))) == 2


def test_streams_that_agree_or_tell_other_things_are_one_list_of_trials(tmp_path):
    opened = two_cue_streams(tmp_path, [("left", 11.001), ("beep", 11.2), ("right", 12.502)])
    assert [t.cue for t in trials_from_markers(opened.markers(), ("left", "right"))] == [11.0, 12.5]
