"""Comparison of a model that runs in the shadow of the one in use, window by window."""

from __future__ import annotations

from collections import Counter, deque

from pydantic import BaseModel

from mindwire.types import Prediction

_WAITING = 64


class ShadowStatus(BaseModel):
    """Comparison of two models' predictions on the same windows so far; the model in use comes first in each pair.

    ``agreement`` is the share of ``pairs``, valid by both, for which both give the same class the highest probability;
    ``difference`` the mean absolute difference in probability; ``confidence`` the mean of the highest probabilities, which
    equals the share of correct answers where a model is calibrated; ``decisions`` are those that were made and those that
    would have been, by class.
    """

    pairs: int
    agreement: float | None
    difference: float | None
    confidence: tuple[float, float] | None
    decisions: tuple[dict[str, int], dict[str, int]]


class Comparison:
    """Predictions of the model in use and of its shadow, paired by the time of their windows up to half a hop."""

    def __init__(self, tolerance_s: float) -> None:
        self._tolerance_s = tolerance_s
        self._waiting: tuple[deque[Prediction], deque[Prediction]] = deque(maxlen=_WAITING), deque(maxlen=_WAITING)
        self._decisions: tuple[Counter[str], Counter[str]] = Counter(), Counter()
        self._pairs = self._equal = 0
        self._difference = 0.0
        self._confidence = [0.0, 0.0]

    def add(self, prediction: Prediction, *, shadow: bool) -> None:
        """Take the next prediction of one of the two."""
        if prediction.control is not None and (made := prediction.control.decision) is not None:
            self._decisions[shadow][made.label] += 1
        if not prediction.valid:
            return
        others = self._waiting[not shadow]
        while others and others[0].time < prediction.time - self._tolerance_s:
            others.popleft()
        if others and others[0].time <= prediction.time + self._tolerance_s:
            self._compare(*(prediction, others.popleft())[:: -1 if shadow else 1])
        else:
            self._waiting[shadow].append(prediction)

    def _compare(self, used: Prediction, shadow: Prediction) -> None:
        rows = used.probabilities, shadow.probabilities
        self._pairs += 1
        self._equal += int(rows[0].argmax() == rows[1].argmax())
        self._difference += float(abs(rows[0] - rows[1]).mean())
        for number, row in enumerate(rows):
            self._confidence[number] += float(row.max())

    def status(self) -> ShadowStatus:
        """Return the comparison so far; may be called from any thread."""
        n = self._pairs
        return ShadowStatus(
            pairs=n,
            agreement=self._equal / n if n else None,
            difference=self._difference / n if n else None,
            confidence=(self._confidence[0] / n, self._confidence[1] / n) if n else None,
            decisions=(dict(self._decisions[0]), dict(self._decisions[1])),
        )
