"""Simulated participant in closed loop: imagines the movements that bring a cursor to a target, and sees the decisions.

The task: on a grid of 7 by 7 points the cursor stands in the centre and a target appears ``distance`` steps away. Every
decision moves the cursor one step: ``left_hand`` and ``right_hand`` along x, ``feet`` and ``tongue`` along y. The target is
reached if the cursor is on it within ``limit_s``. Before each attempt comes a run of rest, in which nothing is imagined and a
decision moves nothing. From ``clear_s`` on, when the last imagery has left the window, a decision at rest is a false
activation; until then it is late.

The participant imagines a class that brings the cursor nearer, the same one as before if it does. Whatever becomes visible
(a target, a decision, the end) takes effect on the imagery after a reaction time. Without a decision the class is chosen
again every ``retry_s``. With the probability ``error`` the choice is wrong: another class or nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mindwire.errors import ArgumentError
from mindwire.sources.board import BORDER, MISSED, MOVES, REACHED, REST, Board
from mindwire.sources.vocabulary import TARGET
from mindwire.types import Marker


@dataclass(frozen=True, slots=True)
class Steering:
    """Task and behaviour of the participant; times in seconds.

    Parameters
    ----------
    distance : int
        Steps from the centre to a target, 1 to 6.
    limit_s, rest_s, clear_s : float
        Longest attempt; run of rest before each attempt; its part after which a decision is a false activation.
    ready_s : float
        Run of rest before the first attempt, in which filters, alignment and an estimated prior settle.
    reaction_s, jitter_s : float
        Mean and standard deviation of the reaction time, which is at least half its mean.
    error : float
        Probability of a wrong choice.
    retry_s : float
        Time until a choice without a decision is made again.
    """

    distance: int = 3
    limit_s: float = 40.0
    rest_s: float = 12.0
    clear_s: float = 5.0
    ready_s: float = 12.0
    reaction_s: float = 0.4
    jitter_s: float = 0.1
    error: float = 0.1
    retry_s: float = 4.0

    def __post_init__(self) -> None:
        if not 1 <= self.distance <= 2 * BORDER:
            msg = f"A target must be 1 to {2 * BORDER} steps away, found {self.distance}."
            raise ArgumentError(msg)
        if not 0 <= self.error <= 1:
            msg = f"The probability of an error must lie between 0 and 1, found {self.error:g}."
            raise ArgumentError(msg)
        for name in ("limit_s", "rest_s", "clear_s", "ready_s", "reaction_s", "jitter_s", "retry_s"):
            if not 0 <= (value := getattr(self, name)) <= 3600:
                msg = f"{name} must be 0 to 3600 s, found {value:g}."
                raise ArgumentError(msg)


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt: its result, duration in seconds, and decisions, wrong ones (which bring the target no nearer) apart."""

    reached: bool
    seconds: float
    decisions: int
    wrong: int


class SteeringParticipant:
    """Imagery of a participant who steers; a pure function of the seed, the times and the decisions.

    Parameters
    ----------
    seed : int
    steering : Steering

    Attributes
    ----------
    board : Board
    attempts : list of Attempt
    late, false_activations : int
        Decisions at rest between attempts, before and after ``clear_s``.
    rest_s : float
        Time of the rest in which decisions are false activations, in seconds.
    """

    def __init__(self, seed: int, steering: Steering = Steering()) -> None:
        self.board = Board()
        self.attempts: list[Attempt] = []
        self.false_activations = self.late = 0
        self.rest_s = 0.0
        self._steering = steering
        self._rng = np.random.default_rng([seed, 1])
        reach = range(-BORDER, BORDER + 1)
        self._targets = [(x, y) for x in reach for y in reach if abs(x) + abs(y) == steering.distance]
        self._class: str | None = None
        self._began, self._choose_at = 0.0, math.inf
        self._decisions = self._wrong = 0
        self._markers = [Marker(0.0, REST)]

    def see(self, time: float, label: str) -> None:
        """Take a decision that has become visible at a time in seconds."""
        self._advance(time)
        if self.board.target is None:
            late = time < self._began + self._steering.clear_s
            self.late += late and bool(self.attempts)  # in the first rest the filters settle
            self.false_activations += not late and bool(self.attempts)
            return
        before = self.board.distance
        self.board.move(label)
        self._decisions += 1
        self._wrong += self.board.distance >= before
        if not self.board.distance:
            self._end(time, REACHED)
        else:
            self._choose_at = min(self._choose_at, time + self._reaction())

    def imagined(self, time: float) -> str | None:
        """Return the class imagined from a time on in seconds, or None."""
        self._advance(time)
        return self._class

    def drain_markers(self) -> list[Marker]:
        """Return the markers since the last call: ``target X Y``, classes as they are imagined, results, ``rest``."""
        markers, self._markers = self._markers, []
        return markers

    def _advance(self, time: float) -> None:
        resting = self.board.target is None
        rest_s = self._steering.rest_s if self.attempts else self._steering.ready_s
        if resting and time >= self._began + rest_s:
            self.rest_s += max(0.0, time - self._began - self._steering.clear_s) if self.attempts else 0.0
            x, y = self._targets[self._rng.integers(len(self._targets))]
            self._mark(time, f"{TARGET} {x} {y}")
            self._began, self._choose_at = time, time + self._reaction()
            self._decisions = self._wrong = 0
        elif not resting and time >= self._began + self._steering.limit_s:
            self._end(time, MISSED)
        if time >= self._choose_at:
            self._choose(time)

    def _end(self, time: float, result: str) -> None:
        self.attempts.append(Attempt(result == REACHED, time - self._began, self._decisions, self._wrong))
        self._mark(time, result)
        self._mark(time, REST)
        self._began, self._choose_at = time, time + self._reaction()

    def _choose(self, time: float) -> None:
        before, helpful = self._class, self.board.helpful()
        if not helpful:
            self._class, self._choose_at = None, math.inf
            return
        wanted = before if before in helpful else str(self._rng.choice(helpful))
        others = [None, *(label for label in MOVES if label not in helpful)]
        wrong = others[self._rng.integers(len(others))]
        self._class = wrong if self._rng.random() < self._steering.error else wanted
        self._choose_at = time + self._steering.retry_s
        if self._class is not None:
            self._mark(time, self._class)

    def _reaction(self) -> float:
        mean = self._steering.reaction_s
        return max(mean / 2, float(self._rng.normal(mean, self._steering.jitter_s)))

    def _mark(self, time: float, label: str) -> None:
        self._markers.append(Marker(time, label))
        self.board.show(label)
