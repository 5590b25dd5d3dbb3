"""``mindwire serve --ray``: streams on the nodes of a cluster, and what they survive."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack

import numpy as np
import psutil
import pytest

from mindwire.sinks.adaptation import CHECKPOINT_S
from mindwire.sinks.messages import Encoding
from tests.support.bundles import random_bundle
from tests.support.gateway_clients import Listener
from tests.support.many_caps import ManyCaps
from tests.support.ray_cluster import RayCluster
from tests.support.service_process import get, refused, request, service
from tests.support.streaming import contract, eventually, unique

pytest.importorskip("torch")
pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.faults]

N_STREAMS = 12


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return random_bundle(tmp_path_factory.mktemp("cluster") / "bundle", contract(window_samples=200))


def worker_processes(cluster, node):
    return [one for one in cluster.processes(node) if "mindwire.serve.gateway.program" in str(one.cmdline())]


def valid_again(listener, since):
    """The listener has had a valid prediction of the stream's next life."""
    return any(
        later["valid"] and later["seq"] < earlier["seq"] + 10**9
        for earlier, later in [(listener.messages[since - 1], m) for m in listener.messages[since:]]
        if later["type"] == "prediction"
    )


@pytest.mark.timeout(400)
def test_streams_on_a_cluster_survive_nodes_hangs_and_the_head(bundle, recovery):
    names = [unique(f"cap{i:02}") for i in range(N_STREAMS)]
    with ExitStack() as stack:
        cluster = stack.enter_context(RayCluster("a", "b", "c"))
        streams = [word for name in names for word in ("--stream", f"id={name},name={name}")]
        stack.enter_context(ManyCaps(names))
        flags = ("--model", bundle, *streams, "--ray", cluster.address, "--workers", 3, "--max-backlog", 60)
        running = stack.enter_context(service(*flags, "--no-lsl-outlet"))
        address = running.address()
        running.discard_log()
        print(get(address, "/v1/workers"))
        time.sleep(5)
        print(get(address, "/v1/streams")[0])
