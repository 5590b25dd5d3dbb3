"""The guide's examples of a network of braindecode, of an ONNX graph and of a program of PyTorch, as they are written."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("onnx")

from mindwire.cli.main import app
from mindwire.sources.simulator import Simulator
from mindwire_models.bundle import load_bundle
from tests.support.xdf_writer import eeg_file

GUIDE = Path(__file__).parents[3] / "docs" / "bring-your-own-decoder.md"
EXAMPLES = {
    "A network of braindecode": ("my-eegnet", "braindecode EEGNet"),
    "An ONNX graph made by hand": ("my-power", "ONNX file power.onnx"),
    "A program of PyTorch": ("my-network", "exported program network.pt2"),
}


def blocks(title: str, language: str) -> list[str]:
    section = GUIDE.read_text("utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def record(path: Path) -> None:
    simulator = Simulator(42)
    samples = simulator.read(250 * 80).samples
    markers = [(1000.0 + marker.time, marker.label) for marker in simulator.drain_markers()]
    eeg_file(path, samples, 250.0, simulator.info.labels, markers=markers)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_makes_the_bundle_that_it_names(title: str, tmp_path: Path, monkeypatch) -> None:
    if "braindecode" in title:
        if importlib.util.find_spec("braindecode") is None:
            pytest.skip("needs braindecode")
        from mindwire_models.external_sources.braindecode_folders import stand_in_for_torchaudio

        for name in ("torchaudio", "torchaudio.functional", "torchaudio.transforms"):
            if name not in sys.modules:  # leave no stand-in to the tests that follow
                monkeypatch.setitem(sys.modules, name, None)
                del sys.modules[name]
        stand_in_for_torchaudio()
        record(tmp_path / "session.xdf")
    monkeypatch.chdir(tmp_path)
    (code,), (commands,) = blocks(title, "python"), blocks(title, "bash")
    exec(compile(code.replace("max_epochs=20", "max_epochs=2"), str(GUIDE), "exec"), {})
    program, *arguments = shlex.split(commands.splitlines()[0])
    assert program == "mindwire"
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    out, source = EXAMPLES[title]
    assert load_bundle(tmp_path / out).config["source"] == source
