"""Closed loop in simulated time: simulated participants steer a cursor to targets by the decisions of a policy.

    python benchmarks/closed_loop.py

A participant's signal runs through the pipeline of the live service with the bundle that comes with Mindwire; decisions
become visible to the person within 0.1 s. :mod:`mindwire.sources.steering` defines task and behaviour. A minute of rest
comes first, as before any session, in which the estimated class prior settles.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from mindwire.control.policy import ControlPolicy, choose_policy
from mindwire.evaluation.control import raw_argmax
from mindwire.evaluation.metrics import poisson_interval
from mindwire.inference.decoder import Decoder
from mindwire.inference.load import load_decoder
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.sources.simulator import Simulator
from mindwire.sources.steering import Steering, SteeringParticipant
from mindwire_models.bundle import Bundle, load_bundle
from mindwire_models.zoo import zoo_bundle_path

SEEDS = range(1, 9)
ATTEMPTS = 5
READY_S = 60.0
_CHUNK_S = 0.1


def steer(
    bundle: Bundle,
    decoder: Decoder,
    policy: ControlPolicy,
    seed: int,
    attempts: int = ATTEMPTS,
    depth: float | None = None,
) -> SteeringParticipant:
    """Return the participant after a number of attempts, each with the rest after it."""
    participant = SteeringParticipant(seed, Steering(ready_s=READY_S))
    simulator = Simulator(seed, depth=depth, intention=participant)
    pipeline = Pipeline(bundle.contract, simulator.info, decoder, PipelineOptions(policy=policy))
    chunk = round(_CHUNK_S * simulator.sfreq)
    while len(participant.attempts) < attempts or participant.board.target is None:
        for prediction in pipeline.process(simulator.read(chunk)):
            if prediction.control is not None and prediction.control.decision is not None:
                participant.see(simulator.samples_read / simulator.sfreq, prediction.control.decision.label)
    return participant


@dataclass(frozen=True, slots=True)
class SteeringFigures:
    """Figures of participants with one policy; rest in minutes, times to the targets in seconds."""

    attempts: int
    seconds: tuple[float, ...]
    decisions: int
    wrong: int
    late: int
    false_activations: int
    rest_minutes: float

    @classmethod
    def of(cls, participants: Sequence[SteeringParticipant]) -> Self:
        """Return the figures of all attempts."""
        attempts = [attempt for participant in participants for attempt in participant.attempts]
        return cls(
            len(attempts),
            tuple(attempt.seconds for attempt in attempts if attempt.reached),
            sum(attempt.decisions for attempt in attempts),
            sum(attempt.wrong for attempt in attempts),
            sum(participant.late for participant in participants),
            sum(participant.false_activations for participant in participants),
            sum(participant.rest_s for participant in participants) / 60,
        )

    @property
    def reached(self) -> int:
        """Targets reached."""
        return len(self.seconds)

    def row(self, name: str) -> str:
        """Return the figures as a row of a Markdown table."""
        low, high = poisson_interval(self.false_activations, self.rest_minutes)
        rate = f"{self.false_activations / self.rest_minutes:.1f} a minute ({low:.1f}–{high:.1f})"
        return (
            f"| {name} | {self.reached} of {self.attempts} | {np.median(self.seconds or (np.nan,)):.1f} s "
            f"| {self.wrong} of {self.decisions} | {self.false_activations} in {self.rest_minutes:.1f} min, {rate} | {self.late} |"
        )


def main() -> None:
    """Steer with the bundle's policy and with the raw argmax; print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=zoo_bundle_path(), help="bundle with a control policy")
    parser.add_argument("--attempts", type=int, default=ATTEMPTS, help="of each of the eight participants")
    parser.add_argument("--depth", type=float, help="share by which imagery lowers amplitudes; by default 0.72 to 0.9")
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
        participants = [steer(bundle, decoder, policy, seed, options.attempts, options.depth) for seed in SEEDS]
        print(SteeringFigures.of(participants).row(name), flush=True)


if __name__ == "__main__":
    main()
