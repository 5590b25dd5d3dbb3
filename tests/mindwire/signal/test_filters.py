"""Second-order sections: SciPy's compiled kernel where it is as expected, else the public function, with one result."""

import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest
from scipy import signal

from mindwire.signal import filters

SOS = signal.butter(5, [3, 40], "bandpass", fs=250, output="sos")


def test_both_kernels_give_the_same_bits():
    kernel = filters.compiled_kernel()
    if kernel is None:
        pytest.skip("this SciPy has no such kernel; the public function is used")
    random = np.random.default_rng(0)
    samples, state = random.standard_normal((7, 50)), random.standard_normal((7, len(SOS), 2))
    ours, our_state, theirs, their_state = samples.copy(), state.copy(), samples.copy(), state.copy()
    kernel(SOS, ours, our_state)
    filters.public_kernel(SOS, theirs, their_state)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(our_state, their_state)


@pytest.mark.parametrize("broken", ["absent", "wrong"])
def test_a_kernel_that_is_not_as_expected_is_not_used(monkeypatch, broken):
    if broken == "absent":
        monkeypatch.setattr(filters, "_NAME", "scipy.signal._gone")
    else:

        class Wrong:
            _sosfilt: ClassVar = {"double": lambda _sos, samples, _state: np.add(samples, 1, samples)}

        monkeypatch.setitem(sys.modules, filters._NAME, Wrong())
    assert filters.compiled_kernel() is None


def test_rest_is_that_of_scipy():
    np.testing.assert_allclose(filters.resting_state(SOS), signal.sosfilt_zi(SOS), atol=1e-12)


def test_scipy_signal_is_not_imported_and_still_can_be():
    code = (
        "import sys, mindwire.signal.filters; assert 'scipy.signal' not in sys.modules; "
        "from scipy import signal; from mindwire.signal.filters import run_sections; "
        "assert signal.sosfilt([[1, 0, 0, 1, 0, 0]], [1.0])[0] == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
