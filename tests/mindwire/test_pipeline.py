"""The pipeline as a whole: chunking never matters, gaps never hide, what is not met is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Decide, DynamicIntegrator, EstimatedPrior, HiddenMarkov, Latest, Leaky
from mindwire.errors import ArgumentError, ContractError
from mindwire.options import AdaptationCommand, PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.types import Chunk, Reason
from mindwire_models.contract import Alignment, NoNormalisation, ZScore
from tests.support.damaged_signals import as_bits, damaged_signals
from tests.support.linear_decoder import LinearDecoder
from tests.support.lsl_cap import samples_of
from tests.support.signals import cut, noise, signal_info, small_contract


def run(chunks, contract=None, info=None, options=None):
    pipeline = Pipeline(contract or small_contract(), info or signal_info(), LinearDecoder(2), options)
    predictions = [prediction for chunk in chunks for prediction in pipeline.process(chunk)]
    return predictions + pipeline.finish(), pipeline


@settings(max_examples=40, deadline=None)
@given(
    signal=damaged_signals(),
    sizes=st.lists(st.sampled_from([1, 2, 3, 7, 10, 32, 100, 500]), min_size=1, max_size=6),
    rate_out=st.sampled_from([100.0, 160.0, 64.0]),
    kind=st.sampled_from(["none", "euclidean", "riemannian"]),
    evidence=st.sampled_from([Latest(), Leaky(prior=EstimatedPrior()), HiddenMarkov(), DynamicIntegrator()]),
)
def test_chunking_never_matters(signal, sizes, rate_out, kind, evidence):
    samples, times = signal
    norm = small_contract().normalisation
    norm = NoNormalisation() if kind == "none" else norm.model_copy(update={"kind": kind})
    contract = small_contract(sfreq=rate_out, normalisation=norm)
    decide = Decide(commit=0.5, release=0.4, dwell_s=0.0, refractory_s=0.3)
    options = PipelineOptions(policy=ControlPolicy(evidence=evidence, decide=decide))
    whole, _ = run([Chunk(samples, times)], contract, options=options)
    pieces, _ = run(cut(samples, times, sizes), contract, options=options)
    assert as_bits(whole) == as_bits(pieces)
    assert all(p.valid for p in whole if p.control.decision)
    assert all(p.valid or p.control.state == "invalid" for p in whole)


def test_learning_early_changes_nothing():
    samples, times = noise(3000), np.arange(3000) / 100.0
    late, _ = run(cut(samples, times, [7, 32]))
    pipeline = Pipeline(small_contract(), signal_info(), LinearDecoder(2))
    early, versions = [], []
    for chunk in cut(samples, times, [7, 32]):
        early += pipeline.process(chunk)
        pipeline.catch_up()
        versions.append(pipeline.alignment.version)
        pipeline.catch_up()  # there is nothing left
        assert pipeline.alignment.version == versions[-1]
    assert as_bits(early + pipeline.finish()) == as_bits(late)
    assert versions[-1] > 2


def test_hops_count_samples_and_times_are_those_of_the_last_sample():
    samples, times = noise(400), 5.0 + np.arange(400) / 100.0
    predictions, _ = run(cut(samples, times, [10]))
    assert [p.seq for p in predictions] == list(range(len(predictions)))
    ends = np.arange(120, 401, 7)
    np.testing.assert_allclose([p.time for p in predictions], times[ends - 1], atol=1e-9)


def test_reasons_follow_settling_and_alignment():
    samples, times = noise(800), np.arange(800) / 100.0
    contract = small_contract()
    predictions, pipeline = run(cut(samples, times, [10]), contract)
    settling = contract.settling_samples
    for p in predictions:
        start = round(p.time * 100) + 1 - 120
        assert bool(p.reasons & Reason.SETTLING) == (start < settling)
    assert predictions[0].reasons & Reason.ALIGNING
    assert predictions[-1].valid
    assert pipeline.alignment is not None
    assert pipeline.alignment.ready


@pytest.mark.parametrize("damage", [None, "flat", "gap"])
@pytest.mark.parametrize("ready_samples", [50, 100, 400])
def test_the_wait_until_predictions_are_valid_is_told(damage, ready_samples):
    samples, times = noise(1500), np.arange(1500) / 100.0
    if damage == "flat":
        samples[700:760, 0] = 0.0
    elif damage == "gap":
        times[700:] += 3.0
    contract = small_contract(
        normalisation=Alignment(kind="euclidean", scale="window_sum", update_samples=50, ready_samples=ready_samples)
    )
    pipeline = Pipeline(contract, signal_info(), LinearDecoder(2), PipelineOptions(bad_channels="invalidate"))
    told, valid = [], []
    for chunk in cut(samples, times, [10]):
        predictions = pipeline.process(chunk)
        now = pipeline.samples / 100.0
        told.append((now, pipeline.seconds_until_valid))
        valid += [(now, p.valid) for p in predictions]
    first = next(now for now, is_valid in valid if is_valid)
    tolerance = (10 + contract.hop_samples) / 100.0
    for now, wait in told:
        if now < first - tolerance and now > 0.6:  # the first samples are held back until the time base has begun
            assert abs(now + wait - first) <= tolerance
    assert told[-1][1] == 0.0
    if damage:
        again = next(now for now, is_valid in valid if is_valid and now > 8.0)
        for now, wait in told:
            if 7.7 < now < again:
                assert now + wait <= again + tolerance
                assert now < again - 1.0 or now + wait >= again - tolerance


def test_a_short_gap_is_bridged_flagged_and_forgotten():
    samples, times = noise(1500), np.arange(1500) / 100.0
    kept = np.r_[0:700, 703:1500]
    undisturbed, _ = run([Chunk(samples, times)])
    bridged, pipeline = run([Chunk(samples[kept], times[kept])])
    assert pipeline.gaps == 1
    assert [p.seq for p in bridged] == [p.seq for p in undisturbed]
    np.testing.assert_allclose([p.time for p in bridged], [p.time for p in undisturbed], atol=1e-6)
    for p in bridged:
        touches = times[700] <= p.time + 1e-9 and p.time - 1.19 <= times[702] + 1e-9
        assert bool(p.reasons & Reason.GAP) == touches
    # What the filters make of the three samples is settled like a start, only sooner.
    rings = [p.time for p in bridged if p.time > times[702] and p.reasons & Reason.SETTLING]
    assert times[702] + 1.19 < max(rings) < times[702] + 1.19 + small_contract().settling_samples / 100
    # Ten seconds later nothing of it is left but a trace in the mean covariance.
    np.testing.assert_allclose(bridged[-1].probabilities, undisturbed[-1].probabilities, atol=0.02)


def test_no_window_holds_samples_of_both_sides_of_a_long_gap():
    samples, times = noise(1500), np.arange(1500) / 100.0
    times[700:] += 3.0
    predictions, pipeline = run(cut(samples, times, [9]))
    assert pipeline.gaps == 1
    before = [p for p in predictions if p.time < 7.0]
    after = [p for p in predictions if p.time >= 7.0]
    assert max(p.time for p in before) <= times[699]
    assert min(p.time for p in after) >= times[700] + 1.19 - 1e-6
    valid = [p.time for p in after if p.valid]
    expected = times[700] + 1.19 + small_contract().settling_samples / 100
    assert expected - 1e-6 <= min(valid) <= expected + 0.07
    [event] = [event for event in pipeline.drain_events() if event.kind == "gap"]
    assert event.data["seconds"] == pytest.approx(3.0, abs=0.02)


def test_a_late_burst_is_no_gap():
    samples, times = noise(1500), np.arange(1500) / 100.0
    late = times.copy()
    late[700:760] = times[760]
    undisturbed, _ = run([Chunk(samples, times)])
    burst, pipeline = run(cut(samples, late, [5]))
    assert pipeline.gaps == 0
    for one, other in zip(burst, undisturbed, strict=True):
        assert one.probabilities.tobytes() == other.probabilities.tobytes()
        assert one.time == pytest.approx(other.time, abs=0.03)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda x: x.__setitem__((slice(700, 703), 1), np.nan), Reason.NON_FINITE),
        (lambda x: x.__setitem__((700, 0), -np.inf), Reason.NON_FINITE),
        (lambda x: x.__setitem__((slice(700, 760), 2), 3.0), Reason.FLAT),
        (lambda x: x.__setitem__((slice(700, 706), 2), 4000.0), Reason.SATURATED),
        (lambda x: x.__setitem__((slice(700, 760), slice(None)), x[700:760] * 1000), Reason.AMPLITUDE),
    ],
)
def test_what_is_wrong_with_the_signal_makes_its_windows_invalid_and_nothing_else(damage, reason):
    samples, times = noise(3000), np.arange(3000) / 100.0
    damage(samples)
    predictions, _ = run(cut(samples, times, [10]))
    touched = [p for p in predictions if 7.7 < p.time < 8.0]
    assert touched
    assert all(p.reasons & reason and not p.valid for p in touched)
    assert all(p.valid for p in predictions if 4.0 < p.time < 6.99 or p.time > 20.0)
    assert all(np.isfinite(p.probabilities).all() for p in predictions)


def test_alignment_learns_from_good_samples_only():
    samples, times = noise(3000), np.arange(3000) / 100.0
    _, clean_pipeline = run([Chunk(samples, times)])
    samples[1000:1600, 1] = np.nan
    _, pipeline = run([Chunk(samples, times)])
    assert pipeline.alignment.state.good_samples < clean_pipeline.alignment.state.good_samples
    np.testing.assert_allclose(pipeline.alignment.matrix, clean_pipeline.alignment.matrix, rtol=0.05, atol=1e-4)


def test_aligned_windows_have_the_scale_the_contract_states():
    samples, times = noise(5000), np.arange(5000) / 100.0
    for scale, variance in (("window_sum", 1 / 120), ("sample_mean", 1.0)):
        spec = small_contract().normalisation.model_copy(update={"scale": scale})
        pipeline = Pipeline(small_contract(normalisation=spec), signal_info(), LinearDecoder(2))
        windows = pipeline.advance(Chunk(samples, times))
        aligned = np.concatenate([w.samples @ w.alignment for w in windows[-300:]])
        assert aligned.var() == pytest.approx(variance, rel=0.1)


def test_a_source_that_knows_of_a_break_is_believed():
    samples, times = noise(600), np.arange(600) / 100.0
    chunks = [Chunk(samples[:300], times[:300]), Chunk(samples[300:], times[300:], Reason.RECONNECT)]
    predictions, pipeline = run(chunks)
    assert not [p for p in predictions if times[300] <= p.time < times[300] + 1.19 - 1e-9]
    assert pipeline.drain_events()[0].data["reasons"] == ["reconnect"]


def test_zscore_uses_the_stored_statistics():
    contract = small_contract(normalisation=ZScore(mean=(0.0, 0.0, 0.0), std=(20.0, 10.0, 5.0)))
    plain = small_contract(normalisation=NoNormalisation())
    chunk = Chunk(noise(400), np.arange(400) / 100.0)
    scaled = Pipeline(contract, signal_info(), LinearDecoder(2)).advance(chunk)[-1].samples
    unscaled = Pipeline(plain, signal_info(), LinearDecoder(2)).advance(chunk)[-1].samples
    np.testing.assert_allclose(scaled * [20, 10, 5], unscaled, rtol=1e-5)


def test_a_rate_that_is_off_is_reported_and_flagged():
    samples, times = noise(4000), np.arange(4000) / 97.0
    predictions, pipeline = run(cut(samples, times, [10]))
    assert pipeline.conditioner.timebase.rate.effective_rate == pytest.approx(97.0, abs=0.3)
    assert predictions[-1].reasons & Reason.RATE
    assert any(event.kind == "rate" for event in pipeline.drain_events())


def test_the_user_may_accept_the_measured_rate():
    samples, times = noise(4000), np.arange(4000) / 97.0
    predictions, pipeline = run(cut(samples, times, [10]), options=PipelineOptions(sfreq=97.0))
    assert predictions[-1].valid
    assert not predictions[-1].reasons
    assert pipeline.conditioner.resampler_delay_seconds > 0


def test_a_signal_without_a_rate_is_refused():
    with pytest.raises(ContractError, match="no nominal rate"):
        Pipeline(small_contract(), signal_info(sfreq=0.0), LinearDecoder(2))


def test_alignment_off_leaves_the_signal_as_it_is():
    _, pipeline = run([], options=PipelineOptions(alignment="off"))
    windows = pipeline.advance(Chunk(noise(400), np.arange(400) / 100.0))
    np.testing.assert_array_equal(windows[-1].alignment, np.eye(3))
    assert isinstance(pipeline.contract.normalisation, Alignment)


def test_a_replay_repeats_the_commands_of_the_session():
    samples, times = noise(3000), np.arange(3000) / 100.0
    samples[1500:] *= [3, 1, 1]
    live = Pipeline(small_contract(), signal_info(), LinearDecoder(2))
    predictions, events = [], []
    script = {30: AdaptationCommand("freeze"), 160: AdaptationCommand("rollback", 5), 200: AdaptationCommand("resume")}
    for number, chunk in enumerate(cut(samples, times, [11])):
        predictions += live.process(chunk)
        if number in script:
            live.adapt(script[number])
        events += [event.data for event in live.drain_events() if event.kind == "adaptation"]
    assert [event["action"] for event in events] == ["freeze", "rollback", "resume"]
    recorded = tuple(
        AdaptationCommand(e["action"], e.get("updates", 0), segment=e["segment"], at=e["at"]) for e in events
    )
    replayed, _ = run(cut(samples, times, [64]), options=PipelineOptions(commands=recorded))
    assert as_bits(replayed) == as_bits(predictions)
    undisturbed, _ = run([Chunk(samples, times)])
    assert as_bits(undisturbed) != as_bits(predictions)


def test_a_frozen_alignment_stays():
    samples, times = noise(3000), np.arange(3000) / 100.0
    pipeline = Pipeline(small_contract(), signal_info(), LinearDecoder(2))
    pipeline.advance(Chunk(samples[:1000], times[:1000]))
    pipeline.saved_adaptation()  # learns from the last block first
    before = pipeline.alignment.matrix
    pipeline.adapt(AdaptationCommand("freeze"))
    pipeline.advance(Chunk(samples[1000:], times[1000:]))
    np.testing.assert_array_equal(pipeline.alignment.matrix, before)


def test_there_is_nothing_to_command_without_alignment():
    pipeline = Pipeline(small_contract(normalisation=NoNormalisation()), signal_info(), LinearDecoder(2))
    with pytest.raises(ArgumentError, match="no adaptation to freeze"):
        pipeline.adapt(AdaptationCommand("freeze"))


def windows_of(contract, samples, times):
    """Copies of all windows."""
    pipeline = Pipeline(contract, signal_info(sfreq=contract.sfreq), LinearDecoder(2))
    found = []
    for chunk in cut(samples, times, [25]):
        found += [replace(window, samples=window.samples.copy()) for window in pipeline.advance(chunk)]
    return found


@pytest.mark.parametrize("lost", [1, 4, 8, 10])
def test_a_bridge_leaves_no_valid_window_wrong(lost):
    # EEG as a cap has it: power falls with frequency, so a bridge is wrong where it matters to a high-pass.
    samples, times = samples_of(0, 3000, 3, seed=3).astype(np.float64), np.arange(3000) / 250.0
    contract = small_contract(sfreq=250.0, normalisation=NoNormalisation(), window_samples=250, hop_samples=5)
    undisturbed = windows_of(contract, samples, times)
    for at in range(1500, 1600, 20):
        kept = np.r_[0:at, at + lost : 3000]
        bridged = windows_of(contract, samples[kept], times[kept])
        assert any(window.reasons & Reason.GAP for window in bridged)
        for window, truth in zip(bridged, undisturbed, strict=True):
            if window.valid:
                assert np.abs(window.samples - truth.samples).max() < 0.02 * truth.samples.std()


def test_streams_that_began_together_align_at_other_moments_and_as_often():
    def updates(seed):
        """Samples after which the alignment had learnt, of a stream that is otherwise the same."""
        pipeline = Pipeline(small_contract(), signal_info(), LinearDecoder(2))
        seen, learnt = [], 0
        samples, times = noise(1500, seed=seed), np.arange(1500) / 100.0
        for at, chunk in enumerate(cut(samples, times, [1]), 1):
            pipeline.advance(chunk)
            saved = pipeline.saved_adaptation().alignment
            if saved is not None and saved.good_samples != learnt:
                learnt = saved.good_samples
                seen.append(at)
        return np.array(seen)

    several = [updates(seed) for seed in range(8)]
    late = [seen[seen > 700] for seen in several]
    assert all((np.diff(seen) == small_contract().normalisation.update_samples).all() for seen in late)
    assert len({seen[0] % 50 for seen in late}) >= 5
    # Ready they are as early as can be, whenever that is.
    assert len({tuple(seen[seen <= 150].tolist()) for seen in several}) == 1


@pytest.mark.parametrize("unit", ["V", "uV", "nV"])
@pytest.mark.parametrize("value", [1e308, -1e308, np.inf, np.nan, 5e-324, 1e200])
def test_no_value_makes_a_step_warn_or_a_prediction_valid(value, unit):
    """Warnings are errors in tests."""
    samples, times = noise(900, seed=1), np.arange(900) / 100.0
    samples[300:600, 1] = value
    predictions, _ = run(
        [Chunk(samples, times)], info=signal_info(units=(unit,) * 3), options=PipelineOptions(bad_channels="invalidate")
    )
    touched = [p for p in predictions if 3.2 < p.time < 5.8]
    assert touched
    assert not any(p.valid for p in touched)
