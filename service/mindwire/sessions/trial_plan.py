"""Plan of a task: its trials in balanced random order, a pure function of the paradigm and the seed."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from pydantic import BaseModel

from mindwire.sessions.paradigm import Control, Cued, Eyes, Rest
from mindwire.sources.vocabulary import PRACTICE

LONGEST_RUN = 3  # trials of one class in a row


class PlannedTrial(BaseModel):
    """A trial: number, marker at its cue, and the pause after it (free control: the rest before it) in seconds."""

    index: int
    label: str
    pause_s: float = 0.0


def balanced_order(labels: Sequence[str], each: int, rng: Random) -> list[str]:
    """Return every label ``each`` times in random order, none more than three times in a row if there is another one."""
    remaining = dict.fromkeys(labels, each)
    order: list[str] = []
    while total := sum(remaining.values()):
        last = order[-1] if order else None
        run = next((n for n, label in enumerate(reversed(order)) if label != last), len(order))
        candidates = [
            label
            for label, count in remaining.items()
            if count and (len(remaining) == 1 or _can_follow(label, remaining, total, run + 1 if label == last else 1))
        ]
        order.append(rng.choices(candidates, [remaining[label] for label in candidates])[0])
        remaining[order[-1]] -= 1
    return order


def _can_follow(label: str, remaining: dict[str, int], total: int, run: int) -> bool:
    """Return true if the labels that remain after this one, the ``run``-th in a row, can be put in order."""
    if run > LONGEST_RUN:
        return False
    total -= 1
    for other, count in remaining.items():
        left = count - (other == label)
        first = LONGEST_RUN - run if other == label else LONGEST_RUN
        if left > first + LONGEST_RUN * (total - left):
            return False
    return True


def plan_trials(paradigm: Cued | Rest | Eyes | Control, seed: int) -> list[PlannedTrial]:
    """Return the trials of a paradigm in order.

    The label of a cued trial is its class, after ``practice_`` if it does not count; of a block of rest or of the eyes
    the marker at its beginning; of an attempt at control ``target X Y``.
    """
    rng = Random(seed)  # noqa: S311 - an order, not a secret
    if isinstance(paradigm, Cued):
        practice = [
            f"{PRACTICE}{label}"
            for label in balanced_order(paradigm.classes, -(-paradigm.practice // len(paradigm.classes)), rng)
        ]
        labels = practice[: paradigm.practice] + balanced_order(paradigm.classes, paradigm.trials_per_class, rng)
        pauses = [round(rng.uniform(*paradigm.pause_s), 3) for _ in labels]
    elif isinstance(paradigm, Control):
        points = [f"target {x} {y}" for x, y in paradigm.points()]
        labels = [label for _ in range(0, paradigm.targets, len(points)) for label in rng.sample(points, len(points))]
        labels, pauses = labels[: paradigm.targets], [paradigm.rest_s] * paradigm.targets
    else:
        labels = ["rest_start"] if isinstance(paradigm, Rest) else [f"eyes_{block.eyes}" for block in paradigm.blocks]
        pauses = [0.0] * len(labels)
    return [
        PlannedTrial(index=n, label=label, pause_s=pause)
        for n, (label, pause) in enumerate(zip(labels, pauses, strict=True))
    ]
