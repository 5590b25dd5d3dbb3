"""Policies are chosen within what the recorded rest allows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Decide, Leaky
from mindwire.errors import ArgumentError, UsageError
from mindwire.evaluation.control import ControlRun, ControlTask, Counts, CuedTrial, control_counts
from mindwire.evaluation.metrics import poisson_bound, poisson_forecast
from mindwire.evaluation.tuning import PolicySearch, allowed, default_axes, strongest, tune
from mindwire.evaluation.tuning_report import frontier_table, held_out_table, parse_budget

CLASSES = ("idle", "left", "right")
HOP_S = 0.1
TASK = ControlTask(CLASSES, "idle", window_s=2.0, hop_s=HOP_S, trial_s=4.0)


def recording(seed: int, n_trials: int = 12, *, strength: float = 1.0, task: ControlTask = TASK) -> ControlRun:
    """Return a recording with trials 6 s apart whose class shows in the logits a second after the cue, with gaps."""
    rng = np.random.default_rng(seed)
    n = round(6 * n_trials / HOP_S)
    times = 10 + HOP_S * np.arange(n) + rng.uniform(0, 0.01, n)
    if seed % 2:
        times[n // 2 :] -= 1000  # the clock was set back
    else:
        times[n // 2 :] += 7  # windows are missing
    names = rng.permutation(np.resize(task.classes, n_trials))
    logits = np.zeros((n, len(task.classes)))
    noise = rng.normal(size=logits.shape)
    for t in range(1, n):
        noise[t] = 0.95 * noise[t - 1] + 0.3 * noise[t]
    trials = []
    for i, name in enumerate(names.tolist()):
        begin = round(6 * i / HOP_S) + 10
        logits[begin + 10 : begin + 40, task.classes.index(name)] += 1.5 * strength
        trials.append(CuedTrial(times[begin], times[begin] + 4.0, name))
    rows = np.exp(logits + noise)
    rows /= rows.sum(axis=1, keepdims=True)
    valid = rng.random(n) > 0.02
    predictions = [(t, row if ok else None) for t, row, ok in zip(times.tolist(), rows.tolist(), valid, strict=True)]
    rest = [(trial.cue, trial.end) for trial in trials if trial.label == task.idle]
    return ControlRun(f"{seed}.xdf", predictions, [trial for trial in trials if trial.label != task.idle], rest)


@pytest.fixture(scope="module")
def runs() -> list[ControlRun]:
    return [recording(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def search(runs: list[ControlRun]) -> PolicySearch:
    return PolicySearch.of(runs, TASK)


@pytest.mark.parametrize("idle", ["idle", None])
def test_the_strongest_evidence_of_a_trial_is_the_largest_threshold_that_decides_it(idle: str | None) -> None:
    task = replace(TASK, idle=idle)
    run = recording(0, 6, task=task)
    peaks = strongest([run], Leaky(time_constant_s=0.5), task)
    assert len(peaks) == len(run.trials)
    for peak, trial in zip(peaks, run.trials, strict=True):
        for commit, expected in ((peak, True), (min(1.0, peak + 1e-9), False)):
            decide = Decide(commit=commit, release=commit, dwell_s=0, refractory_s=0, reset=False)
            policy = ControlPolicy(evidence=Leaky(time_constant_s=0.5), decide=decide, idle=idle)
            held = [
                time
                for (time, row), output in zip(run.predictions, run.outputs(policy, task), strict=True)
                if row is not None and output.state == "active" and trial.cue < time <= trial.end
            ]
            assert bool(held) is expected


def test_as_many_false_activations_are_allowed_as_prove_the_budget() -> None:
    assert poisson_bound(0, 10.0) == pytest.approx(0.2996, abs=1e-4)
    assert allowed(0.29, 10.0) is None
    assert allowed(0.30, 10.0) == 0
    for budget, minutes in ((1.0, 10.0), (2.0, 3.0), (5.0, 60.0)):
        most = allowed(budget, minutes)
        assert most is not None
        assert poisson_bound(most, minutes) <= budget < poisson_bound(most + 1, minutes)


def test_the_chosen_policy_keeps_the_budget_and_is_on_the_frontier(search: PolicySearch) -> None:
    few, many = search.tuned(1.5), search.tuned(20.0)
    assert few.counts.false_activations <= (allowed(1.5, few.counts.rest_minutes) or 0)
    assert many.counts.false_activations <= (allowed(20.0, many.counts.rest_minutes) or 0)
    assert many.counts.right - many.counts.wrong_first >= few.counts.right - few.counts.wrong_first
    assert few.counts.right > 10
    for tuned in (few, many):
        rates = [point.false_per_minute for point in tuned.tuning.frontier]
        assert rates == sorted(rates)
        assert (tuned.policy.evidence, tuned.policy.decide) in [(p.evidence, p.decide) for p in tuned.tuning.frontier]
        assert tuned.policy.axes == default_axes(CLASSES, "idle")
        tuned.policy.check(CLASSES)
        assert 1 / 3 < tuned.policy.threshold("release", "left") < tuned.policy.threshold("commit", "left")


def test_what_a_choice_is_worth_is_counted_where_it_was_not_made(search: PolicySearch, runs: list[ControlRun]) -> None:
    tuned = search.tuned(2.0)
    expected = Counts()
    for i, run in enumerate(runs):
        others = [other for other in runs if other is not run]
        minutes = sum(counts.rest_s for j, counts in enumerate(search.raw) if j != i) / 60
        without = search.policies[search.best(allowed(2.0, minutes) or 0, leave_out=i)]
        false = sum(control_counts(others, without, TASK), Counts()).false_activations
        assert false <= max(
            allowed(2.0, minutes) or 0,
            min(sum(one.false_activations for j, one in enumerate(row) if j != i) for row in search.counts),
        )
        expected += control_counts([run], without, TASK)[0]
    assert tuned.held_out == expected
    assert tuned.tuning.proven_per_minute == poisson_bound(expected.false_activations, expected.rest_minutes)


def test_a_budget_that_the_rest_cannot_prove_is_not_pretended(search: PolicySearch, runs: list[ControlRun]) -> None:
    tuned = search.tuned(0.5)
    assert not tuned.provable
    assert f"{tuned.counts.rest_minutes:.1f} minutes of rest cannot prove this budget" in tuned.statement
    assert "6.0 minutes without one are needed" in tuned.statement
    assert tuned.counts.false_activations == min(sum(row, Counts()).false_activations for row in search.counts)
    alone = tune(runs[:1], TASK, budget_per_minute=100.0)
    assert "chosen on the same rest" in alone.statement


def test_a_policy_like_raw_activates_no_oftener_at_rest(search: PolicySearch, runs: list[ControlRun]) -> None:
    like = sum(control_counts(runs, search.like_raw(), TASK), Counts())
    assert like.false_activations <= sum(search.raw, Counts()).false_activations


@pytest.mark.parametrize(("lacking", "says"), [("rest", "no rest"), ("trials", "no trial")])
def test_rest_and_trials_are_both_needed(lacking: str, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        tune([replace(recording(0, 4), **{lacking: []})], TASK, budget_per_minute=1.0)


def test_a_model_that_only_idles_is_refused() -> None:
    run = recording(0, 6)
    still = replace(run, predictions=[(time, [0.9, 0.05, 0.05]) for time, _ in run.predictions])
    with pytest.raises(ArgumentError, match="no trial in which a class leads"):
        tune([still], TASK, budget_per_minute=1.0)


def test_a_forecast_covers_later_counts_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    rates = rng.uniform(0.2, 4.0, 4000)
    first, later = rng.poisson(3 * rates), rng.poisson(2 * rates)
    inside = [
        low <= n <= high
        for n, (low, high) in ((m, poisson_forecast(int(k), 3, 2)) for k, m in zip(first, later, strict=True))
    ]
    assert 0.94 <= np.mean(inside) <= 0.995


@pytest.mark.parametrize(("text", "rate"), [("1/min", 1.0), ("0.5/min", 0.5), ("30/h", 0.5), (" 2 / minute", 2.0)])
def test_a_budget_is_a_rate(text: str, rate: float) -> None:
    assert parse_budget(text) == rate


@pytest.mark.parametrize("text", ["", "1", "0/min", "-1/min", "1/s", "nan/min", "1e9/min", "61/min", "1/min/min"])
def test_another_budget_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a rate") as error:
        parse_budget(text)
    assert "\n" not in str(error.value)


def test_tables_show_the_choice_and_the_raw_argmax(search: PolicySearch) -> None:
    tuned = search.tuned(2.0)
    table = frontier_table(tuned)
    assert len(table.totals) == 1
    assert table.rows[-1][4] == "raw argmax"
    others = [recording(seed) for seed in (7, 8)]
    tested = held_out_table(search, [tuned], others)
    assert [row[0] for row in tested.rows] == ["2 a minute", "like raw", "raw argmax"]
    counts = sum(control_counts(others, tuned.policy, TASK), Counts())
    assert tested.rows[0][3].startswith(f"{counts.false_activations} = ")


def test_policies_are_compared_by_right_less_wrong_trials_of_neighbouring_thresholds(
    search: PolicySearch, runs: list[ControlRun]
) -> None:
    groups = [(one.evidence, one.decide.refractory_s) for one in search.policies]
    assert len(set(map(str, groups))) == 8
    for i in range(0, len(groups), 3):
        near = [j for j in (i - 1, i, i + 1) if 0 <= j < len(groups) and groups[j] == groups[i]]
        totals = [sum(control_counts(runs, search.policies[j], TASK), Counts()) for j in near]
        values = [total.right - total.wrong_first for total in totals]
        own = values[near.index(i)]
        assert search.merit[i].sum() == pytest.approx((sum(values) + (3 - len(values)) * own) / 3)
