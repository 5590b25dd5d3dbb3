"""Samples are buffered until a window can fall due, and that changes no prediction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mindwire.inference.decoder import probabilities
from mindwire.live.decode_state import DecodeState
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.types import Chunk, Reason, SignalInfo
from mindwire_models.contract import Butterworth, Filters
from tests.support.linear_decoder import LinearDecoder
from tests.support.lsl_cap import samples_of
from tests.support.streaming import contract

COUNT = 400


class Counting(Pipeline):
    """Counts how often it is advanced."""

    advances = 0

    def advance(self, chunk):
        self.advances += 1
        return super().advance(chunk)


def pipeline(sfreq: float = 100.0, hop: int = 10, kind: type[Pipeline] = Counting) -> Pipeline:
    info = SignalInfo("cap", "EEG", sfreq, 3, ("C3", "Cz", "C4"), ("uV",) * 3)
    return kind(contract(), info, LinearDecoder(2), PipelineOptions(hop_samples=hop))


def chunks(sizes: list[int], sfreq: float = 100.0, lost: dict[int, int] | None = None) -> list[Chunk]:
    """Chunks of those sizes in turn; ``lost`` samples are left out before the sample of that index."""
    found, index, turn = [], 0, 0
    while index < COUNT:
        size = min(sizes[turn % len(sizes)], COUNT - index)
        index += (lost or {}).pop(index, 0) if lost else 0
        found.append(Chunk(samples_of(index, size), (index + np.arange(size)) / sfreq))
        index, turn = index + size, turn + 1
    return found


def decoded(pipe: Pipeline, state: DecodeState, due: list) -> list:
    logits = [pipe.decoder.decode([pipe.session], [one.window])[0] for one in due]
    return [
        state.complete(one, probabilities(row, pipe.contract.temperature), 0.0)
        for one, row in zip(due, logits, strict=True)
    ]


def work(pipe: Pipeline, parts: list[Chunk]) -> list:
    state = DecodeState(pipe, max_backlog_s=1e9)
    predictions = [prediction for part in parts for prediction in decoded(pipe, state, state.feed(part, 0.0))]
    return predictions + decoded(pipe, state, state.flush(0.0))


def same(got: list, expected: list) -> None:
    assert [(p.seq, p.time, p.reasons) for p in got] == [(p.seq, p.time, p.reasons) for p in expected]
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.sampled_from([1, 3, 10, 40]))
@settings(max_examples=40, deadline=None)
def test_the_predictions_are_the_pipelines_own_however_samples_come(sizes, hop):
    expected = [p for chunk in chunks([COUNT]) for p in pipeline(hop=hop).process(chunk)]
    same(work(pipeline(hop=hop), chunks(sizes)), expected)


@pytest.mark.parametrize("sfreq", [80.0, 128.0, 250.0])
def test_resampled_streams_too(sfreq):
    expected = [p for chunk in chunks([COUNT], sfreq) for p in pipeline(sfreq).process(chunk)]
    assert expected
    same(work(pipeline(sfreq), chunks([1], sfreq)), expected)


def test_gaps_too():
    expected_pipe = pipeline()
    expected = [p for chunk in chunks([5], lost={100: 2, 200: 60}) for p in expected_pipe.process(chunk)]
    same(work(pipeline(), chunks([5], lost={100: 2, 200: 60})), expected)


def test_no_prediction_waits_for_a_later_sample():
    pipe = pipeline()
    state = DecodeState(pipe, max_backlog_s=1e9)
    at = [i for i, chunk in enumerate(chunks([1])) for _ in state.feed(chunk, 0.0)]
    assert at == list(range(99, COUNT, 10))


def test_single_samples_do_not_cost_a_turn_of_the_pipeline_each():
    pipe = pipeline()
    work(pipe, chunks([1]))
    assert pipe.advances <= COUNT * 0.3 + 3  # three of 40 ms at most for each hop of ten samples
    slow = pipeline(hop=40)
    work(slow, chunks([1]))
    assert slow.advances >= COUNT / 4 - 3  # the display is not kept waiting for a far window


def test_a_break_in_the_signal_is_handled_at_once_and_in_order():
    pipe = pipeline()
    state = DecodeState(pipe, max_backlog_s=1e9)
    for chunk in chunks([1])[:155]:
        state.feed(chunk, 0.0)
    state.feed(Chunk(samples_of(155, 1), np.array([99.0]), Reason.RECONNECT), 0.0)
    assert pipe.samples == 156
    assert [event.kind for event in pipe.drain_events()] == ["gap"]
    shown = state.take_conditioned()
    assert sum(len(times) for times, _ in shown) >= 155
    assert state.take_conditioned() == []


def test_contracts_without_filters_work():
    causal = contract(filters=Filters(lowpass=Butterworth(order=2, freq=30.0)))
    info = SignalInfo("cap", "EEG", 100.0, 3, ("C3", "Cz", "C4"), ("uV",) * 3)
    pipe = Pipeline(causal, info, LinearDecoder(2))
    assert len(work(pipe, chunks([3]))) == 31
