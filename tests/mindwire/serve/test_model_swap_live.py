"""Models of a running service change over REST while a recording is played through LSL: each prediction is that of the
model in use, run alone over the same recording; and behind the gateway."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from uuid import uuid4

import httpx
import numpy as np
import pytest

from mindwire.inference.load import load_decoder
from mindwire.offline.replay import Replay
from mindwire.sources.recording import open_recording
from mindwire.sources.simulator import Simulator
from mindwire_models.bundle import load_bundle
from mindwire_models.contract import Alignment
from mindwire_models.presets import BCIC2A
from tests.support.bundles import random_bundle
from tests.support.gateway_clients import workers_of
from tests.support.lsl_cap import Cap
from tests.support.processes import Processes
from tests.support.protocol import connect
from tests.support.service_process import service
from tests.support.streaming import contract, eventually, unique
from tests.support.xdf_writer import eeg_file

pytest.importorskip("torch")

JSON = {"Content-Type": "application/json"}
SECONDS = 13


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two models of the same weights, and one of others."""
    folder = tmp_path_factory.mktemp("models")
    alignment = Alignment(kind="euclidean", scale="window_sum", update_samples=250, ready_samples=500)
    contract_ = BCIC2A.model_copy(update={"window_samples": 500, "normalisation": alignment})
    random_bundle(folder / "first", contract_, 0)
    shutil.copytree(folder / "first", folder / "same")
    random_bundle(folder / "other", contract_, 1)
    return folder


def test_predictions_are_those_of_the_model_in_use(tmp_path, models):
    name = f"swap-{uuid4().hex[:8]}"
    simulator = Simulator(3, name=name)
    chunk = simulator.read(SECONDS * 250)
    path = eeg_file(
        tmp_path / "live.xdf",
        chunk.samples.astype(np.float32),
        250.0,
        simulator.info.labels,
        times=chunk.times,
        name=name,
    )
    alone = {}
    for model in ("first", "other"):
        bundle = load_bundle(models / model)
        replay = Replay(open_recording(path).signal(None), bundle.contract, load_decoder(bundle))
        alone[model] = list(replay.predictions())
    received, events = [], []
    steps = [(150, "", {"model": "same"}), (200, "", {"model": "other"}), (260, "/rollback", None)]
    with (
        ExitStack() as stack,
        service(
            *("--model", models / "first", "--models", models, "--stream", f"id={name},name={name}"),
            *("--max-backlog", "60", "--no-lsl-outlet"),
        ) as running,
        httpx.Client(base_url=f"http://{running.address()}", timeout=20, headers=JSON) as rest,
        connect(f"ws://{rest.base_url.netloc.decode()}/v1/streams/{name}/predictions") as client,
    ):
        Processes(stack).start("-m", "mindwire", "play", path)
        while len(received) < len(alone["first"]):
            message = json.loads(client.recv(30))
            if message["type"] == "event" and message["kind"] == "model":
                events.append(message)
            if message["type"] != "prediction":
                continue
            received.append(message)
            if steps and message["seq"] >= steps[0][0]:
                _, route, body = steps.pop(0)
                answer = rest.post(f"/v1/streams/{name}/model{route}", json=body)
                assert answer.status_code == 202, answer.text
        assert rest.get(f"/v1/streams/{name}/model").json()["previous"]["name"] == "other"
    assert [m["seq"] for m in received] == list(range(len(received)))
    changes = [event["data"] for event in events if event["data"]["state"] in {"swapped", "rolled_back"}]
    assert [change["name"] for change in changes] == ["first", "other", "first"]
    _, other, back = (change["seq"] for change in changes)
    worst = 0.0
    for prediction in received:
        expected = alone["other" if other <= prediction["seq"] < back else "first"][prediction["seq"]]
        assert prediction["valid"] == expected.valid
        worst = max(worst, np.abs(expected.probabilities - prediction["probabilities"]).max())
    assert worst <= 1e-6
    assert received[other]["valid"]
    assert np.abs(alone["first"][other].probabilities - received[other]["probabilities"]).max() > 1e-3


def test_a_model_changes_behind_the_gateway_and_stays_after_its_worker_was_killed(tmp_path):
    folder, cap = tmp_path / "models", unique("cap")
    for seed, name in enumerate(("first", "other")):
        random_bundle(folder / name, contract(window_samples=200), seed)
    random_bundle(folder / "classes", contract(window_samples=200, classes=("feet", "tongue")), 2)
    with (
        Cap(cap, source_id=cap),
        service(
            *("--model", folder / "first", "--models", folder, "--no-lsl-outlet", "--workers", "2"),
            *("--stream", f"id=a,name={cap}", "--stream", "id=b,name=none-such"),
        ) as running,
        httpx.Client(base_url=f"http://{running.address()}", timeout=20, headers=JSON) as rest,
    ):
        model = "/v1/streams/a/model"

        def events():
            return [event["data"] for event in rest.get("/v1/streams/a/events").json() if event["kind"] == "model"]

        eventually(lambda: rest.get("/v1/streams/a").json()["state"] == "live", 30)
        assert rest.post(model, json={"model": "nothing"}).status_code == 422
        assert rest.post(f"{model}/promote").status_code == 409
        assert rest.post(f"{model}/rollback").status_code == 409
        assert rest.post(model, json={"model": "classes"}).status_code == 202
        eventually(lambda: events()[-1]["state"] == "refused", 20)
        assert "PATCH" in events()[-1]["reason"]
        assert rest.post(model, json={"model": "other", "when": "shadow"}).status_code == 202
        assert rest.post(model, json={"model": "other"}).status_code == 409
        eventually(lambda: (rest.get(model).json()["candidate"] or {}).get("comparison"), 20)
        assert rest.post(f"{model}/promote").status_code == 202
        eventually(lambda: rest.get(model).json()["in_use"]["name"] == "other", 20)
        eventually(lambda: rest.get("/v1/streams/a/config").json().get("model") is not None, 10)
        for worker in workers_of(running):
            worker.kill()
        eventually(lambda: rest.get("/v1/streams/a").json()["counters"]["restarts"] == 1, 30)
        eventually(lambda: rest.get("/v1/streams/a").json()["state"] == "live", 30)
        assert rest.get(model).json()["in_use"]["name"] == "other"
