"""Decisions: dwell, refractory time and hysteresis by counts, never from invalid predictions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindwire.control.controller import ControlCommand, Controller
from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Axis, Decide, DynamicIntegrator, Evidence, HiddenMarkov, Latest, Leaky
from mindwire.errors import PolicyError
from mindwire.types import ControlOutput, Prediction, Reason

CLASSES = ("left", "right", "rest")
HOP = 0.04
# A time constant far below a hop and windows of one hop: the posterior is the prediction itself.
DIRECT = Leaky(time_constant_s=1e-6)


def made(seq: int, p: tuple[float, ...], *, valid: bool = True) -> Prediction:
    reasons = Reason.LINE_NOISE if valid else Reason.GAP
    return Prediction(seq, 100 + seq * HOP, np.array(p), reasons)


def run(policy: ControlPolicy, predictions: list[Prediction], window_s: float = HOP) -> list[ControlOutput]:
    controller = Controller(policy, CLASSES, window_s, HOP)
    return [step(controller, prediction) for prediction in predictions]


def step(controller: Controller, prediction: Prediction) -> ControlOutput:
    row = prediction.probabilities.tolist() if prediction.valid else None
    output = controller.update(prediction.seq, prediction.time, row)
    assert output is not None
    return output


def decided(outputs: list[ControlOutput]) -> list[tuple[int, str]]:
    return [(o.decision.seq, o.decision.label) for o in outputs if o.decision]


LEFT, RIGHT, REST, WEAK = (0.9, 0.05, 0.05), (0.05, 0.9, 0.05), (0.05, 0.05, 0.9), (0.7, 0.2, 0.1)


@pytest.mark.parametrize(("dwell_s", "expected"), [(0.0, 0), (0.04, 1), (0.1, 3), (0.12, 3), (0.5, 13)])
def test_a_dwell_counts_hops(dwell_s: float, expected: int) -> None:
    policy = ControlPolicy(evidence=DIRECT, decide=Decide(dwell_s=dwell_s, refractory_s=100))
    assert decided(run(policy, [made(n, LEFT) for n in range(40)])) == [(expected, "left")]


@pytest.mark.parametrize(("refractory_s", "every"), [(0.0, 1), (0.2, 5), (0.21, 6), (1.0, 25)])
def test_a_refractory_time_counts_hops(refractory_s: float, every: int) -> None:
    policy = ControlPolicy(evidence=DIRECT, decide=Decide(dwell_s=0, refractory_s=refractory_s))
    found = decided(run(policy, [made(n, LEFT) for n in range(60)]))
    assert [seq for seq, _ in found] == list(range(0, 60, every))


def test_a_class_that_stays_active_acts_once_until_it_falls_below_the_release_threshold() -> None:
    policy = ControlPolicy(evidence=DIRECT, idle="rest", decide=Decide(dwell_s=0, refractory_s=0, reset=False))
    sequence = [LEFT] * 5 + [WEAK] * 5 + [LEFT] * 5 + [REST] + [LEFT] * 5
    outputs = run(policy, [made(n, p) for n, p in enumerate(sequence)])
    assert decided(outputs) == [(0, "left"), (16, "left")]
    assert {o.state for o in outputs[:15]} == {"active"}
    assert run(policy, [made(0, WEAK)])[0].state == "ambiguous"


def test_an_idle_class_is_never_decided() -> None:
    policy = ControlPolicy(evidence=DIRECT, idle="rest", decide=Decide(dwell_s=0, refractory_s=0))
    outputs = run(policy, [made(n, REST) for n in range(20)])
    assert not decided(outputs)
    assert {o.state for o in outputs} == {"idle"}


def test_uncertain_posteriors_are_idle() -> None:
    policy = ControlPolicy(evidence=DIRECT, decide=Decide(commit=0.5, release=0.4, dwell_s=0, max_entropy=0.5))
    assert not decided(run(policy, [made(0, (0.55, 0.45, 0.0)), made(1, (0.6, 0.2, 0.2))]))
    assert decided(run(policy, [made(0, LEFT)])) == [(0, "left")]


def test_pausing_decides_nothing_and_returns_the_axes_to_zero() -> None:
    axis = Axis(name="x", positive="right", negative="left", smoothing_s=0)
    controller = Controller(ControlPolicy(evidence=DIRECT, decide=Decide(dwell_s=0), axes=(axis,)), CLASSES, HOP, HOP)
    controller.command(ControlCommand(0, paused=True))
    output = step(controller, made(0, RIGHT))
    assert (output.decision, output.axes, output.state) == (None, (0.0,), "paused")
    controller.command(ControlCommand(1, paused=False))
    output = step(controller, made(1, RIGHT))
    assert output.axes[0] == pytest.approx((0.85 - 0.1) / 0.9)
    assert output.decision is not None


POLICIES: list[Evidence] = [Leaky(), Leaky(contrast=0.5), Leaky(time_constant_s=None), HiddenMarkov(), DIRECT]
probabilities = st.tuples(*[st.floats(0.01, 1)] * 3).map(lambda p: tuple(v / sum(p) for v in p))
streams = st.lists(st.tuples(probabilities, st.booleans()), max_size=120)


@given(
    evidence=st.sampled_from(POLICIES),
    stream=streams,
    commit=st.floats(0.34, 1),
    dwell=st.floats(0, 1),
    refractory=st.floats(0, 2),
    reset=st.booleans(),
)
def test_decisions_keep_their_rules(
    evidence: Evidence, stream: list, commit: float, dwell: float, refractory: float, *, reset: bool
) -> None:
    decide = Decide(commit=commit, release=commit / 2, dwell_s=dwell, refractory_s=refractory, reset=reset)
    policy = ControlPolicy(evidence=evidence, decide=decide)
    predictions = [made(n, p, valid=valid) for n, (p, valid) in enumerate(stream)]
    outputs = run(policy, predictions, 4.0)
    assert outputs == run(policy, predictions, 4.0)
    found = decided(outputs)
    for (first, _), (second, _) in itertools.pairwise(found):
        assert (second - first) * HOP >= refractory - 1e-6
    for seq, label in found:
        n = round(max(0, dwell / HOP - 1e-6) + 0.4999)
        held = outputs[max(0, seq - n) : seq + 1]
        assert len(held) == n + 1
        assert all(predictions[k].valid for k in range(seq - n, seq + 1))
        assert all(o.evidence[CLASSES.index(label)] >= commit for o in held)


def test_a_clock_set_back_starts_the_evidence_again() -> None:
    controller = Controller(ControlPolicy(evidence=Leaky()), CLASSES, 4.0, HOP)
    for n in range(100):
        step(controller, made(n, LEFT))
    back = step(controller, Prediction(100, 3.0, np.array(LEFT)))
    first = step(Controller(ControlPolicy(evidence=Leaky()), CLASSES, 4.0, HOP), made(0, LEFT))
    assert back.evidence == first.evidence


@pytest.mark.parametrize("pause_s", [-50.0, 4.0])
def test_a_dwell_does_not_bridge_missing_windows_or_a_clock_set_back(pause_s: float) -> None:
    policy = ControlPolicy(evidence=Latest(), decide=Decide(dwell_s=10 * HOP, refractory_s=0))
    shown = [Prediction(n, n * HOP + (pause_s if n >= 8 else 0), np.array(LEFT)) for n in range(20)]
    assert decided(run(policy, shown, window_s=4.0))[0] == (18, "left")


def test_two_classes_steer_by_the_dynamic_integrator() -> None:
    axis = Axis(name="turn", positive="a", negative="b")
    controller = Controller(
        ControlPolicy(evidence=DynamicIntegrator(), decide=Decide(commit=1, reset=False), axes=(axis,)),
        ("a", "b"),
        4.0,
        HOP,
    )
    outputs = [step(controller, Prediction(n, n * HOP, np.array([0.9, 0.1]))) for n in range(400)]
    assert outputs[-1].axes[0] > 0.9


def test_another_policy_holds_from_its_prediction_on_and_keeps_the_refractory_time() -> None:
    decide = Decide(dwell_s=0, refractory_s=1)
    policy = ControlPolicy(evidence=DIRECT, decide=decide)
    stricter = policy.model_copy(update={"decide": decide.model_copy(update={"commit": 0.95})})
    predictions = [made(n, LEFT) for n in range(80)]

    def outputs(*commands: ControlCommand) -> list[tuple[int, str]]:
        controller = Controller(policy, CLASSES, HOP, HOP, commands)
        return decided([step(controller, prediction) for prediction in predictions])

    assert [seq for seq, _ in outputs()] == [0, 25, 50, 75]
    assert [seq for seq, _ in outputs(ControlCommand(30, stricter))] == [0, 25]
    assert [seq for seq, _ in outputs(ControlCommand(30, stricter), ControlCommand(40, policy))] == [0, 25, 50, 75]


def test_without_a_policy_nothing_is_decided_until_a_command_brings_one() -> None:
    controller = Controller(None, CLASSES, HOP, HOP, [ControlCommand(2, ControlPolicy(evidence=DIRECT))])
    assert [controller.update(n, n * HOP, LEFT) is None for n in range(4)] == [True, True, False, False]


def test_a_policy_that_does_not_fit_changes_nothing() -> None:
    controller = Controller(ControlPolicy(evidence=DIRECT), CLASSES, HOP, HOP)
    with pytest.raises(PolicyError, match="no class up"):
        controller.command(ControlCommand(0, ControlPolicy(idle="up")))
    assert step(controller, made(0, LEFT)).state == "dwelling"


def test_a_command_of_another_run_applies_from_the_first_prediction_after_its_time() -> None:
    policy = ControlPolicy(evidence=DIRECT, decide=Decide(dwell_s=0, refractory_s=0, reset=False))
    command = ControlCommand(None, policy, time=made(3, LEFT).time)
    controller = Controller(None, CLASSES, HOP, HOP, [command])
    outputs = [controller.update(n, made(n, LEFT).time, LEFT) for n in range(6)]
    assert [output is not None for output in outputs] == [False] * 4 + [True] * 2
    assert outputs[4] is not None
    assert outputs[4].policy is policy


@pytest.mark.parametrize("evidence", POLICIES)
def test_after_a_break_longer_than_a_window_the_evidence_starts_again(evidence: Evidence) -> None:
    policy = ControlPolicy(evidence=evidence, decide=Decide(commit=0.4, release=0.3, dwell_s=0.5, reset=False))
    controller, other = (Controller(policy, CLASSES, 4.0, HOP) for _ in range(2))
    for n in range(12):
        step(controller, made(n, LEFT))
    for n in range(12, 60):
        late, first = (step(c, Prediction(n, 3600 + n * HOP, np.array(LEFT))) for c in (controller, other))
        assert (late.evidence, late.decision, late.state) == (first.evidence, first.decision, first.state)


@pytest.mark.parametrize("row", [(float("nan"),) * 3, (0.5, float("nan"), 0.5), (float("inf"), 0.0, 0.0)])
def test_probabilities_that_are_not_finite_are_invalid(row: tuple[float, ...]) -> None:
    controller = Controller(ControlPolicy(decide=Decide(commit=0.4, release=0.3)), CLASSES, 4.0, HOP)
    outputs = [step(controller, made(n, row if n == 50 else LEFT)) for n in range(200)]
    assert (outputs[50].state, outputs[50].decision) == ("invalid", None)
    assert all(np.isfinite(output.evidence).all() for output in outputs)


def test_times_that_are_not_finite_leave_no_trace_in_the_evidence() -> None:
    controller = Controller(ControlPolicy(evidence=Leaky()), CLASSES, 4.0, HOP)
    for time in (1.0, float("nan"), 1.08, float("inf"), 1.16, 1.2):
        output = step(controller, Prediction(0, time, np.array(LEFT)))
        assert np.isfinite(output.evidence).all()


def test_between_the_thresholds_an_active_class_is_held_and_another_may_take_over() -> None:
    decide = Decide(commit=0.8, release=0.6, dwell_s=0, refractory_s=0, reset=False)
    held = (0.7, 0.25, 0.05)
    sequence = [WEAK, LEFT, *[held] * 3, LEFT, (0.5, 0.3, 0.2), held, LEFT, RIGHT]
    outputs = run(ControlPolicy(evidence=DIRECT, decide=decide), [made(n, p) for n, p in enumerate(sequence)])
    assert decided(outputs) == [(1, "left"), (8, "left"), (9, "right")]
    assert [o.state for o in outputs] == ["ambiguous", *["active"] * 5, "idle", "ambiguous", "active", "active"]
