"""Verdicts on channels: bad, suspect, ok; and what becomes of bad channels."""

from __future__ import annotations

import numpy as np
import pytest

from mindwire.errors import ContractError
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.signal.quality import QualityMeter
from mindwire.types import Chunk, Reason
from mindwire_models.presets import BCIC2A, BCIC2A_CHANNELS
from tests.support.linear_decoder import LinearDecoder
from tests.support.signals import noise, signal_info, small_contract

INFO = signal_info(sfreq=250.0, n_channels=22, labels=BCIC2A_CHANNELS, units=("uV",) * 22)


def brain(n_samples, seed=0):
    """Noise whose power falls with frequency, alike on neighbouring channels."""
    spectrum = np.fft.rfft(noise(n_samples, 22, seed), axis=0)
    spectrum /= np.maximum(1, np.arange(len(spectrum)))[:, None] ** 0.5
    signal = np.fft.irfft(spectrum, n_samples, axis=0)
    mixing = np.eye(22) + 0.3
    return signal @ mixing * 10


def run(samples, mode="auto", contract=BCIC2A, info=INFO):
    pipeline = Pipeline(contract, info, LinearDecoder(4), PipelineOptions(bad_channels=mode))
    predictions = pipeline.process(Chunk(samples, np.arange(len(samples)) / 250.0))
    return predictions, pipeline


def meter(damage):
    samples = brain(1000)
    damage(samples)
    quality = QualityMeter(BCIC2A_CHANNELS, 250.0, 1.0)
    flags = np.zeros(1000, np.uint32)
    quality.process(samples, np.zeros((1000, 22), np.uint32), flags)
    return Reason(int(flags[-1])), quality.channels()


def test_a_clean_signal_is_ok():
    reasons, channels = meter(lambda x: None)
    assert reasons == Reason.NONE
    assert {c.verdict for c in channels} == {"ok"}
    assert min(c.score for c in channels) > 0.5


@pytest.mark.parametrize(
    ("reason", "wave"),
    [
        (Reason.LINE_NOISE, 200 * np.sin(2 * np.pi * 50 * np.arange(1000) / 250)),
        (Reason.LINE_NOISE, 200 * np.sin(2 * np.pi * 60 * np.arange(1000) / 250)),
        (Reason.MUSCLE, 200 * np.random.default_rng(0).standard_normal(1000)),
        (Reason.DRIFT, 500 * np.arange(1000) / 250),
    ],
)
def test_what_makes_a_second_suspect(reason, wave):
    def damage(samples):
        samples[:, :5] += wave[:, None]

    reasons, channels = meter(damage)
    assert reason in reasons
    assert [c.verdict for c in channels[:5]] == ["suspect"] * 5
    assert max(c.score for c in channels[:5]) <= 0.5
    assert channels[10].verdict == "ok"


def test_few_bad_channels_are_interpolated_and_told():
    samples = brain(6000)
    clean, _ = run(samples)
    samples[2000:2600, 4] = np.nan
    samples[2000:2600, 9] = 7.0
    predictions, pipeline = run(samples)
    touched = [p for p in predictions if 2300 / 250 < p.time < 2600 / 250]
    assert all(p.valid and Reason.INTERPOLATED in p.reasons for p in touched)
    late = [(p, q) for p, q in zip(predictions, clean, strict=True) if p.time > 5000 / 250]
    assert not any(p.reasons for p, _ in late)
    assert pipeline.alignment.state.good_samples < 6000 - 518


def test_many_bad_channels_make_the_window_invalid():
    samples = brain(4000)
    samples[2000:2600, :5] = np.nan
    predictions, _ = run(samples)
    touched = [p for p in predictions if 2010 / 250 < p.time < 2600 / 250]
    assert not any(p.valid for p in touched)
    assert all(Reason.NON_FINITE in p.reasons for p in touched)


def test_the_user_may_forbid_or_demand_interpolation():
    samples = brain(4000)
    samples[2000:2600, :5] = 3.0
    some = samples.copy()
    some[2000:2600, 1:5] = brain(600)[:, 1:5]
    at = 2550 / 250
    assert not any(p.valid for p in run(some, "invalidate")[0] if at < p.time < at + 0.2)
    assert all(p.valid for p in run(samples, "interpolate")[0] if at < p.time < at + 0.2)
    contract = small_contract(channels=("A", "B", "C"))
    info = signal_info(labels=("A", "B", "C"))
    run(noise(100), "auto", contract, info)
    with pytest.raises(ContractError, match="cannot be interpolated"):
        run(noise(100), "interpolate", contract, info)


def test_a_detached_cap_never_gives_a_valid_prediction():
    samples = brain(4000)
    samples[2000:] = 0.0
    predictions, _ = run(samples)
    assert not any(p.valid for p in predictions if p.time > 2060 / 250)


def test_a_wrong_unit_shows():
    predictions, _ = run(brain(4000) * 1000)
    assert not any(p.valid for p in predictions)
    assert all(Reason.AMPLITUDE in p.reasons for p in predictions)


def test_an_impossible_value_does_not_ring_in_the_filters():
    samples = brain(5000)
    samples[2500, :3] = [3e37, -2e20, 5e9]
    predictions, _ = run(samples, "invalidate")
    assert all(p.reasons & Reason.AMPLITUDE and not p.valid for p in predictions if 10.01 < p.time < 14.0)
    assert all(p.valid for p in predictions if p.time > 18.5)


def test_a_wrong_unit_shows_from_its_first_sample_on():
    samples = brain(1100)
    samples[1040:] *= 1000
    pipeline = Pipeline(BCIC2A, INFO, LinearDecoder(4), PipelineOptions(hop_samples=1))
    predictions = pipeline.process(Chunk(samples, np.arange(1100) / 250.0))
    assert len(predictions) == 101
    for end, prediction in enumerate(predictions, 1000):
        assert bool(prediction.reasons & Reason.AMPLITUDE) == (end > 1040)
