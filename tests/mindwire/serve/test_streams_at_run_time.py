"""Streams added, changed and removed over REST while others run, alone and behind the gateway."""

from __future__ import annotations

import json
import tomllib
from contextlib import suppress

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from mindwire.control.policy import ControlPolicy
from tests.support.bundles import random_bundle
from tests.support.lsl_cap import Cap
from tests.support.protocol import connect
from tests.support.service_process import service
from tests.support.streaming import contract, eventually, unique

pytest.importorskip("torch")

JSON = {"Content-Type": "application/json"}
POLICY = json.loads(ControlPolicy().to_json())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return random_bundle(tmp_path_factory.mktemp("run-time") / "bundle", contract(window_samples=200))


def seqs_of(client, until=lambda _: False):
    """Sequence numbers that a client receives until it is closed, or until they fulfil a condition."""
    found = []
    with suppress(ConnectionClosed):
        while not until(found):
            message = json.loads(client.recv(20))
            if message["type"] == "prediction":
                found.append(message["seq"])
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_streams_are_added_changed_and_removed_while_another_runs(bundle, tmp_path, workers):
    names = [unique("cap") for _ in range(2)]
    file = tmp_path / "clinic.toml"
    file.write_text(f'model = "{bundle}"\nlsl_outlet = false\nworkers = {workers}\n')
    with (
        Cap(names[0], source_id=names[0]),
        Cap(names[1], source_id=names[1]),
        service("--config", file, "--save-config") as running,
        httpx.Client(base_url=f"http://{running.address()}", timeout=20, headers=JSON) as rest,
    ):
        address = rest.base_url.netloc.decode()
        ready = rest.get("/health/ready")
        assert (ready.status_code, ready.json()["reason"]) == (503, "No stream is configured.")
        added = rest.post("/v1/streams", json={"id": "a", "name": names[0]})
        assert (added.status_code, added.json()) == (201, {"id": "a", "name": names[0]})
        assert rest.post("/v1/streams", json={"id": "A", "name": "x"}).status_code == 409
        eventually(lambda: rest.get("/health/ready").status_code == 200, 30)
        with connect(f"ws://{address}/v1/streams/a/predictions") as bystander:
            sources = {one["name"]: one for one in rest.get("/v1/sources").json()}
            assert sources[names[0]]["streams"] == ["a"]
            assert sources[names[1]]["streams"] == []
            kept = {"id": "b", "name": names[1], "hop": 5, "control": POLICY}
            assert rest.post("/v1/streams", json=kept).status_code == 201
            eventually(lambda: rest.get("/v1/streams/b").json()["state"] == "live", 30)
            with connect(f"ws://{address}/v1/streams/b/predictions") as client:
                seqs = seqs_of(client, until=len)
                paused = rest.patch("/v1/streams/b", json={"paused": True})
                assert paused.json() == {**kept, "control": paused.json()["control"], "paused": True}
                assert rest.get("/v1/streams/b/control").json()["paused"]
                assert rest.post("/v1/streams/b/control/resume").status_code == 200
                assert "paused" not in rest.get("/v1/streams/b/config").json()
                assert rest.put("/v1/streams/b/control", json={"decide": {"commit": 0.9}}).status_code == 200
                assert rest.get("/v1/streams/b/config").json()["control"]["decide"]["commit"] == 0.9
                assert rest.patch("/v1/streams/b", json={"hop": 4}).status_code == 200
                seqs += seqs_of(client)
                assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
                assert client.protocol.close_code == 1012
            eventually(lambda: rest.get("/v1/streams/b").json()["hop_samples"] == 4, 30)
            written = tomllib.loads(file.read_text())
            assert [spec["id"] for spec in written["stream"]] == ["a", "b"]
            assert written["stream"][1] == rest.get("/v1/config").json()["stream"][1]
            assert tomllib.loads(rest.get("/v1/config?format=toml").text) == written
            assert "b" in str(httpx.get(f"http://{address}/metrics").text)
            with connect(f"ws://{address}/v1/streams/b/predictions") as client:
                assert rest.delete("/v1/streams/b").status_code == 204
                seqs_of(client)
                assert client.protocol.close_code == 1001
            assert rest.delete("/v1/streams/b").status_code == 404
            assert 'stream="b"' not in rest.get("/metrics").text
            assert rest.post("/v1/streams", json=kept).status_code == 201  # the name can be used again
            seqs = seqs_of(bystander, until=lambda _: rest.get("/v1/streams/b").json()["state"] == "live")
            assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
        assert (tmp_path / "clinic.toml.orig").read_text().startswith("model = ")


WRONG = {
    "hop: expected at least 1.": {"hop": 0},
    "There is no field 'hopp'; do you mean 'hop'?": {"hopp": 1},
    "unit: 'kg' is no unit of voltage; expected V, mV, uV or nV.": {"unit": "kg"},
    "model: The service has no folder for models": {"model": "/etc"},
    "control: expected a policy document": {"control": "/etc/passwd"},
    "control: The control policy is not valid": {"control": {"version": 1, "evidence": 3}},
    "control: The control policy does not fit the model": {"control": {**POLICY, "idle": "nose"}},
    "adaptation_state: paths are not taken over REST": {"adaptation_state": "/tmp/x"},
    "The stream predicate 'name=' is not valid": {"name": None, "predicate": "name="},
    "say which LSL stream is meant": {"name": None},
    "record: stream 'b' is to be recorded, but there is no folder": {"record": True},
    "osc: expected HOST:PORT": {"osc": "nowhere"},
}


def test_what_is_wrong_is_named_and_changes_nothing(bundle, tmp_path):
    file = tmp_path / "clinic.toml"
    file.write_text(f'model = "{bundle}"\nlsl_outlet = false\n[[stream]]\nid = "a"\nname = "{unique("none")}"\n')
    with (
        service("--config", file, "--save-config") as running,
        httpx.Client(base_url=f"http://{running.address()}", timeout=20, headers=JSON) as rest,
    ):
        before = rest.get("/v1/config").json()
        for sentence, fields in WRONG.items():
            for answer in (
                rest.post("/v1/streams", json={"id": "b", "name": "x"} | fields),
                rest.patch("/v1/streams/a", json=fields),
            ):
                assert answer.status_code == 422, (fields, answer.text)
                assert answer.json()["detail"].replace("'a'", "'b'").startswith(sentence), answer.text
        assert rest.patch("/v1/streams/a", json={"id": "b"}).status_code == 422
        assert rest.patch("/v1/streams/b", json={"hop": 3}).status_code == 404
        for body in (b"", b"[]", b"{", b"\xff", b'{"name": "\\ud800"}'):
            assert rest.post("/v1/streams", content=body).status_code == 422
        assert rest.post("/v1/streams?check=true", json={"name": "x"}).status_code == 201
        assert rest.get("/v1/config").json() == before
        assert not (tmp_path / "clinic.toml.orig").exists()
