"""The outlets of predictions and events, seen by another LSL inlet."""

from __future__ import annotations

import json

import numpy as np
import pylsl
import pytest

from mindwire.sinks.lsl import LslSink
from mindwire.sources.lsl_discovery import StreamSearch
from mindwire.status import Event
from mindwire.types import Prediction, Reason
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
