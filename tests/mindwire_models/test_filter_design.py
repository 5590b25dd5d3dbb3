"""The filters' design agrees with SciPy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

from mindwire_models.filter_design import butterworth, notch


@given(st.integers(1, 10), st.floats(0.0005, 0.4995), st.sampled_from(["lowpass", "highpass"]))
def test_butterworth_is_that_of_scipy(order, freq, kind):
    sfreq = 250.0
    ours = butterworth(order, freq * sfreq, kind, sfreq)
    theirs = signal.butter(order, freq * sfreq, kind, fs=sfreq, output="sos")
    _, by_us = signal.freqz_sos(ours, worN=64)
    _, by_them = signal.freqz_sos(theirs, worN=64)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(by_us, by_them, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("kind", ["lowpass", "highpass"])
@pytest.mark.parametrize("order", range(1, 11))
def test_sections_stand_in_the_order_of_scipy(order, kind):
    for freq in (0.1, 0.5, 4.0, 40.0, 70.0, 120.0):
        theirs = signal.butter(order, freq, kind, fs=250.0, output="sos")
        np.testing.assert_allclose(butterworth(order, freq, kind, 250.0), theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("freq", [16.7, 50.0, 60.0])
def test_notch_is_that_of_scipy(freq):
    theirs = signal.tf2sos(*signal.iirnotch(freq, 30.0, fs=250.0))
    np.testing.assert_allclose(notch(freq, 30.0, 250.0), theirs, rtol=1e-12)
