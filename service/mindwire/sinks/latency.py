"""Distribution of latencies, per stage."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

BUCKETS_MS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 125.0, 250.0, 500.0, 1000.0)


@dataclass(slots=True)
class LatencyHistogram:
    """Distribution of one stage's latency.

    Attributes
    ----------
    counts : list of int
        Observations per bucket of :data:`BUCKETS_MS`, and above the last.
    total_ms : float
        Sum of all observations.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_MS) + 1))
    total_ms: float = 0.0


class Latencies:
    """Distributions of all stages; one thread counts, others read.

    Attributes
    ----------
    stages : dict of str to LatencyHistogram
    """

    def __init__(self) -> None:
        self.stages: dict[str, LatencyHistogram] = {}

    def observe(self, latency_ms: Mapping[str, float]) -> None:
        """Count one prediction's latencies in milliseconds."""
        for stage, milliseconds in latency_ms.items():
            histogram = self.stages.get(stage)
            if histogram is None:
                histogram = LatencyHistogram()
                self.stages = {**self.stages, stage: histogram}  # a thread may iterate over the old one
            histogram.counts[bisect_left(BUCKETS_MS, milliseconds)] += 1
            histogram.total_ms += milliseconds
