"""Both clients and a real service that is stopped for long, or slow; what was missed is compared with the numbers."""

from __future__ import annotations

import random

import pytest

from benchmarks.client_disturbances import CLIENTS, make_model, run
from tests.support.javascript_client import node

pytest.importorskip("torch")


def test_a_stopped_or_slow_service_ends_no_iteration_and_what_was_missed_is_exact(tmp_path):
    clients = CLIENTS if node() else ["python"]
    model = make_model(tmp_path, hop_samples=1)  # 100 predictions a second
    for counts in run(model, ["starve", "trickle", "long stop"], random.Random(1), *clients):
        assert (counts["connections"], counts["lost"], counts.get("restarted", 0)) == (2, 1, 0)
        assert counts["missed"] - counts["missed_but_observed"] >= 900  # of 10 s; the newest of them were decoded
        assert counts["dropped_by_service"] > 0
