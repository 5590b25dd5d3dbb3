"""Metrics of streams: every family of the text parses, and says what the status says."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mindwire.api.metrics import block, exposition, service_blocks
from mindwire.live.reporter import StreamReporter
from mindwire.status import AdaptationStatus, ChannelStatus, Counters
from mindwire.types import Prediction, Reason
from tests.support.standin import StandIn


def samples_of(text: bytes) -> dict[str, dict[tuple, float]]:
    """Values by the name of the sample and the values of its labels."""
    found: dict[str, dict[tuple, float]] = {}
    for family in text_string_to_metric_families(text.decode()):
        assert family.documentation
        for sample in family.samples:
            labels = tuple(sample.labels.values())
            assert labels not in found.setdefault(sample.name, {})
            found[sample.name][labels] = sample.value
    return found


def test_predictions_are_counted_by_each_reason_and_events_by_kind():
    reporter = StreamReporter("eeg", [])
    for reasons in (Reason.NONE, Reason.MUSCLE, Reason.FLAT | Reason.GAP, Reason.FLAT):
        reporter.publish(Prediction(0, 0.0, np.ones(4) / 4, reasons, {"receive": 3.0, "decode": 1.0}))
    for state in ("loading", "swapped", "swapped"):
        reporter.emit("model", "The model changed.", {"state": state})
    counters = reporter.counters
    assert counters.reasons == {"muscle": 1, "flat": 2, "gap": 1}
    assert (counters.predictions, counters.valid) == (4, 2)
    assert counters.events["model"] == 3
    assert counters.swaps == {"loading": 1, "swapped": 2}
    assert sum(reporter.latency.stages["publish"].counts) == sum(reporter.latency.age.counts) == 4


def test_the_metrics_say_what_the_status_says():
    stream = StandIn('r"1')  # no name of a stream has quotes, but those of classes and models may
    channel = {"label": "C3", "score": 0.1, "verdict": "bad", "reasons": ["flat"], "amplitude": 0.0}
    quality = ChannelStatus.model_validate({**channel, "line_ratio": 0.0, "muscle_ratio": 0.0, "drift": 0.0})
    stream.said = {
        "counters": Counters(reasons={"flat": 2}, events={"gap": 3}, swaps={"swapped": 1, "shadow": 1}),
        "to_record": True,
        "adaptation": AdaptationStatus(kind="recentre", ready=True, frozen=False, good_seconds=9.0, drift=0.25),
        "quality": [quality],
    }
    stream.publish_one()
    found = samples_of(exposition({stream.name: stream}, service_blocks()))
    name = stream.name
    assert found["mindwire_prediction_reasons_total"][name, "flat", "invalid"] == 2
    assert found["mindwire_prediction_reasons_total"][name, "muscle", "suspect"] == 0
    assert found["mindwire_events_total"] == {(name, "gap"): 3}
    assert found["mindwire_model_swaps_total"][name, "swapped"] == 1
    assert found["mindwire_model_swaps_total"][name, "refused"] == 0
    assert found["mindwire_recording"] == {(name,): 0}
    assert found["mindwire_adaptation_drift"] == {(name,): 0.25}
    assert found["mindwire_channels"][name, "bad"] == 1
    assert found["mindwire_hop_seconds"] == {(name,): 0.04}
    assert found["mindwire_latency_seconds_count"][name, "publish"] == 1
    assert found["mindwire_data_age_seconds_sum"][name,] == pytest.approx(0.8e-3, abs=0.11e-3)
    assert "mindwire_build_info" in found


def test_a_metric_escapes_its_labels():
    text = block("counter", "x", "X.", ("a", "b"), [(('q"\\\n', "plain"), 1)])
    (family,) = text_string_to_metric_families(text)
    assert family.samples[0].labels == {"a": 'q"\\\n', "b": "plain"}
    assert family.samples[0].name == "mindwire_x_total"
