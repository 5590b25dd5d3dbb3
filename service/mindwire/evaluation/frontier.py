"""Picture of the frontier: trials with a right activation against false activations per minute of rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mindwire.control.policy import ControlPolicy, Tuning
from mindwire.evaluation.control import Counts
from mindwire.evaluation.metrics import poisson_interval, wilson_interval
from mindwire.evaluation.svg import Axis, Band, Figure, Line, Mark

_STEPS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)


@dataclass(frozen=True, slots=True)
class Choice:
    """One policy in the picture: its false activations in some minutes of rest, and its trials with a right activation."""

    false_activations: int
    minutes: float
    right: int
    trials: int

    @classmethod
    def of(cls, counts: Counts) -> Choice:
        """Return the counts of a policy as a choice."""
        return cls(counts.false_activations, counts.rest_minutes, counts.right, counts.trials)

    @property
    def rate(self) -> float:
        """False activations per minute."""
        return self.false_activations / self.minutes

    @property
    def share(self) -> float:
        """Share of the trials with a right activation."""
        return self.right / self.trials


def tuned_choices(tuning: Tuning) -> list[Choice]:
    """Return the choices along a policy's frontier, with their figures on the recordings that it was tuned on."""
    minutes, trials = tuning.rest_minutes, tuning.trials
    return [Choice(round(p.false_per_minute * minutes), minutes, p.right, trials) for p in tuning.frontier]


def choice_policies(policy: ControlPolicy) -> list[ControlPolicy]:
    """Return the policies along the frontier of a tuned one, empty for a policy that was not tuned."""
    points = policy.tuning.frontier if policy.tuning else ()
    return [policy.model_copy(update={"evidence": p.evidence, "decide": p.decide}) for p in points]


def frontier_picture(
    choices: Sequence[Choice],
    chosen: Choice,
    raw: Choice | None = None,
    budget_per_minute: float | None = None,
    names: tuple[str, str] = ("this policy", "raw argmax"),
) -> str:
    """Draw the frontier with the chosen policy and the raw argmax, all with 95 % intervals, as an ``<svg>`` element.

    Parameters
    ----------
    choices : sequence of Choice
        Further policies, joined by a line; may be empty.
    chosen : Choice
    raw : Choice or None
    budget_per_minute : float or None
        Drawn as a vertical line.
    names : (str, str)
        Of the chosen policy and of the other.
    """
    line = sorted(choices, key=lambda choice: (choice.rate, choice.share))
    marked = [chosen, *([raw] if raw else [])]
    reach = max(*(choice.rate for choice in [*line, *marked]), *(_rates(choice)[1] for choice in marked))
    highest = 1.05 * max(reach, budget_per_minute or 0)
    step = next((step for step in _STEPS if highest / step <= 6), _STEPS[-1])
    rates, shares = [choice.rate for choice in line], [choice.share for choice in line]
    intervals = [wilson_interval(choice.right, choice.trials) for choice in line]
    marks = [
        Mark(chosen.rate, chosen.share, names[0]),
        *([Mark(raw.rate, raw.share, names[1], "second")] if raw else []),
    ]
    return Figure(
        title="Right activations against false ones at rest",
        x=Axis(
            0,
            highest,
            [i * step for i in range(math.floor(highest / step) + 1)],
            "false activations per minute of rest",
        ),
        y=Axis(0, 1, (0, 0.25, 0.5, 0.75, 1), "trials with a right activation", form=".0%"),
        bands=[Band(rates, [low for low, _ in intervals], [high for _, high in intervals])] if len(line) > 1 else [],
        lines=[
            Line(rates, shares, points=True),
            *_whiskers(chosen, "whisker"),
            *(_whiskers(raw, "whisker second") if raw else []),
        ],
        rules=[(budget_per_minute, f"budget {budget_per_minute:g}")] if budget_per_minute else [],
        marks=marks,
    ).svg()


def _rates(choice: Choice) -> tuple[float, float]:
    return poisson_interval(choice.false_activations, choice.minutes)


def _whiskers(choice: Choice, css: str) -> list[Line]:
    """Return the intervals of both figures as lines through the point."""
    rate, share = choice.rate, choice.share
    return [Line(_rates(choice), [share] * 2, css), Line([rate] * 2, wilson_interval(choice.right, choice.trials), css)]
