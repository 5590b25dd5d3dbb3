"""A network that begins at the tangent-space classifier decides as it does, before any training."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("pyriemann")
pytest.importorskip("sklearn")

from mindwire_models.network.attention import ATTENTION_MODES  # noqa: E402
from mindwire_models.network.attentionbasenet import AttentionBaseNet  # noqa: E402
from mindwire_models.network.riemann import RIDGE, fit_tangent_space  # noqa: E402
from mindwire_models.training.fit import CALIBRATION, predict_logits, scaled_arguments, train_network  # noqa: E402
from mindwire_models.training.initialisation import (  # noqa: E402
    initialise_at_random,
    initialise_from_tangent_space,
    settle_statistics,
    spread_out,
    tangent_space_filters,
)
from mindwire_models.training.trials import TrialWindows  # noqa: E402

N_CHANS, N_TIMES = 6, 400


def make_trials(n_classes: int, n: int = 36, seed: int = 0) -> TrialWindows:
    """Classes that differ in the power of one mixed source each; white noise, two windows per trial."""
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(np.random.default_rng(99).standard_normal((N_CHANS, N_CHANS)))[0]
    labels = np.arange(n) % n_classes
    trial = np.repeat(np.arange(n), 2)
    sources = rng.standard_normal((len(trial), N_CHANS, N_TIMES))
    gains = rng.lognormal(sigma=0.15, size=(len(trial), N_CHANS))
    gains[np.arange(len(trial)), labels[trial]] *= 0.6
    return TrialWindows((mixing @ (gains[:, :, None] * sources)).astype(np.float32), trial, labels)


def begun(data: TrialWindows, n_classes: int, seed: int = 0, attention_mode: str | None = None) -> AttentionBaseNet:
    torch.manual_seed(seed)
    network = AttentionBaseNet(
        n_chans=N_CHANS,
        n_times=N_TIMES,
        n_outputs=n_classes,
        attention_mode=attention_mode,
        **scaled_arguments(N_TIMES),
    )
    initialise_at_random(network)
    initialise_from_tangent_space(network, data)
    return network.eval()


def centred(logits: NDArray[np.floating]) -> NDArray[np.floating]:
    return logits - logits.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("n_times", [7, 99, 500, 1000, 1234])
def test_pools_of_a_network_for_little_data_weigh_all_samples_the_same(n_times: int) -> None:
    arguments = scaled_arguments(n_times)
    lengths = AttentionBaseNet(n_chans=3, n_times=n_times, n_outputs=2, **arguments).lengths
    pool, stride = lengths.pool_length_inp, lengths.pool_stride_inp
    pools, averages = lengths.sequence_lengths(n_times)

    counts = np.zeros(n_times, dtype=int)
    for step in range(pools):
        counts[step * stride : step * stride + pool] += 1
    assert averages == 1
    assert lengths.pool_length == pools
    assert (counts[: pools * pool] == 1).all()
    assert n_times - pools * pool < pool


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_network_begins_where_the_classifier_ends(n_classes: int) -> None:
    data, fresh = make_trials(n_classes), make_trials(n_classes, seed=1)
    weights = np.full(len(data.trial), 0.5)
    said = fit_tangent_space(data.windows, data.labels[data.trial], n_classes, weights=weights).logits(fresh.windows)
    logits = predict_logits(begun(data, n_classes), fresh.windows)
    assert (logits.argmax(axis=1) == said.argmax(axis=1)).mean() > 0.85
    assert np.corrcoef(centred(logits).ravel(), centred(said).ravel())[0, 1] > 0.9
    # Not only the order: the probabilities too are about those of the classifier.
    assert 0.6 < centred(logits).std() / centred(said).std() < 1.6


@pytest.mark.parametrize("mode", ATTENTION_MODES)
def test_attention_of_every_kind_lets_the_classifier_pass(mode: str) -> None:
    data, fresh = make_trials(3), make_trials(3, seed=1)
    said = fit_tangent_space(data.windows, data.labels[data.trial], 3, weights=np.full(len(data.trial), 0.5))
    expected = said.logits(fresh.windows)
    logits = predict_logits(begun(data, 3, attention_mode=mode), fresh.windows)
    assert (logits.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.85
    assert np.corrcoef(centred(logits).ravel(), centred(expected).ravel())[0, 1] > 0.9


def test_training_goes_on_from_there() -> None:
    data, fresh = make_trials(3), make_trials(3, seed=1)
    network = train_network(data, 3, CALIBRATION, network_arguments=scaled_arguments(N_TIMES))
    decided = predict_logits(network, fresh.windows).argmax(axis=1)
    assert (decided == fresh.labels[fresh.trial]).mean() > 0.85


def test_a_class_that_never_occurred_is_never_decided() -> None:
    data = make_trials(2)
    logits = predict_logits(begun(data, 3), data.windows)
    assert np.isfinite(logits).all()
    assert (logits.argmax(axis=1) < 2).all()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_effects_of_filters_are_the_classifier_to_first_order(n_classes: int) -> None:
    data = make_trials(n_classes)
    classifier = fit_tangent_space(data.windows, data.labels[data.trial], n_classes)
    filters, effects = tangent_space_filters(classifier, most=n_classes * N_CHANS)
    np.testing.assert_allclose(np.linalg.norm(filters, axis=1), 1)
    back = np.linalg.inv(classifier.whitening.double().numpy())
    rng = np.random.default_rng(3)
    change = rng.standard_normal((N_CHANS, N_CHANS)) * 1e-3
    covariance = back @ (np.eye(N_CHANS) + change + change.T) @ back

    def logits(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        # A window whose covariance is this matrix, the ridge taken off.
        bare = matrix - RIDGE / (1 + RIDGE) * np.trace(matrix) / N_CHANS * np.eye(N_CHANS)
        return classifier.logits(np.linalg.cholesky(bare)[None] * np.sqrt(N_CHANS))[0]

    def log_powers(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.log(np.einsum("fi,ij,fj->f", filters, matrix, filters))

    expected = logits(covariance) - logits(back @ back)
    found = effects @ (log_powers(covariance) - log_powers(back @ back))
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


def test_the_strongest_filters_come_first_and_no_more_than_there_is_room_for() -> None:
    data = make_trials(3)
    classifier = fit_tangent_space(data.windows, data.labels[data.trial], 3)
    _, every = tangent_space_filters(classifier, most=100)
    _, some = tangent_space_filters(classifier, most=5)
    sizes = np.abs(every).max(axis=0)
    assert every.shape == (3, 3 * N_CHANS)
    assert (np.diff(sizes) <= 0).all()
    np.testing.assert_array_equal(some, every[:, :5])


def test_settled_statistics_are_those_of_the_windows_without_dropout() -> None:
    data = make_trials(2, n=24)
    network = begun(data, 2)
    settle_statistics(network, data.windows)
    assert not network.training
    settled = predict_logits(network, data.windows)
    network.train()
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.eval()
    with torch.no_grad():
        of_the_batch = network(torch.from_numpy(data.windows)).numpy()
    np.testing.assert_allclose(settled, of_the_batch, atol=2e-3 * np.abs(of_the_batch).max())


def test_windows_that_settle_come_from_everywhere() -> None:
    windows = np.arange(5000, dtype=np.float32)[:, None, None]
    chosen = spread_out(windows)
    assert len(chosen) == 2048
    assert chosen[:64].min() < 500
    assert chosen[:64].max() > 4500
    few = spread_out(windows[:10])
    assert sorted(few.ravel().tolist()) == list(range(10))
