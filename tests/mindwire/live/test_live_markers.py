"""Markers of the network beside a stream: which outlets are taken, and what of them is told."""

from __future__ import annotations

import socket
import time
from types import SimpleNamespace

import pylsl
import pytest

from mindwire.live.live_markers import MOST_PER_SECOND, marker_label, marker_predicate, showing_markers
from mindwire.sources.lsl_discovery import StreamSearch, check_predicate
from tests.support.streaming import eventually, unique


class Shown:
    """Of a stream, what the watch needs."""

    name = "eeg"

    def __init__(self, source_id: str, hostname: str) -> None:
        self.source = SimpleNamespace(source_id=source_id, hostname=hostname)
        self.events: list[tuple[str, str, dict]] = []
        self.reporter = self
        self.markers = SimpleNamespace(source_id="mindwire-eeg-sent-markers")

    def show(self, kind, message, data):
        self.events.append((kind, message, data))

    @property
    def labels(self):
        return [data["label"] for _, _, data in self.events]


def outlet(name, source_id="", kind="Markers", n_channels=1, rate=pylsl.IRREGULAR_RATE, form=pylsl.cf_string):
    return pylsl.StreamOutlet(pylsl.StreamInfo(name, kind, n_channels, rate, form, source_id or name))


def pushed_until(out, stream, label, sample, at=0.0):
    """Push a marker again and again until it arrives: an inlet hears what comes after it was made."""
    pushed = 0.0

    def arrived():
        nonlocal pushed
        if time.monotonic() - pushed > 0.1:  # no flood
            out.push_sample(sample, at)
            pushed = time.monotonic()
        return label in stream.labels

    eventually(arrived, 60.0, f"{label} arrives")


def test_markers_of_the_sources_host_are_shown_with_their_time():
    stream, elsewhere = Shown("cap", socket.gethostname()), Shown("other-cap", "another-host")
    sent = [
        outlet("Mindwire-eeg-Markers", one) for one in ("mindwire-eeg-sent-markers", "mindwire-of-another-sent-markers")
    ]
    strings, numbers = outlet(unique("cues")), outlet(unique("keys"), kind="Markers", form=pylsl.cf_int32)
    simulated, own = outlet(unique("sim"), "cap-markers"), outlet("Mindwire-eeg-Events", kind="Events")
    with showing_markers({"one": stream, "other": elsewhere}):
        pushed_until(strings, stream, "left_hand", ["left_hand"])
        pushed_until(numbers, stream, "7", [7])
        pushed_until(simulated, stream, "feet", ["feet"])
        for one in (own, *sent):
            one.push_sample(["{}"])
        before = pylsl.local_clock()
        pushed_until(strings, stream, "now", ["now"], before)
    kinds = {data["label"]: kind for kind, _, data in stream.events}
    assert kinds == {"left_hand": "marker", "7": "marker", "feet": "cue", "now": "marker"}
    stamp = next(data["time"] for _, _, data in stream.events if data["label"] == "now")
    assert stamp == pytest.approx(before, abs=0.01)
    assert elsewhere.events == []


def test_only_the_streams_named_are_shown_and_no_flood():
    stream = Shown("cap", "another-host")
    wanted, other = outlet(unique("wanted")), outlet(unique("other"))
    sent = outlet("Mindwire-eeg-Markers", "mindwire-eeg-sent-markers")
    with showing_markers({"one": stream}, [wanted.get_info().name(), "Mindwire-eeg-Markers"]):
        sent.push_sample(["shown when it was sent"])
        pushed_until(wanted, stream, "a", ["a"])
        for number in range(20 * MOST_PER_SECOND):
            wanted.push_sample([f"flood {number}"])
        other.push_sample(["b"])
        pushed_until(wanted, stream, "c", ["c"])
    assert not {"b", "shown when it was sent"} & set(stream.labels)
    assert sum(label.startswith("flood") for label in stream.labels) < 10 * MOST_PER_SECOND


def test_triggers_levels_and_annotations_are_shown_as_they_are_read_from_files():
    stream = Shown("cap", socket.gethostname())
    triggers = outlet(unique("trigger"), kind="Trigger", form=pylsl.cf_int32)
    info = pylsl.StreamInfo(unique("notes"), "annotations", 2, pylsl.IRREGULAR_RATE, pylsl.cf_double64, "notes")
    channels = info.desc().append_child("channels")
    for label in ("T0", "T1"):
        channels.append_child("channel").append_child_value("label", label)
    annotations, gaze = pylsl.StreamOutlet(info), outlet(unique("gaze"), kind="Gaze", form=pylsl.cf_float32)
    with showing_markers({"one": stream}):
        pushed_until(triggers, stream, "5", [5])
        pushed_until(annotations, stream, "T1", [0.0, -1.0])
        gaze.push_sample([0.25])
        pushed_until(triggers, stream, "6", [6])
    assert set(stream.labels) == {"5", "T1", "6"}


@pytest.mark.parametrize(
    ("values", "label"),
    [
        (["left hand"], "left hand"),
        ([1.0], "1"),
        ([3.5], "3.5"),
        ([7], "7"),
        (["1.000000000"], "1"),
        ([1.0, 2.0], "1,2"),
    ],
)
def test_labels_are_shown_as_they_are_matched(values, label):
    assert marker_label(values) == label


@pytest.mark.parametrize("names", [(), ("Cues",), ("it's", 'a "b" c')])
def test_predicates_can_be_parsed(names):
    check_predicate(marker_predicate(names))


def test_only_markers_that_were_sent_are_left_out_whatever_others_are_called():
    name = unique("Mindwire-demo")
    theirs = {f"{name}-1-markers", f"{name.lower()}-1-markers"}
    outlets = [outlet(f"{name}-Markers", source_id) for source_id in (*theirs, f"{name}-sent-markers")]
    with StreamSearch(f"name='{name}-Markers'") as every, StreamSearch(marker_predicate(())) as markers:

        def taken():
            return {one.info.source_id for one in markers.results() if one.info.name == f"{name}-Markers"}

        eventually(lambda: len(every.results()) == len(outlets) and taken() == theirs, 20)
