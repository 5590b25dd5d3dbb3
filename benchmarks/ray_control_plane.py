"""Cost of Ray's control plane for worker processes: actors, nodes, and time until a failure is noticed.

    python benchmarks/ray_control_plane.py [--actors 24] [--nodes 2,5] [--json ray.json]

Starts a head without actors and nodes of it on this machine (``ray.cluster_utils.Cluster``), in a network namespace of their
own. What an actor and a node cost is processor time and memory of the head's ``gcs_server``, which no other work changes
much; the wall time of starts is that of this machine's cores, which import Python for each actor. A node that loses power
closes no connection, as one whose ``raylet`` is stopped by SIGSTOP does here. ``gateway`` are figures of a gateway whose
workers are on the cluster, as ``capacity.py`` has them without one. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # loopback alone

import psutil
import ray
from ray.cluster_utils import Cluster

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.capacity import alone_on_the_network, measured
from mindwire.sources.loopback import lsl_on_loopback

_IDLE_S = 10.0
_PER_NODE = 64
_NOTICED_S = 120.0


def _pss_mib(process: psutil.Process) -> float:
    return float(process.memory_full_info().pss) / 2**20


def _used(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:2]))


def _head_process() -> psutil.Process:
    (found,) = (one for one in psutil.Process().children(recursive=True) if one.name() == "gcs_server")
    return found


@ray.remote(num_cpus=1, max_restarts=0)
class _Idle:
    def pid(self) -> int:
        return os.getpid()


def _idle_share(process: psutil.Process) -> float:
    begin, used = time.monotonic(), _used(process)
    time.sleep(_IDLE_S)
    return (_used(process) - used) / (time.monotonic() - begin)


def _until(condition: Callable[[], bool]) -> float:
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > _NOTICED_S:
            msg = f"Expected Ray to notice a failure within {_NOTICED_S:g} s."
            raise TimeoutError(msg)
        time.sleep(0.05)
    return time.monotonic() - begin


def _ended(call: Any) -> bool:
    try:
        ray.get(call.remote(), timeout=1.0)
    except ray.exceptions.RayActorError:
        return True
    except ray.exceptions.GetTimeoutError:
        return False
    return False


def _alive(node_id: str) -> bool:
    return any(node["NodeID"] == node_id and node["Alive"] for node in ray.nodes())


def measure(actors: int, counts: Sequence[int]) -> dict[str, Any]:
    """Return what actors and nodes cost the head, and how soon failures are noticed."""
    few, many = counts
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=_PER_NODE) for _ in range(few)]
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        ours = ray.get_runtime_context().get_node_id()  # ends with this process, and this process with it
        head = _head_process()
        found: dict[str, Any] = {
            "ray": ray.__version__,
            "head_mib": _pss_mib(head),
            "idle_cores": {few: _idle_share(head)},
        }
        begin, used, memory = time.monotonic(), _used(head), _pss_mib(head)
        started = [_Idle.remote() for _ in range(actors)]
        pids = ray.get([one.pid.remote() for one in started])
        elapsed = time.monotonic() - begin
        found["actor"] = {
            "started_per_second": actors / elapsed,
            "head_core_seconds": (_used(head) - used) / actors,
            "head_mib": (_pss_mib(head) - memory) / actors,
            "process_mib": sum(_pss_mib(psutil.Process(pid)) for pid in pids) / actors,
            "process_core_seconds": sum(_used(psutil.Process(pid)) for pid in pids) / actors,
        }
        os.kill(pids[0], signal.SIGKILL)
        found["noticed_s"] = {"actor killed": _until(lambda: _ended(started[0].pid))}
        for one in started:
            ray.kill(one)
        *_, (_, gateway) = measured(20, 2, (0, 100), _IDLE_S, ray=cluster.address)
        found["gateway"] = {name: gateway[name] for name in ("gateway_cores", "gateway_mib", "wire_bytes", "messages")}
        while len(nodes) < many:
            nodes.append(cluster.add_node(num_cpus=_PER_NODE))
        found["idle_cores"][many] = _idle_share(head)
        for what, number in (("raylet killed", signal.SIGKILL), ("raylet stopped", signal.SIGSTOP)):
            node = nodes.pop(next(i for i, one in enumerate(nodes) if one.node_id != ours))
            (raylet,) = node.all_processes["raylet"]
            os.kill(raylet.process.pid, number)
            found["noticed_s"][what] = _until(lambda node_id=node.node_id: not _alive(node_id))
            os.kill(raylet.process.pid, signal.SIGKILL)
        return found
    finally:
        ray.shutdown()
        cluster.shutdown()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--actors", type=int, default=24)
    parser.add_argument("--nodes", default="2,5", help="two numbers of nodes whose idle cost is compared")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    alone_on_the_network()
    with lsl_on_loopback("ray-control-plane"):
        found = measure(options.actors, [int(word) for word in options.nodes.split(",")])
    text = json.dumps(found, indent=1)
    if options.json:
        options.json.write_text(f"{text}\n")
    print(text)


if __name__ == "__main__":
    main()
