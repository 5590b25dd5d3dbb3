"""A service whose outlet is killed and comes back, and whose control and model change: every message conforms."""

from __future__ import annotations

from collections import Counter

import httpx
import pylsl
import pytest

from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Axis, Decide, Leaky
from mindwire.sinks.messages import Encoding
from tests.support.bundles import random_bundle
from tests.support.gateway_clients import Listener
from tests.support.lsl_cap import Cap
from tests.support.protocol import contract as protocol
from tests.support.service_process import service
from tests.support.streaming import contract, eventually, unique

pytest.importorskip("torch")

POLICY = ControlPolicy(
    evidence=Leaky(time_constant_s=0.3),
    decide=Decide(commit=0.5, release=0.5, dwell_s=0.0, refractory_s=0.1),
    axes=(Axis(name="x", positive="right_hand", negative="left_hand"),),
)
CLOCK = {"offset_s": -3.25, "drift_ppm": 12.5, "uncertainty_ms": 1.5, "round_trip_ms": None, "jump": True}
JSON = {"Content-Type": "application/json"}
ENOUGH = 5000  # of each encoding


def test_every_message_of_a_faulty_run_conforms(tmp_path):
    folder, name = tmp_path / "models", unique("cap")
    for seed, model in enumerate(("first", "other")):
        random_bundle(folder / model, contract(sfreq=250.0, window_samples=250, hop_samples=1), seed)
    (tmp_path / "steer.json").write_text(POLICY.to_json())
    with (
        service(
            *("--model", folder / "first", "--models", folder, "--stream", f"id=a,name={name}"),
            *("--control", tmp_path / "steer.json"),
        ) as running,
        Cap(name, source_id=name, sfreq=250.0) as cap,
    ):
        address = running.address()
        running.discard_log()
        listeners = [Listener(address, "a", encoding) for encoding in Encoding]
        with httpx.Client(base_url=f"http://{address}/v1/streams", timeout=20, headers=JSON) as rest:
            state = lambda: rest.get("/a").json()["state"]  # noqa: E731
            counts = lambda: Counter(m.get("kind", m["type"]) for m in listeners[0].messages)  # noqa: E731
            eventually(lambda: state() == "live", 30)
            assert rest.put("/a/control", json={"decide": {"dwell_s": 0.05}}).status_code == 200
            assert rest.post("/a/control/pause").status_code == 200
            assert rest.post("/a/control/resume").status_code == 200
            marker = {"label": "left_hand", "time": pylsl.local_clock(), "uncertainty_ms": 2.5}
            assert rest.post("/a/markers", json={"markers": [marker]}).status_code == 202
            assert rest.post("/a/clock", json=CLOCK).status_code == 202
            assert rest.post("/a/adaptation", json={"action": "freeze"}).status_code < 300
            cap.kill()
            eventually(lambda: state() != "live", 20)
            cap.start()
            eventually(lambda: state() == "live", 30)
            assert rest.post("/a/model", json={"model": "other", "when": "shadow"}).status_code == 202
            eventually(lambda: counts()["shadow"] > 20, 30)
            assert rest.post("/a/model/promote").status_code == 202
            eventually(lambda: rest.get("/a/model").json()["in_use"]["name"] == "other", 20)
            assert rest.post("/a/model/rollback").status_code == 202
            eventually(lambda: all(len(one.messages) >= ENOUGH for one in listeners), 40)
        for one in listeners:
            one.end()
    for one in listeners:
        faults = [fault for message in one.messages for fault in protocol().faults(message)]
        assert faults == []
        found = Counter(message["type"] for message in one.messages)
        assert set(found) == {"hello", "prediction", "decision", "axes", "shadow", "event"}
        kinds = {message["kind"] for message in one.messages if message["type"] == "event"}
        assert kinds >= {"state", "validity", "gap", "control", "marker", "clock", "adaptation", "model"}
