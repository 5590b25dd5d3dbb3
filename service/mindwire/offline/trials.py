"""Markers made into labelled trials, so that evaluation and training read a recording the same way.

Laboratories label cues as ``left_hand``, ``2``, ``2.000000000000000`` or ``Stimulus/S  2``; the marker map says which
label stands for which class, and an unknown label is answered with those that there are.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mindwire.errors import RecordingError, UsageError
from mindwire.sources.vocabulary import IMAGERY_END, NEXT_TRIAL, PRACTICE, TRIAL_ABORTED, of_task, word_of
from mindwire.types import Marker
from mindwire_models.text import counted, printable

_LISTED = 20
# No paradigm gives two cues within this time; two marker streams that seem to do contradict each other.
_CONTRADICTION_S = 1.0
# Several simple entries in one argument, 1=idle,2=left_hand; everything else is one entry, whatever its label holds.
_SIMPLE = re.compile(r"[^\s,=]+=[A-Za-z_][\w.-]*")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# BrainVision: the kind of an event, then its letter and its number, padded with blanks.
_STIMULUS = re.compile(r"Stimulus/\s*(?=\S)")
_PADDED = re.compile(r"(?:Response/)?([A-Za-z]) ?0*(\d+)")


@dataclass(frozen=True, slots=True)
class Trial:
    """One cued trial: the time of its cue in seconds, in the recording's clock, and the name of its class."""

    cue: float
    label: str


def parse_marker_map(entries: Iterable[str]) -> dict[str, str]:
    """Read ``LABEL=CLASS`` entries, split at the last ``=``: labels may hold blanks, commas and ``=``.

    An entry that is nothing but several simple ones, ``1=idle,2=left_hand``, is read as these. A UsageError says that an entry
    has another form, or that a label is given two classes.
    """
    mapping: dict[str, str] = {}
    for entry in (part for text in entries for part in _entries(text)):
        text, _, name = (part.strip() for part in entry.rpartition("="))
        label = shown(text)
        if not (label and name):
            msg = f"--markers expects LABEL=CLASS such as 2=left_hand, found {entry!r}."
            raise UsageError(msg)
        if mapping.setdefault(label, name) != name:
            msg = f"--markers gives the label {label!r} to both {mapping[label]!r} and {name!r}; keep one."
            raise UsageError(msg)
    return mapping


def _entries(text: str) -> list[str]:
    parts = text.replace(",", " ").split()
    return parts if len(parts) > 1 and all(_SIMPLE.fullmatch(part) for part in parts) else [text]


def shown(label: str) -> str:
    """A label as it is shown and compared first: blanks collapsed, a number in its shortest form."""
    text = printable(" ".join(label.split()))
    parts = text.split(",")  # several channels of a marker stream
    return ",".join(map(_shortest, parts)) if all(map(_NUMBER.fullmatch, parts)) else text


def _shortest(number: str) -> str:
    value = float(number)
    return f"{value:.15g}" if math.isfinite(value) else number


def _spellings(label: str) -> tuple[str, str, str]:
    """Return the spellings by which a label is compared, the exact one first: as shown, without BrainVision's frame, its number alone."""
    exact = shown(label)
    bare = shown(_STIMULUS.sub("", exact))
    padded = _PADDED.fullmatch(bare)
    if padded is None:
        return exact, bare, bare
    letter, digits = padded.groups()
    return exact, letter + digits, digits if letter == "S" else letter + digits


def match_labels(found: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """Map each label of a recording to the wanted label that it matches, if any.

    ``1``, ``S1``, ``S  1``, ``Stimulus/S  1`` and ``1.000000000000000`` are one label, unless the recording has more than
    one of them: then the closest spelling is meant.
    """
    matched: dict[str, str] = {}
    open_ = {label: _spellings(label) for label in dict.fromkeys(found)}
    asked = {label: _spellings(label) for label in dict.fromkeys(wanted)}
    for level in range(3):
        by_spelling = {spelling[level]: label for label, spelling in reversed(asked.items())}
        now = {label: by_spelling[s[level]] for label, s in open_.items() if s[level] in by_spelling}
        matched |= now
        open_ = {label: s for label, s in open_.items() if label not in now}
        asked = {label: s for label, s in asked.items() if label not in now.values()}
    return matched


def count_labels(labels: Iterable[str], limit: int = _LISTED) -> str:
    """Labels with their counts, ``'1' (15×), '2' (7×)``, as they are shown; the most frequent first where some are left out."""
    counts = Counter(shown(label) for label in labels)
    listed = counts.most_common(limit) if len(counts) > limit else list(counts.items())
    more = f" and {len(counts) - limit} more" if len(counts) > limit else ""
    return ", ".join(f"{label!r} ({count}×)" for label, count in listed) + more


def _listed(markers: Sequence[Marker]) -> str:
    return f"its markers are {count_labels(marker.label for marker in markers)}" if markers else "it has no markers"


def _wanted(classes: Sequence[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Marker label to class: the map, and each class without an entry by its own name."""
    return {**mapping, **{name: name for name in classes if name not in mapping.values()}}


def trials_from_markers(
    markers: Sequence[Marker],
    classes: Sequence[str],
    mapping: Mapping[str, str] | None = None,
    *,
    where: str = "the recording",
) -> list[Trial]:
    """Labelled trials of a recording in the order of time; those of other classes, and unfinished ones, are left out.

    The mapping is from marker labels to classes; a class without an entry is found by its own name. ``where`` names the
    recording in messages. A RecordingError says that there is no trial, or that two marker streams contradict each other.
    """
    ordered, named = _cues(markers, classes, mapping)
    _refuse_contradictions(named, where)
    unfinished = _unfinished(ordered, [marker for marker, _ in named])
    cued = [(marker, Trial(cue=marker.time, label=name)) for marker, name in named if name in classes]
    trials = [trial for marker, trial in cued if id(marker) not in unfinished]
    if cued and not trials:
        msg = f"{where}: expected finished trials of {', '.join(classes)}, but {counted(len(cued), 'trial')} of them were aborted."
        raise RecordingError(msg)
    if not trials:
        msg = (
            f"{where}: expected markers for {', '.join(classes)}, but {_listed(ordered)}; "
            "say which label means which class with --markers LABEL=CLASS."
        )
        raise RecordingError(msg)
    return trials


def unfinished_trials(
    markers: Sequence[Marker], classes: Sequence[str], mapping: Mapping[str, str] | None = None
) -> list[Trial]:
    """Return the trials of these classes that were aborted, or not finished, and count for nothing."""
    ordered, named = _cues(markers, classes, mapping)
    unfinished = _unfinished(ordered, [marker for marker, _ in named])
    return [Trial(marker.time, name) for marker, name in named if name in classes and id(marker) in unfinished]


def _cues(
    markers: Sequence[Marker], classes: Sequence[str], mapping: Mapping[str, str] | None
) -> tuple[list[Marker], list[tuple[Marker, str]]]:
    """Return the markers in the order of time, and those that are cues with their classes."""
    wanted = _wanted(classes, mapping or {})
    ordered = sorted(markers, key=lambda marker: marker.time)
    matched = match_labels((marker.label for marker in ordered), wanted)
    return ordered, [(marker, wanted[matched[marker.label]]) for marker in ordered if marker.label in matched]


def _unfinished(ordered: Sequence[Marker], cues: Iterable[Marker]) -> set[int]:
    """Return the identities of the cues of trials that were aborted, or that lack their end.

    A trial lasts until the next cue or other trial of its marker stream. It was aborted if ``trial_aborted`` follows; in a
    stream that has markers ``imagery_end``, one without was not finished.
    """
    are_cues, unfinished, open_ = {id(marker) for marker in cues}, set[int](), dict[str, tuple[int, bool]]()
    with_ends = {marker.stream for marker in ordered if marker.label == IMAGERY_END and id(marker) not in are_cues}

    def close(stream: str) -> None:
        cue, ended = open_.pop(stream, (0, True))
        if not ended:
            unfinished.add(cue)

    for marker in ordered:
        stream = marker.stream
        if id(marker) in are_cues:
            close(stream)
            open_[stream] = id(marker), stream not in with_ends
        elif word_of(marker.label) in NEXT_TRIAL or marker.label.startswith(PRACTICE):
            close(stream)
        elif stream in open_ and marker.label == IMAGERY_END:
            open_[stream] = open_[stream][0], True
        elif stream in open_ and marker.label == TRIAL_ABORTED:
            unfinished.add(open_[stream][0])
    for stream in list(open_):
        close(stream)
    return unfinished


def _refuse_contradictions(cues: Sequence[tuple[Marker, str]], where: str) -> None:
    """Refuse cues of two streams that follow each other faster than any paradigm's: one stream has other times or classes."""
    pairs = [
        (one, other)
        for one, other in pairwise(cues)
        if one[0].stream != other[0].stream and other[0].time - one[0].time < _CONTRADICTION_S
    ]
    if pairs:
        (first, first_class), (second, second_class) = pairs[0]
        msg = (
            f"{where}: expected marker streams that agree, found {first_class} at {first.time:.3f} s in "
            f"{first.stream!r} and {second_class} at {second.time:.3f} s in {second.stream!r} "
            f"({counted(len(pairs), 'such pair')}); choose one with --marker-stream {first.stream!r}."
        )
        raise RecordingError(msg)


def left_out_markers(
    markers: Sequence[Marker], classes: Sequence[str], mapping: Mapping[str, str] | None = None
) -> list[str]:
    """Labels, as they are shown, of the markers that stand for none of the classes, those of a task apart."""
    wanted = _wanted(classes, mapping or {})
    matched = match_labels((marker.label for marker in markers), wanted)
    return [
        shown(marker.label)
        for marker in markers
        if (marker.label not in matched and not of_task(marker.label))
        or (marker.label in matched and wanted[matched[marker.label]] not in classes)
    ]


def check_marker_map(mapping: Mapping[str, str], classes: Sequence[str], markers: Sequence[Marker], where: str) -> None:
    """Refuse, with a UsageError, a marker map that names an unknown class or a label that no recording has."""
    there = {marker.label for marker in markers}
    matched = set(match_labels(there, mapping).values())
    for label, name in mapping.items():
        swapped = f" Are the two exchanged? Write {name}={label}." if match_labels(there, [name]) else ""
        if name not in classes:
            msg = f"--markers {label}={name}: the class {name!r} does not exist; the classes are {', '.join(classes)}."
            raise UsageError(msg + (swapped if label in classes else ""))
        if label not in matched:
            msg = f"--markers {label}={name}: {where} has no marker {label!r}; {_listed(markers)}.{swapped}"
            raise UsageError(msg)
