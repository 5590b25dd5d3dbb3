"""Length of a trial, found from the markers of a recording where no option gives it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mindwire.offline.trials import Trial, shown
from mindwire.types import Marker

LONGEST_TRIAL_SECONDS = 5.0
_SAME_CUE_SECONDS = 0.5
_HORIZON_SECONDS = 10.0
_MOST_PER_TRIAL = 3
_USUAL = 0.8
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_END_WORDS = frozenset({"end", "ends", "ended", "stop", "stopped", "off", "offset", "finish", "finished"})
_OTHER_PARTS = frozenset({"cue", "arrow", "fixation", "cross", "beep", "baseline", "session", "run", "experiment"})


@dataclass(frozen=True, slots=True)
class TrialEnd:
    """Seconds from the cue to the end of a trial, and the label of the marker there; None where none comes within five seconds."""

    seconds: float
    marker: str | None


def find_trial_end(markers: Sequence[Sequence[Marker]], trials: Sequence[Sequence[Trial]]) -> TrialEnd:
    """Median time from a cue to the marker that ends its trial, at most 5 s.

    A label can end trials if it follows at least four cues in five, at most three times before the next cue; the others
    are clocks and random events. Among these, labels that are named after an end (``OVTK_GDF_End_Of_Trial``, ``Trial
    Ends``) come first, then whichever is earliest, the next cue included. Markers within half a second of the
    cue belong to it.
    Markers and trials are given per recording.
    """
    delays: defaultdict[str, list[float]] = defaultdict(list)
    next_cue: list[float] = []
    for some, cued in zip(markers, trials, strict=True):
        cues = np.unique([trial.cue for trial in cued])
        next_cue += np.diff(cues).tolist()
        for label, times in _by_label(some, cues).items():
            delays[label] += _delays(times, cues)
    n_trials = sum(len(cued) for cued in trials)
    ends = {label: float(np.median(found)) for label, found in delays.items() if len(found) >= _USUAL * n_trials}
    named = {label: seconds for label, seconds in ends.items() if _is_named_end(label)}
    candidates = named or ends
    marker = min(candidates, key=lambda label: (candidates[label], label), default=None)
    seconds = candidates[marker] if marker is not None else _HORIZON_SECONDS
    following = float(np.median(next_cue)) if next_cue else _HORIZON_SECONDS
    if following < seconds:
        marker, seconds = "the next cue", following
    if seconds > LONGEST_TRIAL_SECONDS:
        return TrialEnd(LONGEST_TRIAL_SECONDS, None)
    return TrialEnd(round(seconds, 3), marker)


def _by_label(markers: Sequence[Marker], cues: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Times of the markers that are no cues, ascending, by their labels."""
    times: defaultdict[str, list[float]] = defaultdict(list)
    for marker in markers:
        if marker.time not in cues:
            times[shown(marker.label)].append(marker.time)
    return {label: np.sort(some) for label, some in times.items()}


def _delays(times: NDArray[np.float64], cues: NDArray[np.float64]) -> list[float]:
    """Time to the first of these markers after each cue, where there are few of them before the next cue."""
    latest = np.minimum(np.append(cues[1:], np.inf), cues + _HORIZON_SECONDS)
    first = np.searchsorted(times, cues + _SAME_CUE_SECONDS)
    count = np.searchsorted(times, latest, side="right") - first
    few = (count > 0) & (count <= _MOST_PER_TRIAL)
    return (times[first[few]] - cues[few]).tolist()  # type: ignore[no-any-return]


def _is_named_end(label: str) -> bool:
    words = {word.casefold() for word in _WORDS.findall(label)}
    return bool(words & _END_WORDS) and not words & _OTHER_PARTS
