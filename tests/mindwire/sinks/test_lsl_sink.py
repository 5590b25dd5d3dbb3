"""The outlets of predictions and events, seen by another LSL inlet."""

from __future__ import annotations

import json

import numpy as np
import pylsl
import pytest

from mindwire.control.policy import ControlPolicy, parse_policy
from mindwire.control.stages import Axis
from mindwire.live.live_markers import marker_predicate
from mindwire.sinks.lsl import LslSink
from mindwire.sources.lsl_discovery import StreamSearch
from mindwire.sources.markers import holds_markers, is_own
from mindwire.status import Event
from mindwire.types import ControlOutput, Decision, Prediction, Reason
from tests.support.streaming import MODEL, contract, eventually, unique


def inlet_of(name: str) -> pylsl.StreamInlet:
    with StreamSearch(f"name='{name}'") as search:
        eventually(search.results)
        inlet = pylsl.StreamInlet(search.results()[0].handle, recover=False)
    inlet.info(5.0)
    inlet.open_stream(5.0)
    return inlet


@pytest.fixture
def name() -> str:
    return unique("person")


@pytest.fixture
def sink(name):
    sink = LslSink(name, contract(), MODEL, hop_samples=10, instance="8000")
    yield sink
    sink.close()


def test_rows_carry_probabilities_and_the_windows_time_and_invalid_ones_are_nan(sink, name):
    inlet = inlet_of(f"Mindwire-{name}")
    sink.publish(Prediction(0, 12.5, np.array([0.25, 0.75])))
    sink.publish(Prediction(1, 12.6, np.array([0.5, 0.5]), Reason.GAP))
    sink.publish(Prediction(2, 12.7, np.array([0.125, 0.875]), Reason.MUSCLE))
    rows, times = [], []
    while len(rows) < 3:
        got, at = inlet.pull_chunk(5.0, 8, min_samples=1)
        rows += got
        times += at
    np.testing.assert_allclose(times, [12.5, 12.6, 12.7])
    np.testing.assert_array_equal(rows, [[0.25, 0.75], [np.nan, np.nan], [0.125, 0.875]])


def test_the_description_says_what_the_rows_are(sink, name):
    info = inlet_of(f"Mindwire-{name}").info(5.0)
    assert info.type() == "Probabilities"
    assert info.nominal_srate() == pylsl.IRREGULAR_RATE
    assert info.get_channel_labels() == ["left_hand", "right_hand"]
    assert info.get_channel_units() == ["probability", "probability"]
    assert info.source_id().startswith(f"mindwire-{name}-")
    desc = info.desc()
    assert desc.child("model").child_value("name") == MODEL.name
    assert desc.child("model").child_value("sha256") == MODEL.sha256
    assert desc.child("decoding").child_value("engine") == MODEL.engine
    assert desc.child("decoding").child_value("reason") == MODEL.engine_reason
    assert "NaN" in desc.child("validity").child_value("note")


def test_the_source_id_is_stable_across_restarts(sink, name):
    first = inlet_of(f"Mindwire-{name}").info(5.0)
    sink.close()
    again = LslSink(name, contract(), MODEL, hop_samples=10, instance="8000")
    second = None
    with StreamSearch(f"name='Mindwire-{name}'") as search:
        eventually(lambda: any(found.info.uid != first.uid() for found in search.results()))
        second = next(found.info for found in search.results() if found.info.uid != first.uid())
    assert second.source_id == first.source_id()
    again.close()


def test_events_go_out_as_json(sink, name):
    inlet = inlet_of(f"Mindwire-{name}-events")
    sink.event(Event(name, "gap", "A gap of 80 ms.", 1.5, {"seconds": 0.08}))
    sample, _ = inlet.pull_sample(5.0)
    assert json.loads(sample[0]) == {
        "kind": "gap",
        "message": "A gap of 80 ms.",
        "unix_time": 1.5,
        "data": {"seconds": 0.08},
    }


def test_numbers_of_events_stay_numbers_whatever_they_and_their_keys_are_made_of(sink, name):
    inlet = inlet_of(f"Mindwire-{name}-events")
    data = {np.int64(3): np.float32(0.5), 4: np.arange(2), "none": np.nan, "nested": {np.int64(5): [np.int16(6)]}}
    sink.event(Event(name, "gap", "A gap.", 1.5, data))
    sample, _ = inlet.pull_sample(5.0)
    assert json.loads(sample[0])["data"] == {"3": 0.5, "4": [0, 1], "none": None, "nested": {"5": [6]}}


def test_nothing_happens_after_close(sink):
    sink.close()
    sink.publish(Prediction(0, 1.0, np.array([0.5, 0.5])))
    sink.event(Event("x", "gap", "", 0.0))


# --- decisions and axes ----------------------------------------------------------------------------------------------

STEER = Axis(name="x", positive="right_hand", negative="left_hand")
POLICY = ControlPolicy(axes=(STEER,))


def decided(seq, policy=POLICY, *, label=None, axes=(0.5,)):
    time = 12.5 + seq / 10
    decision = Decision(seq, time, label, 0.9) if label else None
    control = ControlOutput(decision, axes, (0.25, 0.75), "active", policy)
    return Prediction(seq, time, np.array([0.25, 0.75]), control=control)


@pytest.fixture
def open_sink(name):
    sinks = []

    def opened(**options):
        sinks.append(LslSink(name, contract(), MODEL, hop_samples=10, instance="8000", **options))
        return sinks[-1]

    yield opened
    for sink in sinks:
        sink.close()


def await_outlets(name, *endings):
    """Wait until the stream has exactly the outlets with these endings of their names."""
    with StreamSearch(f"starts-with(name,'Mindwire-{name}')") as search:
        names = {f"Mindwire-{name}{ending}" for ending in ("", "-events", *endings)}
        eventually(lambda: {found.info.name for found in search.results()} == names)


def pulled(inlet, count):
    rows, times = [], []
    while len(rows) < count:
        got, at = inlet.pull_chunk(5.0, 8, min_samples=1)
        rows, times = rows + got, times + at
    return rows, times


def test_decisions_and_axes_carry_the_deciding_windows_time(open_sink, name):
    sink = open_sink(policy=POLICY)
    decisions, axes = inlet_of(f"Mindwire-{name}-Decisions"), inlet_of(f"Mindwire-{name}-Axes")
    sink.publish(decided(0, axes=(-1.0,)))
    sink.publish(decided(1, label="right_hand"))
    sink.publish(decided(2, label="left_hand"))
    assert pulled(decisions, 2) == ([["right_hand"], ["left_hand"]], pytest.approx([12.6, 12.7]))
    assert pulled(axes, 3) == ([[-1.0], [0.5], [0.5]], pytest.approx([12.5, 12.6, 12.7]))


def test_their_descriptions_name_classes_policy_and_model(open_sink, name):
    sink = open_sink(policy=POLICY)
    info = inlet_of(f"Mindwire-{name}-Decisions").info(5.0)
    assert (info.type(), info.channel_format(), info.nominal_srate()) == ("Markers", pylsl.cf_string, 0)
    assert info.source_id() == f"{sink.source_id}-decisions"
    assert parse_policy(info.desc().child("control").child_value("policy")) == POLICY
    assert info.desc().child("control").child_value("sha256") == POLICY.hash
    first = info.desc().child("classes").child("class")
    assert [first.child_value(), first.next_sibling().child_value()] == ["left_hand", "right_hand"]
    axes = inlet_of(f"Mindwire-{name}-Axes").info(5.0)
    assert (axes.type(), axes.channel_format(), axes.get_channel_labels()) == ("Control", pylsl.cf_float32, ["x"])
    assert axes.source_id() == f"{sink.source_id}-axes"
    for one in (info, axes):
        assert one.desc().child("model").child_value("name") == MODEL.name
        assert one.desc().child("model").child_value("sha256") == MODEL.sha256


def test_without_a_policy_there_are_none_until_one_comes_and_other_axes_have_another_outlet(open_sink, name):
    sink = open_sink()
    sink.publish(Prediction(0, 12.5, np.array([0.25, 0.75])))
    await_outlets(name)
    sink.publish(decided(1, ControlPolicy(), axes=()))
    await_outlets(name, "-Decisions")
    decisions = inlet_of(f"Mindwire-{name}-Decisions")
    sink.publish(decided(2))
    first = inlet_of(f"Mindwire-{name}-Axes")
    softer = POLICY.model_copy(update={"decide": POLICY.decide.model_copy(update={"commit": 0.9})})
    sink.publish(decided(3, softer))  # the same axes: receivers keep their outlet
    assert pulled(first, 1) == ([[0.5]], [pytest.approx(12.8)])
    both = POLICY.model_copy(update={"axes": (STEER, STEER.model_copy(update={"name": "y"}))})
    sink.publish(decided(4, both, label="left_hand", axes=(0.5, 0.25)))
    second = inlet_of(f"Mindwire-{name}-Axes")
    assert second.info(5.0).get_channel_labels() == ["x", "y"]
    sink.publish(decided(5, both, axes=(0.5, 0.25)))
    assert pulled(second, 1) == ([[0.5, 0.25]], [pytest.approx(13.0)])
    assert pulled(decisions, 1) == ([["left_hand"]], [pytest.approx(12.9)])


def test_a_recorded_stream_has_its_outlet_of_decisions_from_the_beginning(open_sink, name):
    open_sink(recorded=True)
    await_outlets(name, "-Decisions")


def test_own_outlets_are_no_signal_and_no_markers_of_the_person(open_sink, name):
    open_sink(policy=POLICY)
    theirs = pylsl.StreamOutlet(pylsl.StreamInfo(f"{name}-cues", "Markers", 1, 0, "string", name))
    found = {}
    with StreamSearch(f"contains(name,'{name}')") as search, StreamSearch(marker_predicate(())) as markers:
        eventually(lambda: len(search.results()) == 5 and markers.results())
        found = {one.info.name: one.info for one in search.results()}
        offered = [one.info.name for one in markers.results() if name in one.info.name]
    assert offered == [f"{name}-cues"]
    assert [one.name for one in found.values() if holds_markers(one)] == [f"{name}-cues"]
    assert {one.name for one in found.values() if not is_own(one)} == {f"{name}-cues"}
    del theirs
