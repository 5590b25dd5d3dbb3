"""Sentences that accompany the figures: trials not counted, classes missing or confounded."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mindwire_models.text import printable

if TYPE_CHECKING:
    from mindwire.evaluation.scores import EvaluatedRun

_LISTED = 8
# Paced cues come a little early or late.
_CUE_MARGIN_S = 0.25
# Labels that need no quotes in a list.
_PLAIN = re.compile(r"[\w./+-]+")


def count_trials(labels: NDArray[np.intp], recording: NDArray[np.intp], classes: Sequence[str]) -> list[dict[str, int]]:
    """Trials of each class, per recording; both arrays hold an index per trial."""
    return [
        {name: int((labels[recording == i] == k).sum()) for k, name in enumerate(classes)}
        for i in range(int(recording.max(initial=-1)) + 1)
    ]


def left_out_note(labels: Iterable[str], classes: Sequence[str], known: Sequence[str]) -> str | None:
    """Markers, by their labels, that stand for none of the ``classes``; ``known`` are all of the model."""
    counts = Counter(labels)
    n = counts.total()
    if not n:
        return None
    listed = counts.most_common(_LISTED)
    quoted = [(label if _PLAIN.fullmatch(label) else f"'{label}'", count) for label, count in listed]
    named = ", ".join(f"{label} {count}" for label, count in quoted)
    more = f" and {len(counts) - _LISTED} more labels" if len(counts) > _LISTED else ""
    to = "no class of the model" if set(classes) == set(known) else f"none of the classes {', '.join(classes)}"
    belong = f"marker ({named}) belongs" if n == 1 else f"markers ({named}{more}) belong"
    return f"{n} {belong} to {to} and {'was' if n == 1 else 'were'} left out."


def missing_note(by_recording: Sequence[Mapping[str, int]], classes: Sequence[str]) -> str | None:
    """Classes without any trial."""
    missing = [name for name in classes if not any(counts.get(name) for counts in by_recording)]
    if not missing:
        return None
    return (
        f"No trial is of {', '.join(missing)}, so the figures say nothing of {'it' if len(missing) == 1 else 'them'}."
    )


def confounded_note(
    files: Sequence[str], by_recording: Sequence[Mapping[str, int]], classes: Sequence[str]
) -> str | None:
    """Classes that occur in one recording alone, from the trials of each class per recording."""
    filled = [(file, counts) for file, counts in zip(files, by_recording, strict=True) if any(counts.values())]
    if len(filled) < 2:
        return None
    where = {name: [file for file, counts in filled if counts.get(name)] for name in classes}
    alone = {name: found[0] for name, found in where.items() if len(found) == 1}
    if not alone:
        return None
    named = ", ".join(f"{name} (in {file})" for name, file in alone.items())
    return (
        f"Confounded: {named} {'occurs' if len(alone) == 1 else 'occur'} in one recording alone, so what tells recordings apart "
        "may pass for what tells classes apart; record every class in several recordings."
    )


def outside_note(n_outside: int, n_cued: int, consequence: str) -> str | None:
    """Cues that lie where there is no signal."""
    if not n_outside:
        return None
    verb = "lies" if n_outside == 1 else "lie"
    return f"{n_outside} of {n_cued} cues {verb} outside the EEG's time (before it, after it or in a gap); such trials {consequence}."


def overtaken_note(runs: Sequence[EvaluatedRun], at_s: float) -> str | None:
    """Trials that are decided, ``at_s`` seconds after their cue, when the next cue has come."""
    n_trials = sum(len(run.trials) for run in runs)
    n_overtaken = 0
    for run in runs:
        gaps = np.diff(np.sort([trial.cue for trial in run.trials]))
        n_overtaken += int((gaps < at_s - _CUE_MARGIN_S).sum())
    if not n_overtaken:
        return None
    verb = "is" if n_overtaken == 1 else "are"
    return (
        f"{n_overtaken} of {n_trials} trials {verb} decided {at_s:.4g} s after the cue, when the next cue has come already; "
        "decide earlier with --at, or train with the right --length."
    )


def notes(runs: Sequence[EvaluatedRun], known: Sequence[str], classes: Sequence[str], at_s: float) -> list[str]:
    """Return the notes on the scores of some recordings, a sentence each; ``known`` are all classes of the model."""
    counts = [Counter(trial.label for trial in run.trials) for run in runs]
    n_cued = sum(len(run.trials) for run in runs)
    found = [
        left_out_note((label for run in runs for label in run.left_out), classes, known),
        missing_note(counts, classes),
        confounded_note([printable(Path(run.file).name) for run in runs], counts, classes),
        outside_note(sum(run.n_outside for run in runs), n_cued, "are undecided"),
        overtaken_note(runs, at_s),
    ]
    return [note for note in found if note is not None]
