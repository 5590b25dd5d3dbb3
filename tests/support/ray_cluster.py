"""A Ray cluster of several nodes on this machine, each with a loopback address of its own as separate machines have.

Run as a program, this file is the cluster; :class:`RayCluster` starts it and tells it what to do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
HEAD = "head"


class RayCluster:
    """A head without processors for workers, and nodes with the label ``mindwire-node`` of their names."""

    def __init__(self, *nodes: str, cpus: float = 2) -> None:
        self._nodes = nodes
        self._cpus = cpus
        self.address = ""
        self._raylets: dict[str, int] = {}

    def __enter__(self) -> RayCluster:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_worker_niceness": "0",
                "RAY_gcs_rpc_server_reconnect_timeout_s": "5",  # a minute by default
            },
        )
        self.start_head()
        for node in self._nodes:
            self.add(node)
        return self

    def _tell(self, **order: object) -> object:
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def add(self, node: str) -> None:
        """Start a node; its raylet is remembered by its name."""
        self._raylets[node] = self._tell(do="add", node=node, cpus=self._cpus)

    def processes(self, node: str) -> list[psutil.Process]:
        """All processes of a node, the workers' included."""
        raylet = psutil.Process(self._raylets[node])
        return [raylet, *raylet.children(recursive=True)]

    def raylets(self) -> list[psutil.Process]:
        """The process of Ray on each node."""
        return [psutil.Process(pid) for pid in self._raylets.values()]

    def node_of(self, pid: int) -> str:
        """The name of the node that a process belongs to."""
        (node,) = [
            node
            for node, raylet in self._raylets.items()
            if psutil.pid_exists(raylet) and pid in [one.pid for one in self.processes(node)]
        ]
        return node

    def kill(self, node: str) -> None:
        """As a power failure does it: all at once, without a goodbye."""
        doomed = self.processes(node)
        for process in doomed:
            process.suspend()  # so that none is notified of the end of another
        for process in doomed:
            process.kill()
        del self._raylets[node]

    def start_head(self) -> None:
        """Start a head, which knows nothing of one before, at the same address."""
        self.address = self._tell(do="head", port=int(self.address.partition(":")[2] or 0))

    def kill_head(self) -> None:
        """End the head of the cluster by force."""
        self._tell(do="kill head")

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(60)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    from ray._private.ray_constants import PROCESS_TYPE_RAYLET
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    addresses = (f"127.0.0.{number}" for number in range(3, 250))

    def add(address: str, **options: object):
        return cluster.add_node(
            node_ip_address=address, include_dashboard=False, object_store_memory=80 * 2**20, **options
        )

    for line in sys.stdin:
        order = json.loads(line)
        match order["do"]:
            case "head":
                port = {"gcs_server_port": order["port"]} if order["port"] else {}
                # Neither is the cluster scaled nor is a log read.
                add("127.0.0.2", num_cpus=0, no_monitor=True, include_log_monitor=False, **port)
                answer = cluster.address
            case "add":
                node = add(next(addresses), num_cpus=order["cpus"], labels={"mindwire-node": order["node"]})
                answer = node.all_processes[PROCESS_TYPE_RAYLET][0].process.pid
            case "kill head":
                cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
                cluster.head_node, answer = None, True
        answers.write(json.dumps(answer) + "\n")
    for node in cluster.list_all_nodes():
        node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
    os._exit(0)


if __name__ == "__main__":
    main()
