"""What happens to a signal is told once, in a sentence, and not two hundred times a second."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from mindwire.inference.decoder import probabilities
from mindwire.live.decode_state import DecodeState
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.signal.events import rate_event
from mindwire.signal.rate import MeasuredRate
from mindwire.sinks.messages import Encoding, Message, prediction_payload
from mindwire.types import Chunk, Prediction, Reason
from mindwire_models.contract import NoNormalisation
from tests.support.linear_decoder import LinearDecoder
from tests.support.scripted_source import Scripted
from tests.support.signals import cut, noise, signal_info, small_contract
from tests.support.streaming import eventually, make_stream, running

N = 3000
INDEX = np.arange(N)


def events_of(times, sizes=(N,), options=None, n=N):
    pipeline = Pipeline(small_contract(normalisation=NoNormalisation()), signal_info(), LinearDecoder(2), options)
    predictions = [p for chunk in cut(noise(n), times, sizes) for p in pipeline.process(chunk)] + pipeline.finish()
    return pipeline.drain_events(), predictions, pipeline


@pytest.mark.parametrize("sizes", [(1,), (10,), (7, 250)])
def test_gaps_are_reported_at_most_once_a_second_and_counted_and_chunks_do_not_matter(sizes):
    lost = np.cumsum(np.isin(INDEX, [500, 530, 560, 590, 800, 1200, 1210])) * 0.5
    whole, _, pipeline = events_of(INDEX / 100.0 + lost)
    assert [(event.kind, event.data["count"], round(event.data["seconds"], 2)) for event in whole] == [
        ("gap", 1, 0.5),
        ("gap", 3, 1.5),
        ("gap", 1, 0.5),
        ("gap", 1, 0.5),
        ("gap", 1, 0.5),
    ]
    assert whole[1].message == "3 further gaps within a second, 1.500 s together."
    assert pipeline.gaps == sum(event.data["count"] for event in whole) == 7
    assert events_of(INDEX / 100.0 + lost, sizes)[0] == whole


def test_a_bridged_gap_a_broken_one_and_a_jump_of_the_clock_are_of_three_kinds():
    times = INDEX / 100.0 + (INDEX >= 1000) * 0.02 + (INDEX >= 1500) * 1.5 - (INDEX >= 2000) * 5.0
    found, _, _ = events_of(times)
    assert [(event.kind, event.data["bridged"]) for event in found] == [
        ("gap", True),
        ("gap", False),
        ("clock_reset", False),
    ]


@pytest.mark.parametrize(
    ("times", "says"),
    [
        (INDEX * 10.0, "cannot be seconds: they seem to be milliseconds"),
        (1.7e12 + INDEX * 10.0, "cannot be seconds: they seem to be milliseconds"),
        (1.7e18 + INDEX * 1e7, "cannot be seconds: they seem to be nanoseconds"),
        (INDEX * 1.0, "cannot be seconds: they seem to count samples"),
        (np.full(N, np.nan), "are no numbers"),
        (np.full(N, np.inf), "are no numbers"),
        (np.full(N, 3.0), "stand still"),
        (90.0 - INDEX / 100.0, "run backwards"),
        (INDEX / 200.0, "by them the signal runs at 200 Hz, and it is taken to have 100 Hz"),
    ],
)
@pytest.mark.parametrize("sizes", [(10,), (N,)])
def test_stamps_that_contradict_the_rate_are_one_sentence(times, says, sizes):
    found, predictions, _ = events_of(times, sizes)
    (event,) = found
    assert event.kind == "rate"
    assert event.data["state"] == "wrong"
    assert says in event.message
    assert "no prediction is valid" in event.message
    assert predictions
    assert not any(prediction.valid for prediction in predictions)
    assert all(prediction.reasons & Reason.WRONG_RATE for prediction in predictions)


@pytest.mark.parametrize("sizes", [(10,), (N,)])
def test_stamps_that_jump_about_are_told_and_not_valid_once_that_is_known(sizes):
    found, predictions, _ = events_of(np.random.default_rng(0).uniform(0, 1e5, N), sizes)
    told = [event for event in found if event.kind == "rate"]
    assert told[-1].data["state"] == "wrong"
    assert "contradict" in told[-1].message
    assert not any(prediction.valid for prediction in predictions if prediction.seq > 40)


def test_a_window_of_a_rate_that_is_off_is_marked_and_reported_once_and_a_wrong_one_is_not_valid():
    marked, predictions, _ = events_of(INDEX / 97.0, (10,))
    assert [(event.kind, event.data["state"]) for event in marked] == [("rate", "off")]
    assert "97 Hz, 3.0 % below the 100 Hz" in marked[0].message
    assert marked[0].data["effective_rate"] == pytest.approx(97.0, rel=1e-6)
    assert predictions[-1].valid
    assert predictions[-1].reasons == Reason.RATE
    wrong, predictions, _ = events_of(INDEX / 106.0, (10,))
    assert [event.data["state"] for event in wrong] == ["wrong"]
    assert not any(prediction.valid for prediction in predictions)


def test_the_user_may_accept_a_rate_against_the_stamps():
    found, predictions, _ = events_of(INDEX / 200.0, (10,), PipelineOptions(sfreq=100.0))
    assert [event.data["state"] for event in found] == ["off"]
    assert predictions[-1].reasons == Reason.RATE
    assert predictions[-1].valid
    found, predictions, _ = events_of(INDEX / 200.0, (10,), PipelineOptions(sfreq=200.0))
    assert not found
    assert not predictions[-1].reasons & (Reason.RATE | Reason.WRONG_RATE)


def test_what_is_right_again_is_told_and_valid_again():
    times = np.concatenate([INDEX[:1000] / 200.0, 6.0 + INDEX[:2000] / 100.0])
    found, predictions, _ = events_of(times, (10,))
    assert [event.data.get("state") for event in found if event.kind == "rate"] == ["wrong", "nominal"]
    assert not any(prediction.valid for prediction in predictions if prediction.time < 7.0)
    assert predictions[-1].valid


def test_what_the_sentence_says_of_a_rate_is_a_rate():
    message = rate_event("off", MeasuredRate(1 / 123.7, 125 / 123.7 - 1, 0.0), 125.0, accepted=False).message
    assert "123.7 Hz, 1.0 % below the 125 Hz" in message
    assert "agree with 125 Hz again" in rate_event("nominal", None, 125.0, accepted=False).message


# ── a decoder that gives no numbers ──────────────────────────────────────────────────────────────────────


class Failing(LinearDecoder):
    """Logits that are no numbers for the windows of some numbers."""

    def __init__(self, bad, value=np.nan) -> None:
        super().__init__(2)
        self._bad, self._value = set(bad), value

    def decode(self, sessions, windows):
        logits = super().decode(sessions, windows)
        for row, window in enumerate(windows):
            if window.seq in self._bad:
                logits[row, 1] = self._value
        return logits


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_probabilities_that_are_no_numbers_are_invalid_and_told(value):
    contract = small_contract(normalisation=NoNormalisation())
    pipeline = Pipeline(contract, signal_info(), Failing({100, 101, 102, 200}, value))
    good = Pipeline(contract, signal_info(), Failing(()))
    chunk = Chunk(noise(N), INDEX / 100.0)
    found, expected = pipeline.process(chunk), good.process(chunk)
    failed = [prediction.seq for prediction in found if prediction.reasons & Reason.DECODER]
    assert failed == [100, 101, 102, 200]
    for one, other in zip(found, expected, strict=True):
        if one.seq in failed:
            assert np.isnan(one.probabilities).all()
            assert not one.valid
            assert one.reasons.labels[-1] == "decoder"
        else:
            np.testing.assert_array_equal(one.probabilities, other.probabilities)
            assert one.reasons == other.reasons
    events = pipeline.drain_events()
    assert [(event.kind, event.data["seq"], event.data["count"]) for event in events] == [
        ("error", 100, 1),
        ("error", 200, 3),
    ]
    assert "no numbers" in events[0].message


def test_a_decoder_that_fails_now_and_then_is_told_at_most_once_a_second():
    pipeline = Pipeline(small_contract(), signal_info(), Failing(range(0, 400, 2)))
    found = pipeline.process(Chunk(noise(N), INDEX / 100.0))
    events = pipeline.drain_events()
    assert sum(bool(prediction.reasons & Reason.DECODER) for prediction in found) == 200
    assert 10 <= len(events) <= N / 100
    assert sum(event.data["count"] for event in events) >= 190


def test_large_but_finite_logits_are_no_failure():
    pipeline = Pipeline(small_contract(), signal_info(), LinearDecoder(2))
    np.testing.assert_allclose(
        probabilities(np.array([[3e38, -3e38], [0.0, 0.0]]), pipeline.contract.temperature), [[1, 0], [0.5, 0.5]]
    )


class NoNumbers(LinearDecoder):
    def decode(self, sessions, windows):
        return np.full((len(windows), 2), np.nan, dtype=np.float32)


def test_a_decoder_that_gives_no_numbers_is_never_ready_and_is_reported():
    source = Scripted()
    source.feed(400)
    stream, memory = make_stream(connector=source, decoder=NoNumbers(2))
    with running(stream):
        eventually(lambda: stream.reason == "The model gives no numbers; no prediction is valid.")
        assert not stream.ready
        eventually(lambda: "error" in [event.kind for event in memory.events])
    assert stream.counters.valid == 0
    assert all(prediction.reasons & Reason.DECODER for prediction in memory.predictions)


# ── signals that are too small or too large for EEG ──────────────────────────────────────────────────────


def of_size(samples, unit="microvolts", sizes=(10,), contract=None):
    contract = contract or small_contract(normalisation=NoNormalisation())
    pipeline = Pipeline(contract, signal_info(units=(unit,) * 3), LinearDecoder(2))
    times = np.arange(len(samples)) / 100.0
    predictions = [p for chunk in cut(samples, times, sizes) for p in pipeline.process(chunk)] + pipeline.finish()
    return predictions, pipeline.drain_events(), pipeline


@pytest.mark.parametrize("factor", [1e-3, 1e-6, 1e-30, 1e-45, 1e-60])
@pytest.mark.parametrize("aligned", [False, True])
def test_signals_too_small_for_eeg_are_never_valid(factor, aligned):
    contract = small_contract() if aligned else small_contract(normalisation=NoNormalisation())
    predictions, events, _ = of_size(noise(N) * factor, contract=contract)
    assert predictions
    assert not any(prediction.valid for prediction in predictions)
    assert predictions[-1].reasons & Reason.AMPLITUDE
    if factor in {1e-3, 1e-6}:
        (event,) = events
        assert event.kind == "amplitude"
        assert event.data["factor"] == pytest.approx(factor)


def test_the_smallest_number_with_either_sign_is_no_signal():
    predictions, _, _ = of_size(np.random.default_rng(0).choice([-1e-45, 1e-45], (N, 3)))
    assert not any(prediction.valid for prediction in predictions)


@pytest.mark.parametrize("sizes", [(1,), (7, 250), (N,)])
def test_chunks_do_not_matter_to_a_signal_that_is_too_small(sizes):
    samples = noise(N)
    samples[1000:1700] *= 1e-6
    (one, told, _), (other, told_too, _) = of_size(samples), of_size(samples, sizes=sizes)
    assert [(p.seq, int(p.reasons), p.probabilities.tobytes()) for p in one] == [
        (p.seq, int(p.reasons), p.probabilities.tobytes()) for p in other
    ]
    assert told == told_too
    small = [p.time for p in one if p.reasons & Reason.AMPLITUDE]
    assert 10.5 <= small[0] <= 12.0
    assert one[-1].valid


@pytest.mark.parametrize(
    ("factor", "unit", "says"),
    [
        (1e6, "V", "a million times too large for EEG; the unit seems to be uV, not V: if so, say --unit uV."),
        (1e3, "mV", "a thousand times too large for EEG; the unit seems to be uV, not mV"),
        (1e3, "uV", "a thousand times too large for EEG; the unit seems to be nV, not uV"),
        (1e-6, "uV", "a million times too small for EEG; the unit seems to be V, not uV: if so, say --unit V."),
        (1e-3, "uV", "a thousand times too small for EEG; the unit seems to be mV, not uV"),
        (1e6, "uV", "a million times too large for EEG; its unit, gain or scale cannot be right"),
    ],
)
def test_the_unit_that_would_fit_is_named(factor, unit, says):
    in_unit = noise(1000) * factor / {"V": 1e6, "mV": 1e3, "uV": 1.0}[unit]
    predictions, events, _ = of_size(in_unit, unit)
    assert not any(prediction.valid for prediction in predictions)
    (event,) = events
    assert says in event.message


@pytest.mark.parametrize("scale", [0.5, 3.0, 20.0, 150.0])
def test_eeg_of_any_size_is_neither_too_small_nor_too_large(scale):
    predictions, events, _ = of_size(noise(N, scale=scale))
    assert not events
    assert predictions[-1].valid


def test_live_too_logits_that_are_no_numbers_make_a_prediction_invalid():
    pipeline = Pipeline(small_contract(), signal_info(), LinearDecoder(2))
    state = DecodeState(pipeline, max_backlog_s=100.0)
    first, second = state.feed(Chunk(noise(127), INDEX[:127] / 100.0), 2.0)
    rows = probabilities(np.array([[1.0, 0.0], [np.nan, 0.0]]), 1.0)
    good, bad = (state.complete(due, row, 0.1) for due, row in zip((first, second), rows, strict=True))
    assert not good.reasons & Reason.DECODER
    assert bad.reasons & Reason.DECODER
    assert np.isfinite(good.probabilities).all()
    assert np.isnan(bad.probabilities).all()
    assert [event.kind for event in pipeline.drain_events()] == ["error"]


def test_the_message_of_such_a_prediction_has_null_for_its_probabilities():
    window = Prediction(7, 1.0, np.array([np.nan, np.nan]), Reason.DECODER)
    message = json.loads(Message(prediction_payload(window, 0.0)).encoded(Encoding.JSON))
    assert message["probabilities"] == [None, None]
    assert (message["valid"], message["reasons"]) == (False, ["decoder"])


def test_a_wrong_unit_of_some_channels_is_named():
    contract = small_contract(normalisation=NoNormalisation())
    units = tuple("nV" if i % 2 else "uV" for i in range(contract.n_channels))
    pipeline = Pipeline(contract, replace(signal_info(), units=units), LinearDecoder(2))
    pipeline.process(Chunk(noise(N), INDEX / 100.0))
    messages = [event.message for event in pipeline.drain_events() if event.kind == "amplitude"]
    assert len(messages) == 1
    assert messages[0].startswith(
        "The channels in nV are about a thousand times too small for EEG; the unit seems to be uV"
    )
