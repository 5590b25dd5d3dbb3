"""Recordings of a participant to learn from, and the classes in them, as the sessions' documents describe them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mindwire.errors import RecordingError
from mindwire.sessions.document import Run, read_session, sessions_in
from mindwire.sessions.paradigm import Cued
from mindwire.sessions.task import read_task, tasks_in
from mindwire.sources.vocabulary import REST_BEGIN, of_task

_READ_WITHIN_S, _ASK_EVERY_S = 60.0, 0.2  # after its end a run is read through
_FEWEST_CUES = 5  # of a label that no task explains, to be taken for a class
# Names of imagery and of rest as the simulator and most paradigms have them, in the order of a model's classes.
_KNOWN = ("left_hand", "right_hand", "feet", "tongue", "idle", "rest", "nothing")


@dataclass(frozen=True, slots=True)
class Selection:
    """Recordings with cues of the classes, recordings with rest between markers, both newest session first, and what was left out and why."""

    recordings: tuple[Path, ...]
    rest: tuple[Path, ...]
    classes: tuple[str, ...]
    left_out: tuple[dict[str, Any], ...] = ()


@dataclass(slots=True)
class _Found:
    """Runs of a participant by their paths, and the classes of the cued tasks, both newest session first."""

    runs: dict[Path, Run] = field(default_factory=dict)
    tasks: list[tuple[str, ...]] = field(default_factory=list)


def select(
    root: Path,
    participant: str,
    wanted: Sequence[str] | None,
    classes: Sequence[str] | None,
    *,
    any_electrodes: bool = False,
) -> Selection:
    """Choose the recordings of a participant, by default every run that has ended and has cues of at least two classes.

    Parameters
    ----------
    root : Path
        Folder of the sessions.
    participant : str
    wanted : sequence of str or None
        Recordings as ``2026-11-29/run-01.xdf``.
    classes : sequence of str or None
        By default those of the newest cued task, or else the cues' own labels.
    any_electrodes : bool
        Recordings need not have every electrode of the newest one.

    Raises
    ------
    RecordingError
        A recording is not there or not in the folder, one that was named cannot be used, or nothing can be learned from.
    """
    found = _find(root, participant)
    if wanted is not None:
        chosen = _named(root / participant, wanted)
        runs = {path: run for path, run in found.runs.items() if path in chosen}
        unknown = [path for path in chosen if path not in runs]
    else:
        runs, unknown = found.runs, []
    left_out: list[dict[str, Any]] = []
    ended: dict[Path, Run] = {}

    def leave_out(path: Path, reason: str, problem: str, trials: int = 0) -> None:
        if wanted is not None:
            msg = f"{_name(path)} {problem}"
            raise RecordingError(msg)
        left_out.append({"reason": reason, "recording": _name(path), "trials": trials})

    for path, run in runs.items():
        if run.sha256 is None:
            leave_out(path, "still_recording", "is still being recorded or read through; wait until it is complete.")
        elif run.cues is None:
            problem = f"cannot be read; leave it out. {' '.join(run.problems)}".rstrip()
            leave_out(path, "unreadable", problem)
        else:
            ended[path] = run
    names = tuple(classes) if classes is not None else _classes(found.tasks, ended.values())
    cued = [
        path for path, run in ended.items() if len(set(names) & set(run.cues or ())) >= (2 if wanted is None else 1)
    ]
    rest = [path for path, run in ended.items() if REST_BEGIN in (run.cues or ())]
    if cued and not any_electrodes:
        problem = f"lacks electrodes of {_name(cued[0])}, the newest recording; leave one of the two out."
        for path in _other_electrodes(cued[0], dict.fromkeys((*cued, *rest)), ended):
            leave_out(path, "other_electrodes", problem, _trials(ended[path], names))
            cued, rest = ([one for one in some if one != path] for some in (cued, rest))
    recordings = (*cued, *unknown)
    if not recordings or len(names) < 2:
        raise RecordingError(_nothing(participant, names, ended.values()))
    return Selection(recordings, tuple(rest), names, tuple(left_out))


def wait_until_read(root: Path, participant: str, *, at_most_s: float = 20.0) -> None:
    """Wait until the runs that have just ended are read through and their cues known, so that the newest is not left out."""
    deadline = time.monotonic() + at_most_s
    while time.monotonic() < deadline and any(
        run.sha256 is None and run.ended is not None and time.time() - run.ended.unix < _READ_WITHIN_S
        for folder in sessions_in(root.resolve() / participant)
        for run in read_session(folder).runs
    ):
        time.sleep(_ASK_EVERY_S)


def _find(root: Path, participant: str) -> _Found:
    found = _Found()
    for folder in reversed(sessions_in(root.resolve() / participant)):
        for run in reversed(read_session(folder).runs):
            found.runs[folder / run.file] = run
        for path in reversed(tasks_in(folder)):
            with suppress(OSError, RecordingError):  # the stream that writes it reports its damage
                if isinstance(paradigm := read_task(path).paradigm, Cued):
                    found.tasks.append(paradigm.classes)
    if not found.runs:
        msg = f"There is no session of {participant} with a recording; record a run first."
        raise RecordingError(msg)
    return found


def _named(folder: Path, wanted: Sequence[str]) -> list[Path]:
    inside = folder.resolve()
    chosen = []
    for name in dict.fromkeys(wanted):
        path = (folder / name).resolve()
        if not path.is_relative_to(inside) or not path.is_file():
            msg = f"There is no recording {name!r} of {folder.name}; expected one such as 2026-11-29/run-01.xdf."
            raise RecordingError(msg)
        chosen.append(path)
    return chosen


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _is_cue(label: str) -> bool:
    return not of_task(label) and not label.startswith("decision")


def _trials(run: Run, classes: Sequence[str]) -> int:
    return sum((run.cues or {}).get(name, 0) for name in classes)


def _classes(tasks: Sequence[tuple[str, ...]], runs: Iterable[Run]) -> tuple[str, ...]:
    runs = list(runs)
    for names in tasks:
        if any(len(set(names) & set(run.cues or ())) >= 2 for run in runs):
            return names
    for run in runs:  # the newest that has some
        counts = {label: count for label, count in (run.cues or {}).items() if _is_cue(label)}
        known = tuple(name for name in _KNOWN if name in counts)
        labels = known if len(known) > 1 else tuple(sorted(n for n, count in counts.items() if count >= _FEWEST_CUES))
        if len(labels) > 1:
            return labels
    return ()


def _nothing(participant: str, names: Sequence[str], runs: Iterable[Run]) -> str:
    """Return the sentence that there is nothing to learn from."""
    cues = dict.fromkeys(label for run in runs for label in run.cues or () if _is_cue(label))
    asked = f"cues of {', '.join(names)}" if names else "cues of at least two classes"
    return f"No complete recording of {participant} has {asked}; its cues are {', '.join(cues) or 'none'}. Record a run of cued trials first."


def _other_electrodes(newest: Path, paths: Iterable[Path], runs: Mapping[Path, Run]) -> list[Path]:
    """Return the recordings whose source lacks a channel of the newest one's."""
    first = set(runs[newest].source.get("labels") or ())
    return [path for path in paths if not first <= set(runs[path].source.get("labels") or ())]
