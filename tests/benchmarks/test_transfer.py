"""Trials of the learning curve are drawn from what is not decided, the same number of each class."""

from __future__ import annotations

import numpy as np
import pytest

from mindwire.training.data import RecordedTrials

pytest.importorskip("pyriemann")

from benchmarks.transfer import Decoder, cases, right


def made_trials(n: int = 24) -> RecordedTrials:
    """Two classes that differ in the power of a channel, in two recordings; the last trial has no window."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    windows = rng.standard_normal((n - 1, 4, 150)).astype(np.float32)
    windows[np.arange(n - 1), 2 * labels[:-1]] *= 0.3
    trial = np.arange(n - 1)
    return RecordedTrials(windows, trial, windows, trial, labels, np.arange(n) // 12, {"gap": 1}, ("a", "b"), 1.5)


@pytest.mark.parametrize(("folds", "n_folds"), [(None, 2), (4, 4)])
def test_what_is_decided_is_never_trained_on(folds: int | None, n_folds: int) -> None:
    data = made_trials()
    found = cases(data, 5, 3, folds)
    assert len(found) == 3 * n_folds
    for case in found:
        assert not np.isin(case.training, case.tested).any()
        assert np.bincount(data.labels[case.training]).tolist() == [5, 5]
    decided = np.concatenate([case.tested for case in found if case.draw == 1])
    assert sorted(decided) == list(range(24))
    assert len({tuple(case.training) for case in found}) > n_folds
    # Where there are fewer, all are taken.
    assert all(len(case.training) == 24 - 24 // n_folds for case in cases(data, 99, 1, folds))


def test_undecided_trials_count_as_wrong() -> None:
    data = made_trials()
    assert sum(right(Decoder("tangent space", None, data), case) for case in cases(data, 5, 1, None)) == 23
