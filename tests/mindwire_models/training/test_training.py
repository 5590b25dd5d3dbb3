"""Training on arrays: it learns, repeats itself, weighs classes, and its probabilities can be calibrated."""

from __future__ import annotations

import os

import numpy as np
import pytest

from mindwire_models.errors import ArgumentError

torch = pytest.importorskip("torch")

from mindwire_models.parallel import Parallel  # noqa: E402
from mindwire_models.training.augmentation import Augmentation, augment  # noqa: E402
from mindwire_models.training.fit import (  # noqa: E402
    Recipe,
    class_weights,
    fine_tune,
    fit_temperature,
    predict_logits,
    train_network,
)
from mindwire_models.training.pool import Job, run_jobs  # noqa: E402
from mindwire_models.training.trials import TrialWindows  # noqa: E402

SMALL = {"n_temporal_filters": 8, "temp_filter_length_inp": 15, "pool_length_inp": 25, "pool_stride_inp": 10}


def make_trials(n: int = 40, windows: int = 3, seed: int = 0) -> TrialWindows:
    """Two classes that differ in which of three channels oscillates."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    trial = np.repeat(np.arange(n), windows)
    x = rng.standard_normal((n * windows, 3, 150)).astype(np.float32)
    wave = np.sin(2 * np.pi * 0.1 * np.arange(150)).astype(np.float32)
    x[np.arange(len(x)), 2 * labels[trial]] += 2 * wave
    return TrialWindows(x, trial, labels)


def test_a_network_learns_what_can_be_learnt_and_repeats_itself() -> None:
    data, fresh = make_trials(), make_trials(seed=1)
    recipe = Recipe(epochs=30, warmup_epochs=3, batch_size=16, seed=3)
    networks = [train_network(data, 2, recipe, network_arguments=SMALL) for _ in range(2)]
    logits = [predict_logits(network, fresh.windows) for network in networks]
    np.testing.assert_array_equal(logits[0], logits[1])
    assert (logits[0].argmax(axis=1) == fresh.labels[fresh.trial]).mean() > 0.95
    assert not networks[0].training


def test_training_leaves_the_generator_of_the_caller_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_network(make_trials(8), 2, Recipe(epochs=1), network_arguments=SMALL)
    torch.testing.assert_close(torch.rand(3), expected)


def test_progress_counts_epochs() -> None:
    told: list[tuple[int, int]] = []
    train_network(
        make_trials(8), 2, Recipe(epochs=3), network_arguments=SMALL, progress=lambda *counts: told.append(counts)
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_what_a_start_keeps_stays_and_the_rest_is_trained() -> None:
    data = make_trials(8)
    start = train_network(data, 2, Recipe(epochs=1), network_arguments=SMALL)
    recipe = Recipe(epochs=2, learning_rate=1e-2, keep_stem=True, keep_statistics=True)
    tuned = fine_tune(start, make_trials(8, seed=1), recipe=recipe)
    before = start.state_dict()
    changed = {name for name, value in tuned.state_dict().items() if not torch.equal(value, before[name])}
    assert {"channel_expansion.0.weight", "final_layer.1.weight"} <= changed
    assert not [name for name in changed if name.startswith("input_block") or "running" in name]
    assert all(parameter.requires_grad for parameter in tuned.parameters())
    with pytest.raises(ArgumentError, match="from scratch has nothing to keep"):
        train_network(data, 2, recipe, network_arguments=SMALL)


def test_too_few_trials_are_refused() -> None:
    with pytest.raises(ArgumentError, match="at least 8 trials, found 4"):
        train_network(make_trials(4), 2, Recipe(epochs=1))


def test_trials_without_windows_are_refused() -> None:
    data = make_trials(8)
    with pytest.raises(ArgumentError, match="at least one window for each of 9 trials"):
        TrialWindows(data.windows, data.trial, np.append(data.labels, 0))
    with pytest.raises(ArgumentError, match="a trial for each"):
        TrialWindows(data.windows, data.trial[1:], data.labels)


def test_a_subset_renumbers_trials_in_the_order_given() -> None:
    data = make_trials(6)
    part = data.subset(np.array([4, 1]))
    assert part.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(part.windows[part.trial == 0], data.windows[data.trial == 4])
    np.testing.assert_array_equal(part.windows[part.trial == 1], data.windows[data.trial == 1])


def test_windows_with_bursts_and_trials_of_nothing_else_are_left_out() -> None:
    data = make_trials(6, windows=2)
    data.windows[3, 1] *= 10
    data.windows[8:10, 0] *= 10
    steady = data.without_bursts()
    assert steady.labels.tolist() == data.labels[[0, 1, 2, 3, 5]].tolist()
    assert steady.trial.tolist() == [0, 0, 1, 2, 2, 3, 3, 4, 4]
    np.testing.assert_array_equal(steady.windows[2], data.windows[2])


def test_the_learning_rate_warms_up_and_decays_to_nothing() -> None:
    recipe = Recipe(epochs=100, warmup_epochs=10)
    rates = [recipe.rate(epoch) for epoch in range(101)]
    assert rates[:10] == sorted(rates[:10])
    assert max(rates) == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.0)


def test_class_weights_make_each_class_count_the_same() -> None:
    labels = np.array([0] * 6 + [2] * 2)
    weights = class_weights(labels, 3)
    assert weights[1] == 0
    assert 6 * weights[0] == pytest.approx(2 * weights[2])
    assert weights[labels].mean() == pytest.approx(1.0)


def test_the_temperature_recovers_overconfidence() -> None:
    rng = np.random.default_rng(0)
    true_logits = rng.standard_normal((4000, 3)) * 2
    probabilities = np.exp(true_logits) / np.exp(true_logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(3, p=p) for p in probabilities])
    assert fit_temperature(3 * true_logits, labels) == pytest.approx(3, rel=0.1)
    assert fit_temperature(np.empty((0, 3)), np.empty(0, dtype=int)) == 1.0


def test_jobs_give_the_same_here_and_in_processes_of_their_own() -> None:
    data = make_trials(12)
    jobs = [Job(np.arange(12), Recipe(epochs=2, seed=seed), SMALL, data.windows[:5]) for seed in range(2)]
    told: list[int] = []
    here = run_jobs(data, 2, jobs, parallel=Parallel(), progress=lambda done, _total: told.append(done))
    assert told[-1] == 4
    told.clear()
    there = run_jobs(data, 2, jobs, parallel=Parallel(2), progress=lambda done, total: told.append(total - done))
    assert told[-1] == 0
    assert told == sorted(told, reverse=True)
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one.logits, other.logits)
        assert one.logits.shape == (5, 2)
        assert one.network.n_chans == 3
        weights = other.network.state_dict()
        assert all(tensor.equal(weights[name]) for name, tensor in one.network.state_dict().items())
    assert not np.array_equal(here[0].logits, here[1].logits)


def test_jobs_need_no_call_of_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert len(run_jobs(make_trials(12), 2, [Job(np.arange(12), Recipe(epochs=1), SMALL)])) == 1


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.randn(64, 4, 50)
    return x, torch.nn.functional.one_hot(torch.arange(64) % 3, 3).float()


def test_no_augmentation_changes_nothing() -> None:
    x, target = batch()
    found, told = augment(x, target, Augmentation())
    torch.testing.assert_close(found, x)
    torch.testing.assert_close(told, target)


def test_recombination_stays_within_class_and_time() -> None:
    x, target = batch()
    marked = x * 0 + target.argmax(dim=1)[:, None, None] * 100 + torch.arange(50)
    found, told = augment(marked, target, Augmentation(recombination=5))
    torch.testing.assert_close(found, marked)
    torch.testing.assert_close(told, target)
    mixed, _ = augment(x, target, Augmentation(recombination=5))
    assert not torch.equal(mixed, x)


def test_mixup_keeps_variance_and_probability() -> None:
    x, target = batch()
    found, told = augment(x, target, Augmentation(mixup=0.4))
    torch.testing.assert_close(told.sum(dim=1), torch.ones(64))
    assert float(found.var()) == pytest.approx(float(x.var()), rel=0.1)


def test_channel_dropout_silences_whole_channels() -> None:
    x, target = batch()
    found, _ = augment(x, target, Augmentation(channel_dropout=0.5))
    silent = (found == 0).all(dim=2)
    assert 0.3 < float(silent.float().mean()) < 0.7
    torch.testing.assert_close(found[~silent], x[~silent])


def test_covariance_jitter_is_small_and_symmetric_in_effect() -> None:
    x, target = batch()
    found, _ = augment(x, target, Augmentation(covariance_jitter=0.1))
    assert 0 < float((found - x).norm() / x.norm()) < 0.3
