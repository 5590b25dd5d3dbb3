"""The tangent-space baseline: our arrays and our graph give what pyRiemann and scikit-learn give."""

from __future__ import annotations

import numpy as np
import pytest

from mindwire_models.errors import ArgumentError
from mindwire_models.graphs.riemann_graph import tangent_space_graph
from mindwire_models.network.riemann import covariances, fit_tangent_space

pytest.importorskip("pyriemann")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


def make_windows(n: int, n_chans: int, n_times: int, n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Windows whose class shows in the power of one channel, mixed and unequal in size."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    sources = rng.standard_normal((n, n_chans, n_times))
    sources[np.arange(n), labels] *= 2.0
    mixing = rng.standard_normal((n_chans, n_chans)) + 3 * np.eye(n_chans)
    sizes = rng.uniform(0.5, 2, n)[:, None, None]
    return (sizes * (mixing @ sources)).astype(np.float32), labels


def run_graph(data: bytes, x: np.ndarray, alignment: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    if alignment is None:
        alignment = np.broadcast_to(np.eye(x.shape[1], dtype=np.float32), (len(x), x.shape[1], x.shape[1]))
    return tuple(session.run(["logits", "probabilities"], {"x": x, "alignment": np.ascontiguousarray(alignment)}))


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_logits_are_those_of_pyriemann_and_scikit_learn(n_classes: int) -> None:
    from pyriemann.tangentspace import TangentSpace
    from scipy.special import softmax
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    x, labels = make_windows(60, 6, 200, n_classes)
    fresh, _ = make_windows(20, 6, 200, n_classes, seed=1)
    model = fit_tangent_space(x, labels, n_classes)
    reference = make_pipeline(TangentSpace(), LogisticRegression(max_iter=5000)).fit(covariances(x), labels)
    expected = reference.predict_proba(covariances(fresh))
    np.testing.assert_allclose(softmax(model.logits(fresh), axis=1), expected, atol=1e-6)


@pytest.mark.parametrize(("n_chans", "n_times"), [(2, 100), (11, 500), (22, 1000)])
def test_the_graph_gives_the_same_logits(n_chans: int, n_times: int) -> None:
    x, labels = make_windows(24, n_chans, n_times, 2)
    model = fit_tangent_space(x, labels, 2)
    logits, probabilities = run_graph(tangent_space_graph(model, temperature=2.0), x)
    np.testing.assert_allclose(logits, model.logits(x), atol=1e-5)
    halves = np.exp(logits / 2)
    np.testing.assert_allclose(probabilities, halves / halves.sum(axis=1, keepdims=True), atol=1e-6)


def test_the_graph_applies_the_alignment() -> None:
    x, labels = make_windows(24, 5, 200, 3)
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((24, 5, 5)) * 0.2
    alignment = (np.eye(5) + noise + noise.swapaxes(1, 2)).astype(np.float32)
    model = fit_tangent_space(x, labels, 3)
    logits, _ = run_graph(tangent_space_graph(model), x, alignment)
    np.testing.assert_allclose(logits, model.logits(alignment @ x), atol=1e-4)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e5])
def test_the_graph_stays_right_for_dependent_channels_and_any_amplitude(size: float) -> None:
    x, labels = make_windows(24, 8, 300, 2)
    model = fit_tangent_space(x, labels, 2)
    odd = (size * x).astype(np.float32)
    odd[:, 3] = odd[:, 4]
    odd[:, 7] = 0
    logits, _ = run_graph(tangent_space_graph(model), odd)
    expected = model.logits(odd)
    np.testing.assert_allclose(logits, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


def test_silence_gives_finite_logits() -> None:
    x, labels = make_windows(24, 4, 200, 2)
    model = fit_tangent_space(x, labels, 2)
    silence = np.zeros((1, 4, 200), dtype=np.float32)
    logits, _ = run_graph(tangent_space_graph(model), silence)
    np.testing.assert_allclose(logits, model.logits(silence), rtol=1e-4)


def test_a_class_without_windows_gets_no_probability() -> None:
    x, labels = make_windows(40, 4, 200, 2)
    model = fit_tangent_space(x, 2 * labels, 3)
    _, probabilities = run_graph(tangent_space_graph(model), x)
    assert probabilities[:, 1].max() < 1e-6
    assert (probabilities.argmax(axis=1) == 2 * labels).mean() > 0.9


def test_the_graph_s_bytes_do_not_depend_on_when_it_is_made() -> None:
    x, labels = make_windows(24, 4, 200, 2)
    model = fit_tangent_space(x, labels, 2)
    assert tangent_space_graph(model) == tangent_space_graph(model)


def test_one_class_alone_is_refused() -> None:
    x, _ = make_windows(8, 4, 200, 2)
    with pytest.raises(ArgumentError, match="at least two classes"):
        fit_tangent_space(x, np.zeros(8, dtype=np.intp), 2)
