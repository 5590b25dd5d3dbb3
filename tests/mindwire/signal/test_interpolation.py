from __future__ import annotations

import tracemalloc
from itertools import combinations

import numpy as np
import pytest

from mindwire.errors import ArgumentError
from mindwire.signal.interpolation import Interpolator, spline_of, spline_weights
from mindwire_models.electrodes import positions
from mindwire_models.presets import BCIC2A_CHANNELS


def test_weights_are_those_of_mne():
    mne = pytest.importorskip("mne.channels.interpolation")
    places = positions(BCIC2A_CHANNELS)
    bad = np.zeros(22, dtype=bool)
    bad[[0, 7, 21]] = True
    expected = mne._make_interpolation_matrix(places[~bad], places[bad])
    np.testing.assert_allclose(spline_weights(spline_of(places), bad), expected, atol=1e-9)


def test_a_smooth_field_is_restored():
    places = positions(BCIC2A_CHANNELS)
    field = (1.0 + 3 * places[:, 0] - 2 * places[:, 1] + places[:, 2])[None, :].repeat(4, axis=0)
    damaged = field.copy()
    bad = np.zeros(22, dtype=bool)
    bad[[8, 9]] = True
    damaged[:, bad] = 1e6
    Interpolator(BCIC2A_CHANNELS).fill(damaged, bad)
    np.testing.assert_allclose(damaged, field, atol=0.05)


def test_the_weights_of_few_sets_of_bad_channels_are_kept_and_none_costs_a_pseudo_inverse(monkeypatch):
    solved = []
    monkeypatch.setattr(np.linalg, "pinv", lambda *_: pytest.fail("a pseudo-inverse in the live path"))
    monkeypatch.setattr(
        "mindwire.signal.interpolation.spline_weights", lambda *given: solved.append(1) or spline_weights(*given)
    )
    interpolator, samples = Interpolator(BCIC2A_CHANNELS), np.ones((2, 22))
    masks = [np.isin(np.arange(22), pair) for pair in combinations(range(22), 2)]
    tracemalloc.start()
    for mask in masks:
        interpolator.fill(samples, mask)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    interpolator.fill(samples, masks[-1])
    assert len(solved) == len(masks)
    assert kept < 100_000


def test_one_good_channel_is_enough():
    interpolator, samples = Interpolator(("C3", "Cz", "C4")), np.array([[1.0, 9.0, 9.0]])
    interpolator.fill(samples, np.array([False, True, True]))
    np.testing.assert_allclose(samples, 1.0)


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
