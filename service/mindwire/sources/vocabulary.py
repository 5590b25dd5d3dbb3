"""Markers of a task that are no class."""

from __future__ import annotations

from typing import Final

PRACTICE: Final = "practice_"  # before the class in the cue of a trial that does not count
TASK_START: Final = "task_start"  # followed by the paradigm's name
TARGET: Final = "target"  # followed by X and Y
IMAGERY_END: Final = "imagery_end"
EYES_OPEN: Final = "eyes_open"
EYES_CLOSED: Final = "eyes_closed"
REST_BEGIN, REST_END = "rest_start", "rest_end"
PAUSE: Final = "pause"
TASK_END: Final = "task_end"
TRIAL_ABORTED: Final = "trial_aborted"
# A trial that was cued before one of these is over.
NEXT_TRIAL: Final = frozenset({TASK_START, TARGET, TASK_END, "fixation", REST_BEGIN, EYES_OPEN, EYES_CLOSED})
VOCABULARY: Final = NEXT_TRIAL | {IMAGERY_END, TRIAL_ABORTED, REST_END, "reached", "missed", PAUSE, "resume"}


def word_of(label: str) -> str:
    """Return a marker without what follows its first word, where that is one of the vocabulary."""
    word = label.partition(" ")[0]
    return word if word in (TASK_START, TARGET) else label


def of_task(label: str) -> bool:
    """Return true for a marker of a task that is no class, and for the cue of a trial that does not count."""
    return word_of(label) in VOCABULARY or label.startswith(PRACTICE)
