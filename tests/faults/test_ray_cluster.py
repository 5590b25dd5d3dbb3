"""``mindwire serve --ray``: streams on the nodes of a cluster, and what they survive."""

from __future__ import annotations

import signal
import socket
import sys
import time
from contextlib import ExitStack

import numpy as np
import psutil
import pytest

from mindwire.sinks.adaptation import CHECKPOINT_S
from mindwire.sinks.messages import Encoding
from tests.support.bundles import random_bundle
from tests.support.gateway_clients import Listener, samples_of
from tests.support.many_caps import ManyCaps
from tests.support.ray_cluster import RayCluster
from tests.support.service_process import get, refused, request, service
from tests.support.streaming import contract, eventually, unique

pytest.importorskip("torch")
pytest.importorskip("ray")
one_address_a_node = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
pytestmark = [pytest.mark.ray, pytest.mark.faults, one_address_a_node]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return random_bundle(tmp_path_factory.mktemp("cluster") / "bundle", contract(window_samples=200))


class Heard:
    """What clients of all streams are sent, from a moment on."""

    def __init__(self, listeners: dict[str, Listener]) -> None:
        self._listeners = listeners
        self.mark()

    def mark(self) -> None:
        self._since = {name: len(one.messages) for name, one in self._listeners.items()}
        self._began = time.monotonic()

    def messages(self, name: str) -> list[dict]:
        return self._listeners[name].messages[self._since[name] :]

    def missed_nothing(self, name: str) -> bool:
        seqs = [one["seq"] for one in self.messages(name) if one["type"] == "prediction"]
        return len(seqs) > 1 and bool(np.all(np.diff(seqs) == 1))

    def states(self, name: str) -> list[str]:
        return [one["data"]["state"] for one in self.messages(name) if one.get("kind") == "state"]

    def valid_again(self, names) -> float:
        """Seconds until all these streams have begun again and are valid."""
        for name in names:
            eventually(lambda name=name: self._begun_and_valid(name), 90, f"{name}: {self.states(name)}")
        return time.monotonic() - self._began

    def _begun_and_valid(self, name: str) -> bool:
        begun = False
        for one in self.messages(name):
            begun = begun or one.get("seq") == 0
            if begun and one["type"] == "prediction" and one["valid"]:
                return True
        return False


@pytest.fixture(scope="module")
def intact():
    """The cluster that tests share, until one has broken it."""
    with ExitStack() as stack:
        yield stack, []


@pytest.fixture
def cluster(intact):
    stack, running = intact
    if not running:
        running.append(stack.enter_context(RayCluster("a", "b", "c")))
    return running[0]


@pytest.fixture
def broken_cluster(intact, cluster):
    """A cluster to be broken; the next test has another."""
    yield cluster
    stack, running = intact
    stack.close()
    running.clear()


def by_number(address: str) -> dict[int, dict]:
    return {one["number"]: one for one in get(address, "/v1/workers")}


def test_a_cluster_that_is_not_there_is_refused_in_a_sentence(bundle):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        where = "{}:{}".format(*unused.getsockname())
        code, sentence = refused("--model", bundle, "--stream", "name=cap", "--ray", where)
    assert code == 1
    assert f"There is no Ray cluster at {where}" in sentence


@pytest.mark.timeout(300)
def test_streams_are_where_their_sources_are_seen_and_end_with_the_gateway(bundle, cluster):
    streams = [
        word for i, node in enumerate("bab") for word in ("--stream", f"id=s{i},name={unique('no')},node={node}")
    ]
    with service("--model", bundle, *streams, "--ray", cluster.address) as running:
        address = running.address()
        running.discard_log()
        b, a = by_number(address).values()
        assert [one["streams"] for one in (b, a)] == [["s0", "s2"], ["s1"]]
        assert [cluster.node_of(one["pid"]) for one in (b, a)] == ["b", "a"]
        assert [get(address, f"/v1/streams/s{i}")["state"] for i in range(3)] == ["searching"] * 3
        status, answer = request(address, "PATCH", "/v1/streams/s1", {"node": "b"})
        assert (status, "stays where it is" in answer["detail"]) == (422, True)
        assert request(address, "POST", "/v1/streams", {"id": "s3", "name": "no", "node": "a"})[0] == 201
        assert by_number(address)[2]["streams"] == ["s1", "s3"]
        status, answer = request(address, "POST", "/v1/streams", {"id": "s4", "name": "no", "node": "d"})
        assert (status, "no worker is at the node 'd'" in answer["detail"]) == (422, True)

        # the gateway stands still for longer than a worker may: no worker is to blame
        running.process.send_signal(signal.SIGSTOP)
        time.sleep(6)
        running.process.send_signal(signal.SIGCONT)
        get(address, "/v1/streams")
        assert [one["pid"] for one in by_number(address).values()] == [b["pid"], a["pid"]]

        # Ray loses an actor, whose process would run on
        orphan = psutil.Process(a["pid"])
        orphan.parent().kill()
        eventually(lambda: by_number(address)[2]["pid"] not in (a["pid"], None), 60, "the worker is started again")
        _, alive = psutil.wait_procs([orphan], 30)
        assert not alive
        # somebody takes a worker away
        assert request(address, "POST", "/v1/workers/1/drain", {})[0] == 202
        eventually(lambda: by_number(address)[1]["pid"] not in (b["pid"], None), 60, "the worker is started again")
        assert request(address, "POST", "/v1/workers/3/drain", {})[0] == 404
        assert [one["restarts"] for one in by_number(address).values()] == [1, 1]

        left = [psutil.Process(one["pid"]) for one in by_number(address).values()]
        running.process.kill()
        _, alive = psutil.wait_procs(left, 60)
        assert not alive
    code, sentence = refused("--model", bundle, "--stream", "name=cap,node=d", "--ray", cluster.address)
    assert code == 1
    assert "no node with the label mindwire-node=d" in sentence


def has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.timeout(400)
def test_streams_on_a_cluster_survive_a_node_a_hang_and_the_loss_of_the_head(bundle, broken_cluster, recovery):
    cluster = broken_cluster
    names = [unique(f"cap{i:02}") for i in range(12)]
    with ExitStack() as stack:
        streams = [word for name in names for word in ("--stream", f"id={name},name={name}")]
        flags = ("--model", bundle, *streams, "--ray", cluster.address, "--workers", 3, "--max-backlog", 60)
        running = stack.enter_context(service(*flags, "--no-lsl-outlet"))
        address = running.address()
        running.discard_log()
        listeners = {name: Listener(address, name, Encoding.JSON) for name in names}
        for one in listeners.values():
            stack.callback(one.end)
        stack.enter_context(ManyCaps(names))
        eventually(lambda: all(any(p["valid"] for p in one.predictions()) for one in listeners.values()), 60)

        def good_seconds(name):
            adaptation = get(address, f"/v1/streams/{name}")["adaptation"]
            return adaptation["good_seconds"] if adaptation else 0.0

        # a node is lost
        lost = by_number(address)[2]
        first = lost["streams"][0]
        eventually(lambda: good_seconds(first) > 2 * CHECKPOINT_S + 3, 60)
        osc = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        osc.bind(("127.0.0.1", 0))
        osc.settimeout(10)
        change = {"osc": "127.0.0.1:{1}".format(*osc.getsockname())}
        assert request(address, "PATCH", f"/v1/streams/{first}", change)[0] == 200
        assert osc.recv(65536).startswith(f"/mindwire/{first}/".encode())
        heard = Heard(listeners)
        cluster.kill(cluster.node_of(lost["pid"]))
        recovery(heard.valid_again(lost["streams"]), "after the loss of a node")
        assert good_seconds(first) > CHECKPOINT_S  # and not what the new worker has learnt since
        while True:  # what is left of the worker before
            osc.setblocking(False)
            try:
                osc.recv(65536)
            except BlockingIOError:
                break
        osc.settimeout(10)
        assert osc.recv(65536).startswith(f"/mindwire/{first}/".encode())  # the change has moved with the stream
        assert by_number(address)[2]["host"] not in (lost["host"], None)
        assert by_number(address)[2]["restarts"] >= 1
        for name in names:
            assert name in lost["streams"] or heard.missed_nothing(name)
            assert ("lost" in heard.states(name)) == (name in lost["streams"])

        # a worker hangs
        hung = by_number(address)[1]
        process = psutil.Process(hung["pid"])
        heard.mark()
        process.suspend()
        recovery(heard.valid_again(hung["streams"]), "after a worker hung")
        assert not process.is_running()
        for name in names:
            assert name in hung["streams"] or heard.missed_nothing(name)

        # the head is lost, and after a while all of Ray
        raylets = cluster.raylets()
        heard.mark()
        cluster.kill_head()
        eventually(lambda: all("is not reached" in str(heard.messages(name)) for name in names), 60)
        eventually(lambda: all(map(has_ended, raylets)), 60, "Ray ends everywhere")
        heard.mark()
        eventually(lambda: all(len(heard.messages(name)) > 30 for name in names), 60)
        assert all(heard.missed_nothing(name) for name in names)
        assert samples_of(address)["mindwire_ray_up"][()] == 0.0

        # a worker ends that has nowhere to go, until there is a cluster again
        last = by_number(address)[3]
        heard.mark()
        psutil.Process(last["pid"]).kill()
        eventually(lambda: all("lost" in heard.states(name) for name in last["streams"]), 30)
        cluster.start_head()
        cluster.add("d")
        heard.valid_again(last["streams"])
        assert samples_of(address)["mindwire_ray_up"][()] == 1.0
        assert cluster.node_of(by_number(address)[3]["pid"]) == "d"
        assert all(name in last["streams"] or heard.missed_nothing(name) for name in names)

        # and the end of the service is that of its workers
        left = [psutil.Process(one["pid"]) for one in get(address, "/v1/workers")]
        running.end()
        for one in listeners.values():
            one.end()
            assert one.states()[-1] == "stopped"
        _, alive = psutil.wait_procs(left, 30)
        assert not alive
