"""Distributions of latencies."""

from __future__ import annotations

import pytest

from mindwire.live.latency import BUCKETS_MS, Latency


def test_a_stage_is_counted_in_the_first_bucket_that_holds_it():
    latency = Latency()
    for ms in (0.1, 0.25, 3.0, 5000.0):
        latency.observe({"decode": ms})
    histogram = latency.stages["decode"]
    assert histogram.counts[0] == 2
    assert histogram.counts[BUCKETS_MS.index(4.0)] == 1
    assert histogram.counts[-1] == 1
    assert histogram.total_ms == pytest.approx(5003.35)


def test_the_age_is_counted_where_the_clocks_compare():
    latency = Latency()
    latency.observe({"decode": 1.0})
    latency.observe({"receive": 20.0, "decode": 1.0, "publish": 0.5})
    assert (sum(latency.age.counts), latency.age.total_ms) == (1, 21.5)
