"""Markers of a task that are no class."""

from __future__ import annotations

from typing import Final

PRACTICE: Final = "practice_"  # before the class in the cue of a trial that does not count
TASK_START: Final = "task_start"  # followed by the paradigm's name
TARGET: Final = "target"  # followed by X and Y
IMAGERY_END: Final = "imagery_end"
TRIAL_ABORTED: Final = "trial_aborted"
# A trial that was cued before one of these is over.
NEXT_TRIAL: Final = frozenset({TASK_START, TARGET, "task_end", "fixation", "rest_start", "eyes_open", "eyes_closed"})
VOCABULARY: Final = NEXT_TRIAL | {IMAGERY_END, TRIAL_ABORTED, "rest_end", "reached", "missed", "pause", "resume"}


def word_of(label: str) -> str:
    """Return a marker without what follows its first word, where that is one of the vocabulary."""
    word = label.partition(" ")[0]
    return word if word in (TASK_START, TARGET) else label


def of_task(label: str) -> bool:
    """Return true for a marker of a task that is no class, and for the cue of a trial that does not count."""
    return word_of(label) in VOCABULARY or label.startswith(PRACTICE)
