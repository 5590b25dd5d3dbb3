"""Patterns and composed filters: known sources are found where they are, whatever whitens the signal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from mindwire_models.contract import Alignment, NoNormalisation
from mindwire_models.graphs.folded_weights import fold
from mindwire_models.training.initialisation import initialise_at_random, initialise_from_tangent_space
from mindwire_models.training.trials import TrialWindows
from mindwire_models.views.patterns import composed_gains, contract_gain, cross_spectra, effects, patterns
from tests.support.networks import make_contract, make_network

ALIGNMENT = Alignment(kind="euclidean", scale="sample_mean", update_samples=50, ready_samples=100)


def sources(n_windows=40, n_times=120, seed=0):
    """Windows of three independent sources and how each shows at the electrodes, ``(n_chans, n_sources)``."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((3, 3))
    return mixing @ rng.standard_normal((n_windows, 3, n_times)), mixing


def likeness(found, wanted):
    return abs(found @ wanted) / np.linalg.norm(found) / np.linalg.norm(wanted)


@pytest.mark.parametrize("aligned", [False, True])
def test_a_pattern_is_where_the_source_shows_and_not_how_it_is_unmixed(aligned):
    windows, mixing = sources()
    network = make_network()
    contract = make_contract(network).model_copy(update={"normalisation": ALIGNMENT if aligned else NoNormalisation()})
    unmixing = np.linalg.inv(mixing)
    if aligned:  # the network's own weights come after the whitening
        values, vectors = np.linalg.eigh(np.einsum("nit,njt->ij", windows, windows))
        unmixing = unmixing @ (vectors * np.sqrt(values)) @ vectors.T
    weights = fold(network)
    weights = replace(weights, spatial=np.resize(unmixing, weights.spatial.shape))
    found = patterns(weights, contract, cross_spectra(windows))
    assert all(likeness(found[index], mixing[:, index]) > 0.99 for index in range(3))
    assert likeness(np.linalg.inv(mixing)[0], mixing[:, 0]) < 0.9


def test_filters_that_let_everything_pass_have_the_contracts_gain():
    network = make_network()
    contract = make_contract(network)
    weights = fold(network)
    taps = np.zeros_like(weights.taps)
    taps[:, taps.shape[1] // 2] = 2.0
    frequencies = np.linspace(0, 60, 100)
    gains = composed_gains(replace(weights, taps=taps), contract, frequencies)
    expected = contract_gain(contract, frequencies)
    np.testing.assert_allclose(gains, np.tile(expected / expected.max(), (len(gains), 1)), atol=1e-9)


def test_effects_say_for_which_class_a_filters_power_speaks():
    pytest.importorskip("pyriemann")
    rng = np.random.default_rng(3)
    labels = np.arange(40) % 2
    windows = rng.standard_normal((40, 3, 120)).astype(np.float32)
    windows[labels == 1, 1] *= 3.0  # the second class has more power at the second electrode
    network = make_network(n_temporal_filters=6)
    initialise_at_random(network)
    initialise_from_tangent_space(network, TrialWindows(windows, np.arange(40), labels))
    weights = fold(network)
    shares = effects(weights)
    first = np.abs(shares).max(axis=0).argmax()
    assert np.abs(weights.spatial[first]).argmax() == 1
    assert shares[1, first] > 0 > shares[0, first]
