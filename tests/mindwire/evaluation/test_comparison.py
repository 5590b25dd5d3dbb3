"""Comparison of the decisions of two models or policies: pairs, exact tests, common trials and rest."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Decide, Latest
from mindwire.errors import UsageError
from mindwire.evaluation.comparison import ComparedRates, MatchedRuns, PairedTrials, Side, compare, pair_decisions
from mindwire.evaluation.control import ControlRun, ControlTask, CuedTrial, raw_argmax
from mindwire.evaluation.rest import RestTimes
from mindwire.evaluation.scores import EvaluatedRun, Trace
from mindwire.offline.trials import Trial
from mindwire.types import Decision

QUICK = ControlPolicy(evidence=Latest(), decide=Decide(commit=0.6, release=0.6, dwell_s=0.0, refractory_s=1.0))


def binomial_p_value(k: int, n: int, share: float) -> float:
    """Sum of the probabilities of all outcomes that are no more probable than the one found."""
    each = [comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(n + 1)]
    return sum(p for p in each if p <= each[k] * (1 + 1e-7))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30))
def test_trials_are_compared_by_those_that_differ(pairs: list[tuple[bool, bool]]) -> None:
    found = PairedTrials.of([a for a, _ in pairs], [b for _, b in pairs])
    assert (found.both, found.only_a, found.only_b) == (
        pairs.count((True, True)),
        pairs.count((True, False)),
        pairs.count((False, True)),
    )
    assert found.both + found.only_a + found.only_b + found.neither == len(pairs)
    assert found.p_value == pytest.approx(binomial_p_value(found.only_a, found.only_a + found.only_b, 0.5))


@given(st.integers(0, 15), st.integers(0, 15), st.floats(0.5, 20), st.floats(0.5, 20))
def test_rates_are_compared_given_their_sum(n_a: int, n_b: int, minutes_a: float, minutes_b: float) -> None:
    found = ComparedRates.of(n_a, minutes_a, n_b, minutes_b)
    share = minutes_a / (minutes_a + minutes_b)
    assert found.p_value == pytest.approx(binomial_p_value(n_a, n_a + n_b, share), rel=1e-6)
    low, high = found.ratio
    assert low <= (n_a / minutes_a) / (n_b / minutes_b) <= (high or np.inf) if n_b else high is None


TIMES = st.lists(st.integers(0, 400), unique=True, max_size=12).map(sorted)


@given(TIMES, TIMES, st.data())
def test_each_decision_is_in_one_pair_of_one_place(a: list[int], b: list[int], data: st.DataObject) -> None:
    names = st.sampled_from(("left", "right"))
    sides = [[Decision(t, t / 10, data.draw(names), 0.9) for t in some] for some in (a, b)]
    run = ControlRun("x.xdf", (), [CuedTrial(5.0, 9.0, "left"), CuedTrial(20.0, 25.0, "right")], [(10.0, 15.0)])
    pairs = list(pair_decisions(run, *sides))
    for which, some in zip("ab", sides, strict=True):
        times = [(getattr(pair, f"time_{which}"), getattr(pair, which)) for pair in pairs]
        assert [pair for pair in times if pair[0] is not None] == [(d.time, d.label) for d in some]
    assert [pair.time for pair in pairs] == sorted(pair.time for pair in pairs)
    for pair in pairs:
        place = (
            "left"
            if 5 < pair.time <= 9
            else "right"
            if 20 < pair.time <= 25
            else "rest"
            if 10 < pair.time <= 15
            else ""
        )
        assert pair.trial == place
        assert (pair.since_cue_s is None) == (place in ("", "rest"))
        if pair.time_a is not None and pair.time_b is not None:
            assert abs(pair.time_a - pair.time_b) <= 1.0


def side(
    classes: tuple[str, ...],
    hop_s: float,
    shown: list[tuple[float, float, str]],
    trials: list[Trial],
    idle: str | None = "idle",
) -> Side:
    """Model whose probability of a class is high for some seconds, and of its last class otherwise."""
    times = np.arange(0.0, 60.0, hop_s)
    rows = np.full((len(times), len(classes)), 0.1)
    leading = np.full(len(times), len(classes) - 1)
    for begin, end, name in shown:
        leading[(times >= begin) & (times < end)] = classes.index(name)
    rows[np.arange(len(times)), leading] = 0.9
    rows /= rows.sum(axis=1, keepdims=True)
    run = EvaluatedRun("x.xdf", "", Trace(times, rows, np.zeros(len(times), np.int64)), tuple(trials), 60.0)
    return Side(QUICK.model_copy(update={"idle": idle}), ControlTask(classes, idle, 2.0, hop_s, 4.0), [run])


TRIALS = [Trial(10.0, "left"), Trial(20.0, "right"), Trial(30.0, "idle"), Trial(40.0, "left")]


def test_models_with_other_hops_orders_and_classes_are_compared_on_what_both_have() -> None:
    a = side(("left", "right", "idle"), 0.25, [(12, 13, "left"), (22, 23, "left"), (32, 33, "left")], TRIALS)
    b = side(
        ("feet", "right", "left", "idle"),
        0.5,
        [(12.5, 13, "left"), (22, 23, "right"), (42, 43, "feet")],
        [*TRIALS, Trial(50.0, "feet")],
    )
    runs = MatchedRuns.of(a, b, RestTimes())
    found = compare(a, b, runs)
    assert (found.classes, found.left_out) == (["left", "right"], ["feet"])
    assert found.right == PairedTrials(both=1, only_a=0, only_b=1, neither=1, p_value=1.0)
    assert (found.wrong_first.only_a, found.wrong_first.only_b) == (1, 1)
    assert found.false_activations is not None
    assert (found.false_activations.n_a, found.false_activations.n_b) == (1, 0)
    assert found.false_activations.minutes_a == found.false_activations.minutes_b == pytest.approx(4 / 60)
    rows = [(pair.trial, pair.a, pair.b) for pair in found.decisions]
    assert rows == [
        ("left", "left", "left"),
        ("right", "left", "right"),
        ("rest", "left", None),
        ("left", None, "feet"),
    ]
    assert found.agreement is not None
    assert found.agreement.classes == ["left", "right", "idle"]
    assert 0.9 < found.agreement.n_equal / found.agreement.n_predictions < 1


def test_rest_is_that_of_the_model_that_knows_it_and_one_model_agrees_with_itself() -> None:
    with_idle = side(("left", "right", "idle"), 0.25, [(32, 33, "left")], TRIALS)
    without = side(("left", "right"), 0.25, [], [trial for trial in TRIALS if trial.label != "idle"], idle=None)
    found = compare(without, with_idle, MatchedRuns.of(without, with_idle, RestTimes()))
    assert found.false_activations is not None
    assert found.false_activations.n_b == 1
    raw = Side(raw_argmax("idle"), with_idle.task, with_idle.cued)
    same = compare(with_idle, raw, MatchedRuns.of(with_idle, raw, RestTimes()))
    assert same.agreement is None


def test_what_cannot_be_compared_is_refused() -> None:
    a = side(("left", "idle"), 0.25, [], [Trial(10.0, "left")])
    b = side(("right", "idle"), 0.25, [], [Trial(10.0, "right")])
    with pytest.raises(UsageError, match="A decides left and B right; expected at least one class in common"):
        MatchedRuns.of(a, b, RestTimes())
    b = side(("left", "right", "idle"), 0.25, [], [Trial(10.0, "right")])
    with pytest.raises(UsageError, match="stands for left with A and for right with B"):
        MatchedRuns.of(a, b, RestTimes())
