"""Two models on one signal: the second begins beside the first at any moment, and takes over between two hops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mindwire.control.policy import ControlPolicy
from mindwire.options import AdaptationCommand, PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.types import Chunk, Reason
from mindwire_models.contract import Alignment, Butterworth, Filters, NoNormalisation
from tests.support.damaged_signals import as_bits, damaged_signals
from tests.support.linear_decoder import LinearDecoder
from tests.support.signals import cut, noise, signal_info, small_contract

RIEMANN = Alignment(kind="riemannian", scale="window_sum", update_samples=50, ready_samples=100)
OTHERS = {
    "the same": {},
    "another hop": {"hop_samples": 11},
    "another window": {"window_samples": 90},
    "a longer window": {"window_samples": 150},
    "another alignment": {"normalisation": RIEMANN},
    "no alignment": {"normalisation": NoNormalisation()},
    "other filters": {"filters": Filters(lowpass=Butterworth(order=4, freq=20.0))},
    "another rate": {"sfreq": 64.0},
    "other channels": {"channels": ("C4", "C3")},
}


SAMPLES = noise(3000, seed=5)
TIMES = np.arange(3000) / 100.0


def alone(contract, seed=1, samples=SAMPLES, times=TIMES, options=None):
    pipeline = Pipeline(contract, signal_info(), LinearDecoder(2, seed), options)
    return pipeline.process(Chunk(samples, times)) + pipeline.finish()


def two_models(chunks, contracts, begin_at, take_over_at, back_at, seeds=(0, 1), options=None):
    """The predictions in use, and those of each model; the commands take effect after so many source samples."""
    first, second = (
        Pipeline(contract, signal_info(), LinearDecoder(2, seed), options)
        for contract, seed in zip(contracts, seeds, strict=True)
    )
    in_use, beside, used, carried = first, None, [], None
    for chunk in chunks:
        start = 0
        stops = sorted({at - in_use.samples for at in (begin_at, take_over_at, back_at)} | {len(chunk)})
        for stop in [at for at in stops if 0 <= at <= len(chunk)]:
            if stop > start:
                piece = Chunk(chunk.samples[start:stop], chunk.times[start:stop])
                used += in_use.process(piece)
                if beside is not None:
                    beside.process(piece)
                start = stop
            if in_use.samples == begin_at and beside is None:
                beside = second
                carried = second.join(first)
            if (in_use is first and in_use.samples == take_over_at < back_at) or (
                in_use is second and in_use.samples == back_at
            ):
                beside.succeed(in_use)
                in_use, beside = beside, in_use
    return used + in_use.finish(), carried


@settings(max_examples=25, deadline=None)
@given(
    signal=damaged_signals(),
    sizes=st.lists(st.sampled_from([1, 2, 3, 7, 10, 32, 100, 500]), min_size=1, max_size=6),
    moments=st.lists(st.integers(0, 899), min_size=3, max_size=3, unique=True),
    other=st.sampled_from(sorted(OTHERS)),
    order=st.booleans(),
)
def test_neither_chunking_nor_the_moment_matters(signal, sizes, moments, other, order):
    contracts = [small_contract(), small_contract(**OTHERS[other])][:: 1 if order else -1]
    options = PipelineOptions(policy=ControlPolicy())
    samples, times = signal
    whole, _ = two_models([Chunk(samples, times)], contracts, *sorted(moments), options=options)
    cut_up, _ = two_models(cut(samples, times, sizes), contracts, *sorted(moments), options=options)
    assert as_bits(whole) == as_bits(cut_up)
    assert [prediction.seq for prediction in whole] == list(range(len(whole)))
    # Where stamps contradict the rate from the first ones on, the first two windows may be given one time.
    contradicted = any(prediction.reasons & Reason.WRONG_RATE for prediction in whole)
    if np.isfinite(times).all() and not np.any(np.diff(times) < 0) and not contradicted:
        assert all(np.diff([prediction.time for prediction in whole]) > 0)


@settings(max_examples=8, deadline=None)
@given(signal=damaged_signals(), moments=st.lists(st.integers(0, 899), min_size=3, max_size=3, unique=True))
def test_a_swap_between_equal_models_changes_no_bit(signal, moments):
    chunks = cut(*signal, [10])
    options = PipelineOptions(policy=ControlPolicy())
    swapped, carried = two_models(chunks, [small_contract()] * 2, *sorted(moments), seeds=(0, 0), options=options)
    assert as_bits(swapped) == as_bits(alone(small_contract(), 0, *signal, options))
    assert carried[0] == "signal"


@pytest.mark.parametrize("other", ["the same", "another hop", "no alignment", "another window"])
def test_where_the_signal_is_conditioned_alike_the_new_model_predicts_what_it_would_have_alone(other):
    contract = small_contract(**OTHERS[other])
    if other in {"another hop", "another window"}:  # whose alignments learn from other blocks
        contract = contract.model_copy(update={"normalisation": NoNormalisation()})
    used, carried = two_models(cut(SAMPLES, TIMES, [13]), [small_contract(), contract], 800, 1000, 5000)
    assert carried == ["signal"] + ["alignment"] * (contract.normalisation != NoNormalisation())
    expected = {p.time: p.probabilities for p in alone(contract)}
    after = [p for p in used if p.time >= 10.0]
    assert len(after) == sum(time >= 10.0 for time in expected)
    for prediction in after:
        assert np.array_equal(prediction.probabilities, expected[prediction.time])
    assert after[0].valid


@pytest.mark.parametrize("other", ["other filters", "another rate", "other channels", "a longer window"])
@pytest.mark.parametrize("begin_at", [801, 804])
def test_a_model_that_begins_anew_predicts_what_it_would_have_alone_once_its_filters_have_settled(other, begin_at):
    plain = {"normalisation": NoNormalisation()}
    contract = small_contract(**OTHERS[other] | plain)
    used, carried = two_models(cut(SAMPLES, TIMES, [13]), [small_contract(**plain), contract], begin_at, 2200, 5000)
    assert carried == []
    expected = {round(p.time, 9): p.probabilities for p in alone(contract)}
    after = [p for p in used if p.time >= 22.0]
    assert len(after) == sum(time >= 22.0 for time in expected)
    worst = max(np.abs(p.probabilities - expected[round(p.time, 9)]).max() for p in after)
    assert worst < 1e-6


def test_an_alignment_of_the_same_signal_is_carried_over_and_that_of_another_is_not():
    first = small_contract()
    for change, expected in (
        ({"normalisation": RIEMANN}, ["signal", "alignment"]),
        ({"window_samples": 150}, ["alignment"]),
        ({"filters": Filters(lowpass=Butterworth(order=4, freq=20.0))}, []),
        ({"reference": "the mastoids"}, []),
    ):
        pipeline = Pipeline(first, signal_info(), LinearDecoder(2))
        pipeline.process(Chunk(SAMPLES, TIMES))
        second = Pipeline(small_contract(**change), signal_info(), LinearDecoder(2))
        assert second.join(pipeline) == expected
        learnt = second.alignment.state
        if "alignment" in expected:
            assert np.array_equal(learnt.covariance, pipeline.alignment.state.covariance)
        else:
            assert not learnt.weight


def test_a_frozen_alignment_stays_frozen_where_it_is_carried_over_and_commands_are_repeated():
    pipeline = Pipeline(small_contract(), signal_info(), LinearDecoder(2))
    pipeline.process(Chunk(SAMPLES[:1000], TIMES[:1000]))
    pipeline.adapt(AdaptationCommand("freeze"))
    second = Pipeline(small_contract(), signal_info(), LinearDecoder(2))
    second.join(pipeline)
    assert second.frozen
    second.adapt(AdaptationCommand("resume"))
    [event] = second.drain_events()
    again = Pipeline(
        small_contract(),
        signal_info(),
        LinearDecoder(2),
        PipelineOptions(commands=(AdaptationCommand("resume", segment=event.data["segment"], at=event.data["at"]),)),
    )
    again.join(pipeline)
    assert not again.frozen
