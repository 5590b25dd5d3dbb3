"""``mindwire serve --workers 2`` as processes, with real outlets: the same predictions, deaths survived, no orphans."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from contextlib import ExitStack

import numpy as np
import psutil
import pytest

from mindwire.sinks.adaptation import CHECKPOINT_S
from mindwire.sinks.messages import Encoding
from tests.support.bundles import random_bundle
from tests.support.gateway_clients import Listener, samples_of, workers_of
from tests.support.lsl_cap import Cap
from tests.support.raw_websocket import flood, upgraded
from tests.support.service_process import Service, get, ready, refused, service
from tests.support.streaming import contract, eventually, unique

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return random_bundle(tmp_path_factory.mktemp("workers") / "bundle", contract(window_samples=200))


def started(stack: ExitStack, bundle, names: list[str], *extra: object) -> tuple[Service, str, list[Listener]]:
    """A service, where it is, and a client of each of its streams that was there before the first sample."""
    caps = [unique(name) for name in names]
    streams = [word for name, cap in zip(names, caps, strict=True) for word in ("--stream", f"id={name},name={cap}")]
    # however busy the machine that runs this, nothing is skipped to be up to date
    running = stack.enter_context(service("--model", bundle, *streams, "--max-backlog", 60, *extra))
    address = running.address()
    listeners = [Listener(address, name, [*Encoding][i % 2]) for i, name in enumerate(names)]
    for listener in listeners:
        stack.callback(listener.end)
    for seed, cap in enumerate(caps):
        stack.enter_context(Cap(cap, source_id=cap, seed=seed, wait_for_consumer=True))
    return running, address, listeners


def test_two_workers_predict_what_one_process_predicts_and_survive_each_other(bundle):
    names = [unique(f"cap{i}") for i in range(4)]
    with ExitStack() as stack:
        osc = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        osc.bind(("127.0.0.1", 0))
        osc.settimeout(10)
        running, address, ours = started(stack, bundle, names, "--workers", 2, "--osc", osc.getsockname()[1])
        single, _, alone = started(stack, bundle, names)
        eventually(lambda: all(len(listener.predictions()) > 20 for listener in (*ours, *alone)), 60)
        for one, other in zip(ours, alone, strict=True):
            assert one.messages[0] | {"instance": None} == other.messages[0] | {"instance": None}
            for mine, theirs in zip(one.predictions()[:20], other.predictions()[:20], strict=True):
                assert mine["seq"] == theirs["seq"]
                assert mine["reasons"] == theirs["reasons"]
                np.testing.assert_allclose(mine["probabilities"], theirs["probabilities"], atol=1e-6)
        single.end()
        addresses: set[str] = set()  # each worker sends its own

        def all_sent() -> bool:
            addresses.update(osc.recv(65536).partition(b"\0")[0].decode() for _ in range(60))
            return len(addresses) >= len(names)

        eventually(all_sent, 30)
        assert addresses == {f"/mindwire/{name}/probabilities" for name in names}

        first, second = workers_of(running)
        assert [stream["name"] for stream in get(address, "/v1/streams")] == names
        assert len(get(address, "/v1/models")[0]["streams"]) == 4

        second.suspend()  # it lives, but answers nothing
        stale = get(address, f"/v1/streams/{names[1]}")
        assert (stale["state"], stale["ready"]) == ("stale", False)
        assert "does not answer" in stale["state_reason"]
        eventually(lambda: get(address, f"/v1/streams/{names[0]}")["state"] == "live", 30)
        second.resume()
        eventually(lambda: get(address, f"/v1/streams/{names[1]}")["state"] == "live", 30)

        eventually(lambda: "stale" in ours[1].states(), 30)
        eventually(lambda: ours[1].states()[-1] == "live", 30)

        def good_seconds():
            adaptation = get(address, f"/v1/streams/{names[0]}")["adaptation"]
            return adaptation["good_seconds"] if adaptation else 0.0

        eventually(lambda: good_seconds() > CHECKPOINT_S + 3, 60)
        heard = [len(listener.predictions()) for listener in ours]
        first.kill()
        eventually(lambda: "lost" in ours[0].states(), 30)
        assert not ready(address)
        eventually(lambda: get(address, f"/v1/streams/{names[0]}")["counters"]["restarts"] == 1, 60)
        eventually(lambda: good_seconds() > 0, 60)
        assert good_seconds() > CHECKPOINT_S / 2  # and not what the new worker has learnt since
        eventually(lambda: ready(address), 60)
        for number, listener in enumerate(ours):
            seqs = [message["seq"] for message in listener.predictions()]
            if number % 2:  # the other worker's
                assert np.all(np.diff(seqs[heard[number] - 1 :]) == 1)
                assert "lost" not in listener.states()
            else:
                again = seqs.index(0, 1)
                assert seqs == [*range(again), *range(len(seqs) - again)]
                (error,) = [m for m in listener.messages if m.get("kind") == "error"]
                assert "SIGKILL" in error["message"]
                assert get(address, f"/v1/streams/{names[number]}")["counters"]["restarts"] == 1
        metrics = samples_of(address)
        assert metrics["mindwire_worker_restarts_total"] == {(("worker", "1"),): 1.0, (("worker", "2"),): 0.0}
        assert set(metrics["mindwire_worker_up"].values()) == {1.0}
        assert len(metrics["mindwire_worker_process_cpu_seconds_total"]) == 2
        assert all(metrics["mindwire_predictions_total"][("stream", name),] > 0 for name in names)

        left = workers_of(running)
        assert running.end() < 2.0
        assert running.process.returncode == 0
        assert not any(process.is_running() for process in left)
        records = [json.loads(line) for line in running.process.stderr]
        assert {(one["worker"], one["stream"]) for one in records if one.get("event") == "state"} == {
            (1 + number % 2, name) for number, name in enumerate(names)
        }
        assert all("@" in one["model"] for one in records if "stream" in one)
        assert any(one["worker"] == 1 and "SIGKILL" in one["message"] for one in records if one["level"] == "error")
        for listener in ours:
            listener.end()
            assert listener.states()[-1] == "stopped"
            assert listener.closed == 1001


def test_no_worker_outlives_its_gateway(bundle):
    streams = [word for _ in range(2) for word in ("--stream", f"name={unique('none')}")]
    with service("--model", bundle, "--workers", 2, *streams) as running:
        address = running.address()
        left = workers_of(running)
        assert len(left) == 2
        assert get(address, "/v1/streams")[0]["state"] == "searching"
        os.kill(running.process.pid, signal.SIGKILL)
        gone, alive = psutil.wait_procs(left, 10)
        for process in alive:
            process.kill()
        assert len(gone) == 2


def test_a_flood_or_a_deaf_client_of_one_stream_is_not_noticed_by_clients_of_another(bundle):
    with ExitStack() as stack:
        _, address, (_, other) = started(stack, bundle, ["a", "b"], "--workers", 2, "--hop", 1)
        for kind in ("continuations", "pings"):
            with upgraded(address, "/v1/streams/a/signal") as sock:
                assert flood(sock, kind)
        with upgraded(address, "/v1/streams/a/predictions") as deaf:

            def dropped(name):
                return samples_of(address)["mindwire_websocket_dropped_total"][("stream", name),]

            eventually(lambda: dropped("a") > 0, 60)
            assert dropped("b") == 0
            deadline, received = time.monotonic() + 30, b""
            while b'"kind":"dropped"' not in received:
                assert time.monotonic() < deadline
                received += deaf.recv(65536)
        seqs = [message["seq"] for message in other.predictions()]
        assert seqs == list(range(len(seqs)))
        other.end()


def test_what_one_worker_refuses_ends_the_service_with_its_sentence(bundle, tmp_path):
    streams = [word for _ in range(2) for word in ("--stream", f"name={unique('none')}")]
    code, sentence = refused("--model", bundle, "--workers", 2, *streams, "--no-wait")
    assert code == 1
    assert "No stream matches" in sentence
    other = f"id=other,model={tmp_path / 'absent'},name=X"
    code, sentence = refused("--model", bundle, "--workers", 2, "--stream", "name=Y", "--stream", other)
    assert code == 1
    assert "absent" in sentence
