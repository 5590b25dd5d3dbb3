"""Streams conditioned together give, bit for bit, what each gives alone, whatever befalls them."""

from __future__ import annotations

import numpy as np
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from mindwire.pipeline import Pipeline
from mindwire.signal.together import condition_together
from mindwire.types import Chunk
from mindwire_models.contract import NoNormalisation, ZScore
from tests.mindwire.test_pipeline import as_bits, damaged_signals
from tests.support.linear_decoder import LinearDecoder
from tests.support.signals import LABELS, noise, signal_info, small_contract

CAP_OF_FIVE = signal_info(n_channels=5, labels=(*LABELS, "A1", "A2"), units=("uV",) * 5)


def together(pipelines, chunks):
    """One turn of the runner, with predictions for windows; also how many went together."""
    conditioned = condition_together([pipeline.conditioner for pipeline in pipelines], chunks)
    predictions = []
    for pipeline, chunk, part in zip(pipelines, chunks, conditioned, strict=True):
        windows = pipeline.advance(chunk) if part is None else pipeline.take(part)
        logits = pipeline.decoder.decode([pipeline.session] * len(windows), windows)
        predictions.append([pipeline.complete(*pair) for pair in zip(windows, logits, strict=True)])
    return predictions, sum(part is not None for part in conditioned)


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    signals=st.lists(damaged_signals(1800), min_size=3, max_size=5),
    sizes=st.lists(st.sampled_from([1, 3, 7, 10, 32]), min_size=1, max_size=5),
    norm=st.sampled_from(["none", "zscore", "alignment"]),
)
def test_together_is_alone(signals, sizes, norm):
    contract = small_contract()
    if norm == "none":
        contract = small_contract(normalisation=NoNormalisation())
    elif norm == "zscore":
        contract = small_contract(normalisation=ZScore(mean=(1.0, 2.0, 3.0), std=(2.0, 3.0, 4.0)))
    alone = [Pipeline(contract, signal_info(), LinearDecoder(2)) for _ in signals]
    grouped = [Pipeline(contract, signal_info(), LinearDecoder(2)) for _ in signals]
    ours: list[list] = [[] for _ in signals]
    theirs: list[list] = [[] for _ in signals]
    start = turn = 0
    while start < 1800:
        stop = start + sizes[turn % len(sizes)]
        chunks = [Chunk(samples[start:stop], times[start:stop]) for samples, times in signals]
        for mine, new in zip(ours, together(grouped, chunks)[0], strict=True):
            mine += new
        for mine, pipeline, chunk in zip(theirs, alone, chunks, strict=True):
            mine += pipeline.process(chunk)
        start, turn = stop, turn + 1
    for one, other, p, q in zip(ours, theirs, grouped, alone, strict=True):
        assert as_bits(one) == as_bits(other)
        assert p.channel_quality() == q.channel_quality()
        assert (p.samples, p.gaps, p.drift_ppm, p.effective_rate) == (q.samples, q.gaps, q.drift_ppm, q.effective_rate)
        assert [event.message for event in p.drain_events()] == [event.message for event in q.drain_events()]


UNITS = {"uV": 1.0, "mV": 1e-3, "V": 1e-6}


@st.composite
def descriptions(draw):
    """A stream's description, with the contract's channels in any order among others."""
    labels = tuple(draw(st.permutations([*LABELS, *("Fz", "Pz", "Oz")[: draw(st.integers(0, 3))]])))
    unit = draw(st.sampled_from(sorted(UNITS)))
    info = signal_info(
        sfreq=draw(st.sampled_from([100.0, 128.0, 250.0])),
        n_channels=len(labels),
        labels=labels,
        units=(unit,) * len(labels),
    )
    return info, unit, draw(st.sampled_from(["float32", "float64"]))


@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(kinds=st.lists(descriptions(), min_size=1, max_size=3), repeats=st.integers(3, 4))
@example(kinds=[(signal_info(), "uV", "float32"), (CAP_OF_FIVE, "uV", "float32")], repeats=3)
def test_streams_of_different_descriptions_predict_together_as_each_alone(kinds, repeats):
    contract = small_contract()
    streams = [kind for kind in kinds for _ in range(repeats)]
    alone, grouped = ([Pipeline(contract, info, LinearDecoder(2)) for info, _, _ in streams] for _ in range(2))
    signals = [
        (noise(1000, info.n_channels, seed=seed) * UNITS[unit]).astype(dtype)
        for seed, (info, unit, dtype) in enumerate(streams)
    ]
    together_once = 0
    for start in range(0, 1000, 10):
        chunks = [
            Chunk(samples[start : start + 10], np.arange(start, start + 10) / info.sfreq)
            for samples, (info, _, _) in zip(signals, streams, strict=True)
        ]
        predictions, count = together(grouped, chunks)
        together_once += count
        for ours, pipeline, chunk in zip(predictions, alone, chunks, strict=True):
            assert as_bits(ours) == as_bits(pipeline.process(chunk))
    assert together_once or all(info.sfreq != 100.0 for info, _, _ in streams)


def test_steady_streams_go_together_even_when_their_values_repeat():
    pipelines = [Pipeline(small_contract(), signal_info(), LinearDecoder(2)) for _ in range(4)]
    count = 0
    for start in range(0, 1500, 10):
        times = np.arange(start, start + 10) / 100.0
        chunks = [Chunk(np.round(noise(1500, seed=k)[start : start + 10] / 4) * 4, times) for k in range(4)]
        count += together(pipelines, chunks)[1]
    assert count > 4 * 60


def test_a_stream_that_is_not_as_usual_is_left_alone_and_harms_no_other():
    pipelines = [Pipeline(small_contract(), signal_info(), LinearDecoder(2)) for _ in range(4)]
    for start in range(0, 1500, 10):
        times = np.arange(start, start + 10) / 100.0
        chunks = [Chunk(noise(1500, seed=k)[start : start + 10].copy(), times) for k in range(4)]
        chunks[2].samples[5, 1] = np.nan
        found = condition_together([pipeline.conditioner for pipeline in pipelines], chunks)
        assert found[2] is None
        assert len({part is None for k, part in enumerate(found) if k != 2}) == 1
        for pipeline, chunk, part in zip(pipelines, chunks, found, strict=True):
            _ = pipeline.advance(chunk) if part is None else pipeline.take(part)
    assert all(part is not None for k, part in enumerate(found) if k != 2)
