from __future__ import annotations

import numpy as np
import pytest

from models.electrodes import positions
from models.presets import BCIC2A_CHANNELS
from service.errors import ArgumentError
from service.signal.interpolation import Interpolator, spline_weights


def test_weights_are_those_of_mne():
    mne = pytest.importorskip("mne.channels.interpolation")
    places = positions(BCIC2A_CHANNELS)
    bad = np.zeros(22, dtype=bool)
    bad[[0, 7, 21]] = True
    expected = mne._make_interpolation_matrix(places[~bad], places[bad])
    np.testing.assert_allclose(spline_weights(places[~bad], places[bad]), expected, atol=1e-9)


def test_a_smooth_field_is_restored():
    places = positions(BCIC2A_CHANNELS)
    field = (1.0 + 3 * places[:, 0] - 2 * places[:, 1] + places[:, 2])[None, :].repeat(4, axis=0)
    damaged = field.copy()
    bad = np.zeros(22, dtype=bool)
    bad[[8, 9]] = True
    damaged[:, bad] = 1e6
    Interpolator(BCIC2A_CHANNELS).fill(damaged, bad)
    np.testing.assert_allclose(damaged, field, atol=0.05)


def test_labels_without_a_place_are_refused():
    with pytest.raises(ArgumentError, match="'EMG1' has no place"):
        Interpolator(("C3", "EMG1"))


def test_nasion_and_inion_have_a_place_below_the_circumference() -> None:
    nasion, inion, left, right = positions(("Nz", "Iz", "I1", "I2"))
    np.testing.assert_allclose(nasion, [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(inion, [0, -1, 0], atol=1e-12)
    np.testing.assert_allclose(left * [-1, 1, 1], right)
    assert left[0] < 0
    assert left[1] < positions(("PO9",))[0, 1]
