"""Channel names that a person gives, and those that a recording has: mistyped lists, places on the head, what is left out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mindwire.errors import ContractError, UsageError
from mindwire.signal.labels import bare_label, eeg_channels, normalise_label
from mindwire.types import SignalInfo
from mindwire_models.electrodes import position
from mindwire_models.errors import ArgumentError

_REFERENCES = frozenset({"a1", "a2", "m1", "m2"})
_SEPARATOR = re.compile(r"[;|\t\n]")
# Names for channels that are not used may come twice.
_UNUSED = frozenset({"-", "_", "x", "none", "unused"})
_LISTED = 12


def has_place(label: str) -> bool:
    """Return true if a label is that of an electrode of the 10-10 system, and of no reference."""
    if label.casefold() in _REFERENCES:
        return False
    try:
        position(label)
    except ArgumentError:
        return False
    return True


def split_labels(text: str | None) -> list[str] | None:
    """Labels from a comma-separated option, an empty one in the middle kept; None when it was not given."""
    if text is None:
        return None
    labels = [label.strip() for label in text.split(",")]
    return labels[:-1] if not labels[-1] else labels


def check_separators(labels: Sequence[str], option: str) -> None:
    """Refuse labels that are several, separated by something else than commas.

    Raises
    ------
    UsageError
    """
    for label in labels:
        words = label.split()
        if _SEPARATOR.search(label) or (len(words) > 1 and all(map(has_place, words))):
            msg = f"{option}: labels are separated by commas, as in C3,Cz,C4; found {label!r}."
            raise UsageError(msg)


def check_labels(labels: Sequence[str], option: str) -> None:
    """Refuse labels given with an option.

    Raises
    ------
    UsageError
        There is none, one is empty or given twice, or one holds a comma.
    """
    check_separators(labels, option)
    if not all(labels) or not labels:
        msg = f"{option}: a label is empty; give a name to each, or - to a channel that is not used."
        raise UsageError(msg)
    named = [normalise_label(label) for label in labels]
    twice = sorted({label for label, name in zip(labels, named, strict=True) if named.count(name) > 1} - _UNUSED)
    if twice:
        msg = f"{option} gives {', '.join(twice)} more than once; give each channel a label of its own, or - where it is not used."
        raise UsageError(msg)


def check_pick(pick: Sequence[str], labels: Sequence[str]) -> None:
    """Refuse a choice of channels.

    Raises
    ------
    UsageError
        The recording lacks one, or the labels are refused by :func:`check_labels`.
    """
    check_labels(pick, "--pick")
    there = {normalise_label(label) for label in labels}
    missing = [label for label in pick if normalise_label(label) not in there]
    if missing:
        msg = f"--pick names {', '.join(missing)}, which the recording lacks; it has {', '.join(labels)}."
        raise UsageError(msg)


def electrodes(name: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The labels of a signal that have a place on the head; all where none has one.

    Raises
    ------
    ContractError
        Most have none: the few that have are hardly what is meant.
    """
    placed = tuple(label for label in labels if has_place(label))
    unknown = [label for label in labels if label not in placed and label.casefold() not in _REFERENCES]
    if placed and len(unknown) > len(placed):
        msg = (
            f"{name!r} has {len(labels)} EEG channels, and only {_few(placed)} "
            f"{'is a name' if len(placed) == 1 else 'are names'} of the 10-10 system (unknown: {_few(unknown)}); say which are "
            "meant: --pick LABEL,LABEL,… or --pick all, or name all by position with --channels."
        )
        raise ContractError(msg)
    return placed or tuple(labels)


def left_out_note(info: SignalInfo, used: Sequence[str], channels: Sequence[str] | None) -> str | None:
    """Return the channels of a signal that a model does not use although the user did not choose so, and the reasons.

    The model uses the ``used`` ones; the user may have given ``channels``, labels by position.
    """
    labels = tuple(map(bare_label, channels if channels is not None else info.labels or ()))
    taken = {normalise_label(label) for label in used}
    eeg = set(range(len(labels)) if channels is not None else eeg_channels(info))
    free = [(i, label) for i, label in enumerate(labels) if normalise_label(label) not in taken]
    reference = [label for i, label in free if i in eeg and label.casefold() in _REFERENCES]
    unplaced = [label for i, label in free if i in eeg and label not in reference and not has_place(label)]
    parts = [
        ("not EEG", [label for i, label in free if i not in eeg]),
        ("reference", reference),
        ("no place on the head", [label for label in unplaced if label.casefold() not in _UNUSED]),
    ]
    left_out = "; ".join(f"{why}: {_few(some)}" for why, some in parts if some)
    return f"Channels left out, {left_out}." if left_out else None


def _few(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _LISTED} more" if len(labels) > _LISTED else ""
    return ", ".join(labels[:_LISTED]) + more
