"""The figures of merit, against values worked out by hand and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindwire.evaluation import metrics


def test_wilson_interval_of_a_textbook_case() -> None:
    assert metrics.wilson_interval(25, 30) == pytest.approx((0.6644, 0.9266), abs=1e-4)


@given(st.integers(0, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_contains_the_proportion_and_stays_a_proportion(counts: tuple[int, int]) -> None:
    n_correct, n_trials = counts
    low, high = metrics.wilson_interval(n_correct, n_trials)
    assert 0 <= low <= high <= 1
    if n_trials:
        assert low <= n_correct / n_trials <= high


@pytest.mark.parametrize(("n_correct", "n_trials"), [(-1, 3), (4, 3)])
def test_impossible_counts_are_refused(n_correct: int, n_trials: int) -> None:
    with pytest.raises(ValueError, match="must"):
        metrics.wilson_interval(n_correct, n_trials)


def test_chance_is_the_share_of_the_most_frequent_class() -> None:
    assert metrics.chance_level([10, 10]) == 0.5
    assert metrics.chance_level([12, 4, 0]) == 0.75
    assert metrics.chance_level([0, 7, 0]) == 1
    assert metrics.chance_level([0, 0, 0, 0]) == 0.25


def test_chance_interval_is_the_binomial_one() -> None:
    assert metrics.chance_interval(1 / 2, 30) == pytest.approx((10 / 30, 20 / 30))
    assert metrics.chance_interval(1 / 4, 0) == (0, 1)


def test_chance_p_value_of_all_right() -> None:
    assert metrics.chance_p_value(10, 10, 1 / 2) == pytest.approx(2**-10)
    assert metrics.chance_p_value(0, 10, 1 / 2) == pytest.approx(1.0)


def test_kappa_of_a_textbook_case() -> None:
    assert metrics.cohens_kappa(np.array([[20, 5], [10, 15]])) == pytest.approx(0.4)


def test_without_trials_figures_are_undefined_and_not_zero() -> None:
    empty = np.zeros((3, 3), dtype=np.int64)
    assert math.isnan(metrics.cohens_kappa(empty))
    assert math.isnan(metrics.normalised_mcc(empty))
    assert math.isnan(metrics.itr_bits_per_decision(math.nan, 3))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=60))
def test_kappa_and_mcc_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    true, predicted = (np.array(side) for side in zip(*pairs, strict=True))
    confusion = metrics.confusion_matrix(true, predicted, 3)
    assert confusion.sum() == len(pairs)
    np.testing.assert_array_equal(confusion, sklearn_metrics.confusion_matrix(true, predicted, labels=[0, 1, 2]))
    if len(set(true) | set(predicted)) > 1:
        reference = sklearn_metrics.matthews_corrcoef(true, predicted)
        assert metrics.normalised_mcc(confusion) == pytest.approx((reference + 1) / 2)
        reference = sklearn_metrics.cohen_kappa_score(true, predicted, labels=[0, 1, 2])
        assert metrics.cohens_kappa(confusion) == pytest.approx(reference)
    else:
        assert metrics.normalised_mcc(confusion) == 0.5
        assert metrics.cohens_kappa(confusion) == 0.0


@pytest.mark.parametrize(
    ("accuracy", "n_classes", "bits"),
    [(1.0, 4, 2.0), (0.5, 2, 0.0), (0.2, 2, 0.0), (0.9, 2, 0.5310), (0.8, 4, 0.9611)],
)
def test_information_transfer_of_known_cases(accuracy: float, n_classes: int, bits: float) -> None:
    assert metrics.itr_bits_per_decision(accuracy, n_classes) == pytest.approx(bits, abs=1e-4)


def test_reliability_of_a_perfectly_calibrated_and_of_an_overconfident_decoder() -> None:
    true = np.array([0] * 8 + [1] * 2)
    calibrated = np.tile([0.8, 0.2], (10, 1))
    error, bins = metrics.reliability(calibrated, true)
    assert error == pytest.approx(0)
    assert [(b.accuracy, b.n_trials) for b in bins] == [(pytest.approx(0.8), 10)]
    error, _ = metrics.reliability(np.tile([1.0, 0.0], (10, 1)), true)
    assert error == pytest.approx(0.2)


def test_reliability_without_trials() -> None:
    error, bins = metrics.reliability(np.empty((0, 2)), np.empty(0, dtype=np.intp))
    assert math.isnan(error)
    assert bins == []


def test_restricting_renormalises_and_orders() -> None:
    restricted = metrics.restrict(np.array([[0.5, 0.1, 0.3, 0.1], [1.0, 0.0, 0.0, 0.0]]), [2, 1])
    np.testing.assert_allclose(restricted, [[0.75, 0.25], [0.5, 0.5]])
