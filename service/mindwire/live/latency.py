"""Distributions of what predictions spend per stage, and of the age of their newest sample."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

BUCKETS_MS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 125.0, 250.0, 500.0, 1000.0)


@dataclass(slots=True)
class Histogram:
    """Distribution of durations.

    Attributes
    ----------
    counts : list of int
        Observations per bucket of :data:`BUCKETS_MS`, and above the last.
    total_ms : float
        Sum of all observations.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_MS) + 1))
    total_ms: float = 0.0

    def observe(self, milliseconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS_MS, milliseconds)] += 1
        self.total_ms += milliseconds


class Latency:
    """Distributions of one stream since it began.

    Attributes
    ----------
    stages : mapping of str to Histogram
        Of the time per stage.
    age : Histogram
        Of the age of a window's newest sample when its prediction has been published; where the source's clock does not
        compare with ours, nothing is counted.
    """

    def __init__(self) -> None:
        self.stages: Mapping[str, Histogram] = {}
        self.age = Histogram()

    def observe(self, stages: Mapping[str, float]) -> None:
        """Count one prediction from the milliseconds that it spent per stage."""
        for stage, milliseconds in stages.items():
            histogram = self.stages.get(stage)
            if histogram is None:
                histogram = Histogram()
                self.stages = {**self.stages, stage: histogram}  # another thread may iterate over the old one
            histogram.observe(milliseconds)
        if "receive" in stages:
            self.age.observe(sum(stages.values()))
