"""Closed loop in simulated time: a simulated participant steers a cursor to targets by the decisions of a policy.

    python benchmarks/closed_loop.py

The participant's signal runs through the pipeline of the live service with the bundle that comes with Mindwire; decisions
become visible to the participant within 0.1 s. :mod:`mindwire.sources.steering` defines task and behaviour. The imagery is
weaker than that of everyone the model was trained on: it lowers the amplitude of a rhythm by 0.6 instead of 0.72 to 0.9.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mindwire.control.policy import ControlPolicy, choose_policy
from mindwire.evaluation.control import raw_argmax
from mindwire.evaluation.metrics import poisson_interval
from mindwire.inference.decoder import Decoder
from mindwire.inference.load import load_decoder
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.sources.simulator import Simulator
from mindwire.sources.steering import SteeringParticipant
from mindwire_models.bundle import Bundle, load_bundle
from mindwire_models.zoo import zoo_bundle_path

DEPTH = 0.6
SEED = 1
ATTEMPTS = 40
_CHUNK_S = 0.1


def steer(
    bundle: Bundle,
    decoder: Decoder,
    policy: ControlPolicy,
    *,
    seed: int = SEED,
    attempts: int = ATTEMPTS,
    depth: float | None = DEPTH,
) -> SteeringParticipant:
    """Return the participant after the attempts."""
    participant = SteeringParticipant(seed)
    simulator = Simulator(seed, depth=depth, intention=participant)
    pipeline = Pipeline(bundle.contract, simulator.info, decoder, PipelineOptions(policy=policy))
    chunk = round(_CHUNK_S * simulator.sfreq)
    while len(participant.attempts) < attempts:
        for prediction in pipeline.process(simulator.read(chunk)):
            if prediction.control is not None and prediction.control.decision is not None:
                participant.see(simulator.samples_read / simulator.sfreq, prediction.control.decision.label)
    return participant


def row(name: str, participant: SteeringParticipant) -> str:
    """Return the figures of a participant as a row of a Markdown table."""
    attempts = participant.attempts
    reached = [attempt for attempt in attempts if attempt.reached]
    seconds = f"{np.median([attempt.seconds for attempt in reached]):.1f} s" if reached else "–"
    decisions, wrong = sum(a.decisions for a in attempts), sum(a.wrong for a in attempts)
    minutes = participant.rest_s / 60
    low, high = poisson_interval(participant.false_activations, minutes)
    rate = f"{participant.false_activations} in {minutes:.1f} min ({participant.false_activations / minutes:.1f} a minute, {low:.2f}–{high:.2f})"
    return f"| {name} | {len(reached)} of {len(attempts)} | {seconds} | {wrong} of {decisions} | {rate} | {participant.late} |"


def main() -> None:
    """Steer with the bundle's policy and with the raw argmax; print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=zoo_bundle_path(), help="bundle with a control policy")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--attempts", type=int, default=ATTEMPTS)
    options = parser.parse_args()
    bundle = load_bundle(options.model)
    decoder = load_decoder(bundle)
    policies = {"tuned": choose_policy(bundle, None), "raw argmax": raw_argmax(None)}
    print(
        "| policy | targets reached | median time | decisions that brought no target nearer | false activations | late |"
    )
    print("|---|---|---|---|---|---|")
    for name, policy in policies.items():
        if policy is None:
            parser.error(f"{bundle.name} has no control policy")
        print(row(name, steer(bundle, decoder, policy, seed=options.seed, attempts=options.attempts)), flush=True)


if __name__ == "__main__":
    main()
