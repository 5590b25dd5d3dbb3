"""Markers made into labelled trials, so that evaluation and training read a recording the same way.

Laboratories label cues as ``left_hand``, ``2`` or ``2.000000000000000``; the marker map says which
label stands for which class, and whoever asks for a label that is not there is told those that are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from service.errors import RecordingError, UsageError
from service.types import Marker

_LISTED = 20


@dataclass(frozen=True, slots=True)
class Trial:
    """One cued trial.

    Parameters
    ----------
    cue : float
        Time of the cue in seconds, in the recording's clock.
    label : str
        Name of the class.
    """

    cue: float
    label: str


def parse_marker_map(entries: Iterable[str]) -> dict[str, str]:
    """Read ``2=left_hand`` entries; one entry may hold several, separated by commas or spaces.

    Parameters
    ----------
    entries : iterable of str

    Returns
    -------
    dict
        Marker label to class name, in the order given.

    Raises
    ------
    UsageError
        An entry is not of the form ``LABEL=CLASS``, or a label is given two classes.
    """
    mapping: dict[str, str] = {}
    for entry in (part for text in entries for part in text.replace(",", " ").split()):
        label, separator, name = entry.rpartition("=")
        if not (separator and label and name):
            msg = f"--markers expects LABEL=CLASS such as 2=left_hand, found {entry!r}."
            raise UsageError(msg)
        if mapping.setdefault(label, name) != name:
            msg = f"--markers gives the label {label!r} to both {mapping[label]!r} and {name!r}; keep one."
            raise UsageError(msg)
    return mapping


def _number(label: str) -> float | None:
    try:
        value = float(label)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def same_label(found: str, wanted: str) -> bool:
    """Whether two marker labels mean the same: equal but for blanks, or equal as numbers.

    Programs that write markers through a numeric channel turn ``2`` into ``2.000000000000000``.
    """
    found, wanted = found.strip(), wanted.strip()
    if found == wanted:
        return True
    number = _number(found)
    return number is not None and number == _number(wanted)


def _listed(markers: Sequence[Marker]) -> str:
    counts: dict[str, int] = {}
    for marker in markers:
        counts[marker.label.strip()] = counts.get(marker.label.strip(), 0) + 1
    if not counts:
        return "it has no markers"
    names = [f"{label!r} ({count}×)" for label, count in list(counts.items())[:_LISTED]]
    more = f" and {len(counts) - _LISTED} more" if len(counts) > _LISTED else ""
    return f"its markers are {', '.join(names)}{more}"


def trials_from_markers(
    markers: Sequence[Marker],
    classes: Sequence[str],
    mapping: Mapping[str, str] | None = None,
    *,
    where: str = "the recording",
) -> list[Trial]:
    """Labelled trials of a recording.

    Parameters
    ----------
    markers : sequence of Marker
        All markers of the recording, in any order.
    classes : sequence of str
        The classes wanted; trials of other classes are left out.
    mapping : mapping of str to str, optional
        Marker label to class name. A class without an entry is found by its own name.
    where : str
        Names the recording in error messages.

    Returns
    -------
    list of Trial
        In the order of time.

    Raises
    ------
    RecordingError
        The recording has no trial of any of the classes.
    """
    mapping = dict(mapping or {})
    wanted = {**mapping, **{name: name for name in classes if name not in mapping.values()}}
    ordered = sorted(markers, key=lambda marker: marker.time)
    trials = []
    for marker in ordered:
        name = next((name for label, name in wanted.items() if same_label(marker.label, label)), None)
        if name in classes:
            trials.append(Trial(cue=marker.time, label=str(name)))
    if not trials:
        msg = (
            f"{where}: expected markers for {', '.join(classes)}, but {_listed(ordered)}; "
            "say which label means which class with --markers LABEL=CLASS."
        )
        raise RecordingError(msg)
    return trials


def check_marker_map(mapping: Mapping[str, str], classes: Sequence[str], markers: Sequence[Marker], where: str) -> None:
    """Refuse a marker map that names an unknown class or a label that occurs nowhere.

    Parameters
    ----------
    mapping : mapping of str to str
        Marker label to class name.
    classes : sequence of str
        Class names that exist.
    markers : sequence of Marker
        The markers of all recordings together.
    where : str
        Names the recordings in error messages.

    Raises
    ------
    UsageError
        With the classes or labels that there are.
    """
    for label, name in mapping.items():
        if name not in classes:
            msg = f"--markers {label}={name}: the class {name!r} does not exist; the classes are {', '.join(classes)}."
            raise UsageError(msg)
        if not any(same_label(marker.label, label) for marker in markers):
            msg = f"--markers {label}={name}: {where} has no marker {label!r}; {_listed(markers)}."
            raise UsageError(msg)
