"""Graphs of pipelines: equal to their pipeline, row by row, finite, and refused by one sentence where they are not known."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("pyriemann")
ort = pytest.importorskip("onnxruntime")

import mne  # noqa: E402
from pyriemann.classification import MDM, FgMDM  # noqa: E402
from pyriemann.estimation import Covariances  # noqa: E402
from pyriemann.tangentspace import TangentSpace  # noqa: E402
from sklearn.calibration import CalibratedClassifierCV  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.pipeline import FeatureUnion, make_pipeline  # noqa: E402
from sklearn.preprocessing import MinMaxScaler  # noqa: E402
from sklearn.svm import SVC  # noqa: E402

from mindwire_models.band_pass import BandPass  # noqa: E402
from mindwire_models.errors import ArgumentError, ExportError  # noqa: E402
from mindwire_models.graphs.pipeline_graph import pipeline_graph  # noqa: E402
from tests.support.pipelines import RECIPES, SFREQ, bank, outcome, regression, tangent, windows  # noqa: E402

TOLERANCE = 1e-6


@lru_cache(maxsize=2)
def session(graph: bytes):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def run(graph: bytes, x: np.ndarray) -> np.ndarray:
    return session(graph).run(["logits"], {"x": x.astype(np.float32)})[0]


@pytest.fixture(autouse=True)
def _quiet():
    with mne.utils.use_log_level("ERROR"), warnings.catch_warnings():
        # Few windows, as here, are far from what the solvers expect.
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize(("n_classes", "n_chans"), [(2, 3), (3, 7), (4, 22)])
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_graph_computes_what_the_pipeline_computes(recipe: str, n_classes: int, n_chans: int) -> None:
    rng = np.random.default_rng([n_classes, *recipe.encode()])
    x, labels = windows(rng, n_classes, n_chans)
    if n_classes == 3:
        labels = np.array(["feet", "left_hand", "right_hand"])[labels]
    pipeline = RECIPES[recipe]().fit(x.astype(np.float64), labels)
    graph = pipeline_graph(pipeline, n_chans, x.shape[2])
    other = np.concatenate([x, 2 * windows(rng, n_classes, n_chans)[0]])
    expected = outcome(pipeline, other)
    found = run(graph, other)

    np.testing.assert_allclose(np.exp(found.astype(np.float64)), expected, atol=TOLERANCE)
    np.testing.assert_allclose(
        np.concatenate([run(graph, other[i : i + 1]) for i in range(8)]), found[:8], rtol=1e-6, atol=1e-6
    )
    for edge in (0 * other[:1], 0 * other[:1] + 5, 1e-6 * other, 1e4 * other):
        assert np.isfinite(run(graph, edge)).all()


@pytest.mark.parametrize("n_classes", [2, 3, 4])
@pytest.mark.parametrize("size", [0.3, 1, 3])
def test_libsvm_couples_its_probabilities_to_a_precision(n_classes: int, size: float) -> None:
    rng = np.random.default_rng(n_classes)
    labels = np.tile(np.arange(n_classes), 30)
    x = (rng.normal(size=(len(labels), 3, 100)) * (1 + 0.1 * labels[:, None, None])).astype(np.float32)
    pipeline = tangent(SVC(kernel="linear", probability=True, random_state=0)).fit(x.astype(np.float64), labels)

    expected = outcome(pipeline, size * x)
    np.testing.assert_allclose(np.exp(run(pipeline_graph(pipeline, 3, 100), size * x)), expected, atol=TOLERANCE)


def test_the_same_pipeline_gives_the_same_bytes() -> None:
    x, labels = windows(np.random.default_rng(0), 2, 4)
    first, second = (pipeline_graph(tangent(regression()).fit(x.astype(np.float64), labels), 4, 100) for _ in range(2))
    assert first == second


def test_classes_come_in_the_order_that_is_asked_for() -> None:
    x, labels = windows(np.random.default_rng(0), 3, 4)
    pipeline = make_pipeline(Covariances(), MDM()).fit(x.astype(np.float64), labels)
    np.testing.assert_array_equal(
        run(pipeline_graph(pipeline, 4, 100, (2, 0, 1)), x), run(pipeline_graph(pipeline, 4, 100), x)[:, [2, 0, 1]]
    )


def test_members_of_a_union_are_weighted_and_dropped() -> None:
    x, labels = windows(np.random.default_rng(0), 2, 4)
    union = bank(lambda: Covariances("oas"), MDM)
    union.transformer_weights = {"4-10": 0.1, "20-40": 5.0}
    union.set_params(**{"10-20": "drop"})
    pipeline = make_pipeline(union, regression()).fit(x.astype(np.float64), labels)
    np.testing.assert_allclose(np.exp(run(pipeline_graph(pipeline, 4, 100), x)), outcome(pipeline, x), atol=TOLERANCE)


def test_a_band_pass_keeps_the_band_and_its_power() -> None:
    times = np.arange(200) / SFREQ
    inside, outside = (np.sin(2 * np.pi * f * times)[None, None] for f in (10.0, 25.0))
    step = BandPass(8, 12, SFREQ)
    assert step.fit(inside).transform(inside).shape == (1, 1, 200)
    assert np.abs(step.transform(outside)).max() < 1e-6
    noise = np.random.default_rng(0).normal(size=(4000, 1, 200))
    # Nine of the hundred frequencies below half the sampling rate.
    assert step.transform(noise).var() == pytest.approx(0.09, rel=0.03)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0, 8, "0 < low"),
        (8, 50, "half the sampling rate"),
        (12, 8, "low <= high"),
        (8.1, 8.4, "none of the frequencies"),
    ],
)
def test_a_band_without_frequencies_is_refused(low: float, high: float, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        BandPass(low, high, SFREQ).fit(np.zeros((1, 2, 100)))


def _fitted(*steps, classes: int = 2):
    x, labels = windows(np.random.default_rng(0), classes, 4)
    return make_pipeline(*steps).fit(x.astype(np.float64), labels)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: _fitted(Covariances(), TangentSpace(), MinMaxScaler(), regression()),
            "MinMaxScaler, which has no graph; known",
        ),
        (lambda: _fitted(Covariances(), FgMDM()), "FgMDM, which has no graph as a classifier; known are MDM"),
        (lambda: make_pipeline(Covariances(), MDM()), "MDM, is not fitted; fit the pipeline first"),
        (lambda: _fitted(Covariances("hub"), MDM()), "estimator='hub'.* expected one of scm, cov"),
        (lambda: _fitted(Covariances(), MDM("logdet")), "metric='logdet'.* expected one of riemann"),
        (lambda: _fitted(Covariances(), TangentSpace(tsupdate=True), regression()), "tsupdate=True"),
        (lambda: _fitted(Covariances(), TangentSpace(), SVC()), "kernel='rbf'.* expected 'linear'"),
        (
            lambda: _fitted(
                Covariances(), TangentSpace(), SVC(kernel="linear", decision_function_shape="ovo"), classes=3
            ),
            "decision_function_shape='ovo'",
        ),
        (
            lambda: _fitted(Covariances(), TangentSpace(), CalibratedClassifierCV(regression(), method="isotonic")),
            "method='isotonic'",
        ),
        (lambda: _fitted(Covariances(), TangentSpace(), LogisticRegression()).set_params(steps=[]), "no graph"),
        (lambda: _fitted(Covariances(), TangentSpace()), "TangentSpace, which has no graph as a classifier"),
    ],
)
def test_what_has_no_graph_is_refused_in_one_sentence(make, words: str) -> None:
    with pytest.raises(ExportError, match=words) as refused:
        pipeline_graph(make(), 4, 100)
    assert "\n" not in str(refused.value)


def test_steps_that_do_not_follow_each_other_are_refused() -> None:
    mdm = _fitted(Covariances(), MDM())[-1]
    with pytest.raises(ExportError, match="takes covariances, but gets windows; put Covariances before it"):
        pipeline_graph(mdm, 4, 100)
    union = FeatureUnion([("a", Covariances())])
    with pytest.raises(ExportError, match="member 'a' gives covariances"):
        pipeline_graph(make_pipeline(union, regression()), 4, 100)


def test_windows_of_other_channels_are_refused() -> None:
    with pytest.raises(ExportError, match="fitted to 4 channels, but gets 5 here"):
        pipeline_graph(_fitted(Covariances(), MDM()), 5, 100)


@pytest.mark.parametrize("metric", ["riemann", "logeuclid"])
def test_covariances_that_spread_over_seven_decades_are_resolved(metric: str) -> None:
    x, labels = windows(np.random.default_rng(0), 2, 6)
    x *= 10.0 ** np.linspace(0, -3.5, 6)[:, None]
    pipeline = tangent(regression(), "scm", metric).fit(x.astype(np.float64), labels)
    np.testing.assert_allclose(np.exp(run(pipeline_graph(pipeline, 6, 100), x)), outcome(pipeline, x), atol=TOLERANCE)
