"""Trials of the learning curve are drawn from what is not decided, the same number of each class."""

from __future__ import annotations

import numpy as np
import pytest

from mindwire.training.data import RecordedTrials

pytest.importorskip("pyriemann")

from benchmarks.transfer import Decoder, by_draw, cases, key, picture, right, table


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


def test_a_table_and_a_picture_of_the_draws_that_are_complete() -> None:
    data = made_trials()
    row, untouched = Decoder("fine-tuned", None, data), Decoder("untouched", None, data, trained=False)
    by_size = {n: cases(data, n, 3, 4) for n in (5, 8)}
    counts = {key(row, n, case): 3 + case.draw for n, some in by_size.items() for case in some}
    counts |= {key(untouched, 5, case): 4 for case in by_size[5]}
    del counts[key(row, 8, by_size[8][-1])]
    assert by_draw(counts, row, 5, by_size[5]) == [12, 16, 20]
    assert by_draw(counts, row, 8, by_size[8]) == [12, 16]
    assert table([row, untouched], by_size, counts, 24).splitlines()[2:] == [
        "| fine-tuned | 16.0 (12 to 20) | 14.0 (12 to 16) |",
        "| untouched | 16.0 | 16.0 |",
    ]
    assert picture([row, untouched], by_size, counts, 24).count("<path") == 2
