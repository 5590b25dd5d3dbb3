from __future__ import annotations

import numpy as np
import pytest

from mindwire.errors import ContractError
from mindwire.signal.resampler import Resampler


def resample(rate_in, rate_out, samples, band=40.0, chunk=16):
    resampler = Resampler(rate_in, rate_out, band)
    times = np.arange(len(samples)) / rate_in
    out = [
        resampler.process(
            samples[i : i + chunk], times[i : i + chunk], np.zeros((len(samples[i : i + chunk]), 1), np.uint32)
        )
        for i in range(0, len(samples), chunk)
    ]
    return np.concatenate([o[0] for o in out]), np.concatenate([o[1] for o in out]), resampler


@pytest.mark.parametrize(
    ("rate_in", "rate_out"), [(160, 250), (256, 250), (500, 250), (2048, 250), (96.17, 125), (1000, 250)]
)
def test_sines_of_the_band_pass_at_their_time_and_others_do_not_fold(rate_in, rate_out):
    band = 30.0
    t = np.arange(int(rate_in * 8)) / rate_in
    for freq in (2.0, 10.0, 25.0):
        y, times, _ = resample(rate_in, rate_out, np.sin(2 * np.pi * freq * t)[:, None], band)
        np.testing.assert_allclose(y[:, 0], np.sin(2 * np.pi * freq * times), atol=4e-3)
        np.testing.assert_allclose(np.diff(times), 1 / rate_out, atol=1e-9)
    if rate_in > 2.2 * rate_out:
        above = rate_out - 10.0
        y, _, _ = resample(rate_in, rate_out, np.sin(2 * np.pi * above * t)[:, None], band)
        assert np.abs(y).max() < 4e-3


def test_an_offset_passes_without_ripple():
    y, _, _ = resample(160, 250, np.full((1000, 2), 1e5))
    np.testing.assert_allclose(y, 1e5, rtol=1e-12)


def test_the_delay_is_what_it_says():
    resampler = Resampler(160.0, 250.0, 40.0)
    newest = -1.0
    for i in range(400):
        _, times, _ = resampler.process(np.zeros((1, 1)), np.array([i / 160]), np.zeros((1, 1), np.uint32))
        if len(times):
            newest = times[-1]
    assert 399 / 160 - newest == pytest.approx(resampler.delay_seconds, abs=1 / 160)


def test_a_flag_covers_every_output_it_touches():
    resampler = Resampler(160.0, 250.0, 40.0)
    flags = np.zeros((400, 1), np.uint32)
    flags[200] = 4
    samples = np.zeros((400, 1))
    samples[200] = 1.0
    out, _, out_flags = resampler.process(samples, np.arange(400) / 160, flags)
    assert (out_flags[np.abs(out[:, 0]) > 0] == 4).all()
    assert (out_flags == 4).sum() < 60


def test_a_stream_too_slow_for_the_band_is_refused():
    with pytest.raises(ContractError, match="up to 40 Hz, but a stream at 64 Hz"):
        Resampler(64.0, 250.0, 40.0)
