"""Simulated participant who follows the markers of a task: imagines what a cue names, closes the eyes, steers to targets.

The markers are those that a participant's page sends. A class label, also one of a practice trial, begins the imagery of
that class; it ends with ``imagery_end``, the beginning of rest, the end of the task, or after eight seconds. ``target X Y``
begins an attempt of :mod:`mindwire.sources.steering`: the participant imagines a class that brings the cursor nearer, and
sees the decisions. ``eyes_closed`` makes the occipital alpha strong until ``eyes_open``. Everything takes effect on the
signal a reaction time after the marker's time stamp, so that the same markers at the same times give the same signal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mindwire.errors import ArgumentError
from mindwire.sources.board import REACHED, RESULTS, Board
from mindwire.sources.simulator import CLASSES, EYES_CLOSED
from mindwire.sources.vocabulary import (
    EYES_OPEN,
    IMAGERY_END,
    PAUSE,
    PRACTICE,
    REST_BEGIN,
    TARGET,
    TASK_END,
    TRIAL_ABORTED,
    word_of,
)
from mindwire.types import Marker

# These end an imagery; the last four also an attempt.
_ENDS = frozenset({IMAGERY_END, REST_BEGIN, TRIAL_ABORTED, PAUSE, TASK_END, *RESULTS})
_ENDS_ATTEMPT = frozenset({TASK_END, PAUSE, *RESULTS})
_LONGEST_IMAGERY_S = 8.0
_REACTION_S, _JITTER_S, _SHORTEST_S = 0.35, 0.05, 0.25
_RETRY_S = 4.0  # time until a choice without a decision is made again


@dataclass(slots=True)
class Followed:
    """Counts of what a participant has followed."""

    cues: int = 0
    errors: int = 0
    targets: int = 0
    reached: int = 0


class FollowingParticipant:
    """Intention for a :class:`mindwire.sources.simulator.Simulator`; times are seconds of its signal.

    Parameters
    ----------
    seed : int
    classes : sequence of str
        Classes to steer with; without any, those that were cued so far, and all before the first cue.
    error : float
        Probability of imagining another class than wanted, or nothing.

    Attributes
    ----------
    board : Board
    followed : Followed
    """

    def __init__(self, seed: int, classes: Sequence[str] = (), error: float = 0.0) -> None:
        if unknown := [label for label in classes if label not in CLASSES]:
            msg = f"A simulated participant can imagine {', '.join(CLASSES)}, found {', '.join(unknown)}."
            raise ArgumentError(msg)
        if not 0 <= error <= 1:
            msg = f"The probability of an error must lie between 0 and 1, found {error:g}."
            raise ArgumentError(msg)
        self.board = Board()
        self.followed = Followed()
        self._given = tuple(classes)
        self._cued: set[str] = set()
        self._error = error
        self._rng = np.random.default_rng([seed, 2])
        self._now: str | None = None
        self._next: list[tuple[float, str | None]] = []  # what is imagined from a time on, in order of time
        self._choose_at = math.inf
        self._closed: str | None = None  # EYES_CLOSED while they are

    def hear(self, time: float, label: str) -> None:
        """Take a marker with its time."""
        at = time + self._reaction()
        wanted = label.removeprefix(PRACTICE)
        if wanted in CLASSES:
            self.followed.cues += 1
            if wanted == label:
                self._cued.add(label)
            self._plan(at, self._with_errors(wanted))
            self._plan(at + _LONGEST_IMAGERY_S, None)
        elif label in {EYES_CLOSED, EYES_OPEN}:
            self._closed = EYES_CLOSED if label == EYES_CLOSED else None
            self._plan(at, self._closed)
        elif label in _ENDS:
            if label in _ENDS_ATTEMPT:
                self.followed.reached += label == REACHED and self.board.target is not None
                self.board.target, self._choose_at = None, math.inf
            self._closed = None if label == TASK_END else self._closed
            self._plan(at, self._closed)
        elif word_of(label) == TARGET:
            self.board.show(label)
            self.followed.targets += self.board.target is not None
            self._choose_at = at

    def see(self, time: float, label: str) -> None:
        """Take a decision that has become visible at a time."""
        if self.board.target is not None:
            self.board.move(label)
            self._choose_at = min(self._choose_at, time + self._reaction())

    def imagined(self, time: float) -> str | None:
        """Return the class imagined from a time on, ``eyes_closed``, or None; times ascend."""
        if time >= self._choose_at:
            helpful = [label for label in self.board.helpful() if label in self._classes]
            wanted = self._now if self._now in helpful else self._rng.choice(helpful) if helpful else None
            self._choose_at = time + _RETRY_S
            self._next = [(time, None if wanted is None else self._with_errors(str(wanted)))]
        while self._next and self._next[0][0] <= time:
            self._now = self._next.pop(0)[1]
        return self._now

    def drain_markers(self) -> list[Marker]:
        """Return no markers: they are another's."""
        return []

    @property
    def _classes(self) -> tuple[str, ...]:
        return self._given or tuple(sorted(self._cued)) or CLASSES

    def _plan(self, at: float, label: str | None) -> None:
        """Imagine a class, or nothing, from a time on, whatever was planned for later."""
        self._next = [one for one in self._next if one[0] < at]
        self._next.append((at, label))

    def _with_errors(self, wanted: str) -> str | None:
        if self._rng.random() >= self._error:
            return wanted
        self.followed.errors += 1
        others = [None, *(label for label in self._classes if label != wanted)]
        return others[self._rng.integers(len(others))]

    def _reaction(self) -> float:
        return max(_SHORTEST_S, float(self._rng.normal(_REACTION_S, _JITTER_S)))
