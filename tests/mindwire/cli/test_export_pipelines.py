"""The guide's example of a pipeline, as it is written, and ``mindwire export`` of the file that it leaves."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from scipy.special import softmax
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("pyriemann")

from mindwire.cli.main import app
from mindwire.errors import MindwireError
from mindwire.sources.simulator import Simulator
from mindwire_models.bundle import load_bundle
from tests.support.xdf_writer import eeg_file

GUIDE = Path(__file__).parents[3] / "docs" / "bring-your-own-decoder.md"
SECTION = "## A pipeline of scikit-learn, pyRiemann or MNE"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory):
    """The folder in which the example ran, and its names."""
    folder = tmp_path_factory.mktemp("example")
    simulator = Simulator(42)
    samples = simulator.read(250 * 100).samples
    markers = [(1000.0 + marker.time, marker.label) for marker in simulator.drain_markers()]
    eeg_file(folder / "session.xdf", samples, 250.0, simulator.info.labels, markers=markers)
    section = GUIDE.read_text("utf-8").partition(SECTION)[2]
    (code,) = re.findall(r"```python\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    names: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(code, str(GUIDE), "exec"), names)
    return folder, names


def test_the_bundle_of_the_example_decides_as_its_pipeline(example) -> None:
    folder, names = example
    x = names["data"].deciding
    pipeline = names["pipeline"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    graph = load_bundle(folder / "filter-bank").read("model.onnx")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    found = softmax(session.run(["logits"], {"x": x})[0].astype(np.float64), axis=1)
    np.testing.assert_allclose(found, pipeline.predict_proba(x.astype(np.float64)), atol=1e-6)


def test_the_file_gives_the_same_bundle_if_it_is_trusted(example) -> None:
    folder, names = example
    command = ["export", str(folder / "pipeline.joblib"), "--contract", str(folder / "filter-bank" / "contract.json")]
    result = CliRunner().invoke(app, [*command, "--out", str(folder / "untrusted")])
    assert isinstance(result.exception, MindwireError)
    assert "runs whatever code the file holds; give --trust-pickle" in str(result.exception)
    assert not (folder / "untrusted").exists()

    result = CliRunner().invoke(app, [*command, "--out", str(folder / "trusted"), "--trust-pickle"])
    assert result.exit_code == 0, result.output
    assert load_bundle(folder / "trusted").read("model.onnx") == names["bundle"].read("model.onnx")
