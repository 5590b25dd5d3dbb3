"""Live equals replay: a recording played through real LSL outlets into the service, each live part a process of its own.

A websocket client and an LSL inlet must both have received every prediction, and those must be the ones
that replaying the file gives: the same windows, the same alignment, the same numbers.
"""

from __future__ import annotations

import csv
import json
from contextlib import ExitStack
from uuid import uuid4

import numpy as np
import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.sources.simulator import Simulator
from mindwire_models.contract import Alignment
from mindwire_models.presets import BCIC2A
from tests.support.bundles import random_bundle
from tests.support.processes import LISTENERS, Processes, line
from tests.support.xdf_writer import eeg_file

pytest.importorskip("torch")

SECONDS = 12


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    alignment = Alignment(kind="euclidean", scale="window_sum", update_samples=250, ready_samples=1250)
    contract = BCIC2A.model_copy(update={"window_samples": 500, "normalisation": alignment})
    return random_bundle(tmp_path_factory.mktemp("live") / "bundle", contract)


@pytest.mark.parametrize("sfreq", [250.0, 160.0])
def test_a_live_run_gives_what_replaying_its_recording_gives(tmp_path, bundle, sfreq):
    name = f"live-{uuid4().hex[:8]}"
    simulator = Simulator(3, sfreq=sfreq, name=name)
    chunk = simulator.read(int(SECONDS * sfreq))
    cues = [(marker.time, marker.label) for marker in simulator.drain_markers()]
    path = eeg_file(
        tmp_path / "live.xdf",
        chunk.samples.astype(np.float32),
        sfreq,
        simulator.info.labels,
        times=chunk.times,
        markers=cues,
        name=name,
    )
    table = tmp_path / "replay.csv"
    done = CliRunner().invoke(app, ["replay", str(path), "--model", str(bundle), "--out", str(table)])
    assert done.exit_code == 0, done.output
    rows = list(csv.reader(table.read_text().splitlines()))[1:]
    assert len(rows) >= (SECONDS - 2) * 25 - 20
    assert sum(row[2] == "true" for row in rows) > 50

    with ExitStack() as stack:
        processes = Processes(stack)
        serve = processes.start(
            *("-m", "mindwire", "serve", "--model", bundle, "--stream", f"id={name},name={name}", "--port", "0"),
            *("--max-backlog", "60"),  # a machine under load skips nothing
        )
        url = line(serve, r"http://(127\.0\.0\.1:\d+)")[1]
        client = processes.start(LISTENERS, "ws", f"ws://{url}/v1/streams/{name}/predictions", len(rows))
        inlet = processes.start(LISTENERS, "lsl", f"Mindwire-{name}", len(rows))
        line(client, "ready")
        line(inlet, "ready")
        player = processes.start("-m", "mindwire", "play", path)
        by_websocket = json.loads(client.communicate(timeout=100)[0])
        by_lsl = json.loads(inlet.communicate(timeout=100)[0])
        assert player.wait(30) == 0

    replayed = np.array([[float(v) for v in row[3:7]] for row in rows])
    assert [m["seq"] for m in by_websocket] == [int(row[0]) for row in rows]
    assert [m["valid"] for m in by_websocket] == [row[2] == "true" for row in rows]
    np.testing.assert_allclose([m["probabilities"] for m in by_websocket], replayed, rtol=0, atol=1e-6)
    # The file's clock and the live one differ by a constant, and by what measuring the clock offset leaves open.
    apart = np.array([m["time"] for m in by_websocket]) - [float(row[1]) for row in rows]
    assert np.ptp(apart) < 1e-3

    assert [m["time"] for m in by_lsl] == pytest.approx([m["time"] for m in by_websocket], abs=1e-9)
    for lsl, prediction in zip(by_lsl, by_websocket, strict=True):
        expected = prediction["probabilities"] if prediction["valid"] else [None] * 4
        assert lsl["probabilities"] == pytest.approx(expected, abs=1e-6)
