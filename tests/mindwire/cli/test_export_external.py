"""``mindwire export`` of decoders from outside, and the commands that need a network and refuse them in a sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("onnx")

from mindwire.cli.main import app
from mindwire.errors import ContractError, MindwireError, UsageError
from mindwire.inference.load import load_decoder
from mindwire.training.improve import Plan, prepare
from mindwire_models.bundle import Bundle, load_bundle
from tests.support.onnx_graphs import log_power
from tests.support.streaming import contract
from tests.support.xdf_writer import eeg_file

TERMS = ("--channels", "C3,Cz,C4", "--sfreq", "100", "--classes", "left_hand,right_hand")


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    if isinstance(result.exception, MindwireError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "power.onnx"
    path.write_bytes(log_power(n_times=100))
    return path


@pytest.fixture
def bundle(graph: Path, tmp_path: Path) -> Bundle:
    (tmp_path / "contract.json").write_text(contract().to_json())
    run("export", graph, "--contract", tmp_path / "contract.json", "--out", tmp_path / "power")
    return load_bundle(tmp_path / "power")


def test_terms_alone_make_a_bundle(graph: Path, tmp_path: Path) -> None:
    output = run("export", graph, *TERMS, "--hop", "20", "--out", tmp_path / "out", "--provenance", "Trained by us.")
    assert "power, plain graph, SHA-256" in output
    made = load_bundle(tmp_path / "out")
    assert (made.contract.window_samples, made.contract.hop_samples, made.contract.normalisation.kind) == (
        100,
        20,
        "none",
    )
    assert "Trained by us." in (made.path / "README.md").read_text()


def test_a_window_that_the_graph_leaves_open_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "open.onnx"
    path.write_bytes(log_power(n_times="times"))
    with pytest.raises(ContractError, match=r"at least window_samples \(--window\)"):
        run("export", path, *TERMS, "--out", tmp_path / "out")
    run("export", path, *TERMS, "--window", "150", "--out", tmp_path / "out")
    assert load_bundle(tmp_path / "out").contract.window_samples == 150


def test_what_looks_otherwise_is_said(tmp_path: Path) -> None:
    path = tmp_path / "p.onnx"
    path.write_bytes(log_power(n_times=100, softmax=True))
    result = CliRunner().invoke(
        app, ["export", str(path), *TERMS, "--output", "logits", "--out", str(tmp_path / "out")]
    )
    assert "warning: ONNX file p.onnx: its outputs look like probabilities" in result.stderr


def test_a_bundle_gets_another_contract(bundle: Bundle, tmp_path: Path) -> None:
    run("export", bundle.path, "--hop", "5", "--name", "power", "--out", tmp_path / "faster")
    made = load_bundle(tmp_path / "faster")
    assert made.contract.hop_samples == 5
    assert made.read("model.onnx") == bundle.read("model.onnx")
    run("export", made.path, "--hop", "10", "--name", "power", "--out", tmp_path / "again")
    assert load_bundle(tmp_path / "again").sha256 == bundle.sha256


def test_inspect_says_what_it_is(bundle: Bundle) -> None:
    output = run("inspect", bundle.path)
    assert "ONNX file power.onnx, from outside" in output
    assert "No table of layers" in output


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"engine": "torch"}, "--engine torch needs a network in PyTorch, but this bundle has only an ONNX graph"),
        ({"adapt": "bn"}, "--adapt bn needs a network in PyTorch"),
        ({"adapt": "entropy"}, "--adapt entropy needs"),
    ],
)
def test_there_is_no_network_to_run_or_to_adapt(how: dict, words: str, bundle: Bundle) -> None:
    with pytest.raises(UsageError, match=words):
        load_decoder(bundle, **how)
    assert load_decoder(bundle, "auto").engine == "onnxruntime"


def test_there_is_no_network_to_improve_or_to_draw(bundle: Bundle, tmp_path: Path) -> None:
    path = eeg_file(tmp_path / "a.xdf", contract_samples(), 100.0, ("C3", "Cz", "C4"))
    with pytest.raises(UsageError, match="an improvement needs a network in PyTorch"):
        prepare(Plan(bundle, [path], []))
    with pytest.raises(UsageError, match="--views needs a network in PyTorch"):
        run("evaluate", path, "--model", bundle.path, "--out", tmp_path / "report", "--views")
    assert not (tmp_path / "report").exists()


def contract_samples():
    import numpy as np

    return np.random.default_rng(0).standard_normal((500, 3)).astype(np.float32)


def test_without_onnx_runtime_one_sentence_says_what_to_install(bundle: Bundle, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MindwireError, match="onnxruntime is not installed; install it"):
        load_decoder(bundle)


def test_the_command_says_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "two.onnx"
    path.write_bytes(b"nothing")
    done = subprocess.run(
        [sys.executable, "-m", "mindwire", "export", str(path), *TERMS, "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "mindwire: ONNX file two.onnx: expected an ONNX model, found a damaged file or one of another kind; check the file."
    )
    assert not (tmp_path / "out").exists()
