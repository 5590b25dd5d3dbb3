"""Marks of the samples that a pipeline was given: what a recording of a live run keeps of its breaks."""

from __future__ import annotations

from enum import IntFlag

from mindwire.types import Reason


class InputMark(IntFlag):
    """What the last channel says of a sample; small enough for eight bits."""

    NONE = 0
    GAP = 1
    CLOCK_JUMP = 2
    RECONNECT = 4
    # A pipeline that knows nothing yet begins with this sample.
    BEGIN = 8

    @property
    def reason(self) -> Reason:
        """How the pipeline was told that the signal is broken here."""
        found = Reason.NONE
        for mark, reason in _REASONS.items():
            if mark in self:
                found |= reason
        return found

    @classmethod
    def of(cls, reason: Reason) -> InputMark:
        """The mark of a chunk that is broken for this reason."""
        found = cls.NONE
        for mark, each in _REASONS.items():
            if each in reason:
                found |= mark
        return found


_REASONS = {
    InputMark.GAP: Reason.GAP,
    InputMark.CLOCK_JUMP: Reason.CLOCK_JUMP,
    InputMark.RECONNECT: Reason.RECONNECT,
}
