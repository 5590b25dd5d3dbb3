"""The simulated participants in closed loop, in simulated time: the bundle's tuned policy against the raw argmax."""

from __future__ import annotations

from benchmarks.closed_loop import SEEDS, SteeringFigures, steer
from mindwire.control.policy import choose_policy
from mindwire.evaluation.control import raw_argmax
from mindwire.inference.load import load_decoder
from mindwire_models.bundle import load_bundle
from mindwire_models.zoo import zoo_bundle_path


def test_targets_are_reached_within_the_budget_and_the_raw_argmax_does_worse() -> None:
    bundle = load_bundle(zoo_bundle_path())
    decoder = load_decoder(bundle)
    policy = choose_policy(bundle)
    assert policy is not None
    assert policy.tuning is not None
    tuned = SteeringFigures.of([steer(bundle, decoder, policy, seed) for seed in SEEDS])
    assert tuned.attempts == 40
    assert tuned.reached >= 36
    assert tuned.false_activations <= policy.tuning.budget_per_minute * tuned.rest_minutes
    raw = SteeringFigures.of([steer(bundle, decoder, raw_argmax(None), seed) for seed in SEEDS[:4]])
    assert raw.reached / raw.attempts < tuned.reached / tuned.attempts - 0.1
    assert raw.false_activations / raw.rest_minutes > 10 * (tuned.false_activations + 1) / tuned.rest_minutes
    assert raw.wrong / raw.decisions > 2 * tuned.wrong / tuned.decisions
