"""Networks of braindecode and exported programs: found, refused in one sentence, and the same as in their own program."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from mindwire_models.errors import ArgumentError, BundleError, ExportError, MindwireError, MissingExtraError  # noqa: E402
from mindwire_models.external import ExternalDecoder, export_external  # noqa: E402
from mindwire_models.external_sources.programs import read_program  # noqa: E402
from mindwire_models.network.attentionbasenet import AttentionBaseNet  # noqa: E402
from mindwire_models.source import open_source  # noqa: E402
from tests.support.external_decoders import (  # noqa: E402
    CONTRACT,
    SIZES,
    Network,
    braindecode_network,
    probabilities_of,
    program,
)

braindecode = pytest.mark.skipif(importlib.util.find_spec("braindecode") is None, reason="needs braindecode")
X = np.random.default_rng(0).standard_normal((3, 3, 200)).astype(np.float32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of braindecode's EEGNet."""
    if importlib.util.find_spec("braindecode") is None:
        pytest.skip("needs braindecode")
    folder = tmp_path_factory.mktemp("braindecode") / "net"
    braindecode_network("EEGNet").save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    copy = tmp_path / "net"
    copy.mkdir()
    for name in ("config.json", "model.safetensors"):
        (copy / name).write_bytes((saved / name).read_bytes())
    return copy


def edit(folder: Path, **changes: object) -> None:
    """Change arguments in a configuration; None leaves one out."""
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def test_the_class_is_found_by_its_arguments(saved: Path) -> None:
    found = open_source(str(saved)).network
    assert isinstance(found, ExternalDecoder)
    assert found.source == "braindecode EEGNet"
    assert (found.n_chans, found.n_times, found.n_outputs, found.sfreq) == (3, 200, 2, 100.0)
    expected = probabilities_of(braindecode_network("EEGNet"))(X)
    logits = torch.from_numpy(found.reference(X))
    np.testing.assert_allclose(logits.softmax(1), expected, atol=1e-6)


@braindecode
def test_pickled_weights_a_file_of_weights_and_a_hub_id_are_taken(folder: Path, tmp_path: Path, monkeypatch) -> None:
    network = braindecode_network("EEGNet")
    (folder / "model.safetensors").unlink()
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    assert open_source(str(folder)).network.source == "braindecode EEGNet"
    named = open_source(str(folder / "pytorch_model.bin"), folder / "config.json", architecture="EEGNet")
    assert named.network.source == "braindecode EEGNet"
    monkeypatch.setattr("mindwire_models.network.hub.snapshot_download", lambda *_, **__: str(folder))
    hub = open_source("someone/eegnet")
    assert hub.network.source == "braindecode EEGNet"
    assert hub.provenance == "The Hugging Face Hub repository `eegnet`."


def test_a_folder_of_braindecodes_attentionbasenet_is_our_network(tmp_path: Path) -> None:
    AttentionBaseNet(**SIZES).save_pretrained(tmp_path / "net")
    assert isinstance(open_source(str(tmp_path / "net")).network, AttentionBaseNet)


def refusal(folder: Path, **how: object) -> str:
    with pytest.raises(MindwireError) as caught:
        open_source(str(folder), **how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_class_that_is_not_the_one_is_refused(folder: Path) -> None:
    text = refusal(folder, architecture="EEGNot")
    assert text.startswith("--architecture EEGNot is no class of braindecode.models; those that take the arguments of")
    assert text.endswith("EEGNet.")
    assert "does not take these arguments" in refusal(folder, architecture="Deep4Net")


def test_arguments_that_leave_the_class_open_are_asked_for(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(SIZES | {"drop_prob": 0.5}))
    assert "name it with --architecture" in refusal(folder)
    found = open_source(str(folder), architecture="EEGNet").network
    assert found.source == "braindecode EEGNet"
    edit(folder, an_argument_of_nothing=1)
    assert "no class takes all its arguments; name it with --architecture" in refusal(folder)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    edit(folder, F1=16)
    assert "expected" in refusal(folder)
    torch.save({"weight": torch.zeros(3)}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "the weights are not those of this network" in refusal(folder)


@pytest.mark.parametrize(
    "path", ["os.system", "torch.load", "torch.nn.Modul", "braindecode.modules.os", "subprocess.Popen"]
)
def test_names_of_classes_reach_nothing_but_layers(folder: Path, path: str) -> None:
    edit(folder, activation=path)
    assert "activation" in refusal(folder) or "does not take these arguments" in refusal(folder)


def test_a_configuration_without_sizes_is_refused(folder: Path) -> None:
    edit(folder, n_chans="many")
    assert "does not take these arguments" in refusal(folder)


def test_a_network_that_onnx_cannot_express_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    class Spectrum(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.rfft(x).abs().mean(-1)[:, :2]

    path = program(tmp_path / "net.pt2", Spectrum())
    with pytest.raises(
        ExportError, match=r"^exported program net\.pt2: PyTorch cannot express .* in ONNX \(.*fft_rfft"
    ):
        read_program(path, trusted=True)
    assert "graph(" not in capfd.readouterr().out


def test_without_braindecode_one_sentence_says_what_to_install(folder: Path, monkeypatch) -> None:
    def absent(*_: object) -> object:
        raise ModuleNotFoundError("No module named 'braindecode'", name="braindecode")

    monkeypatch.setattr("mindwire_models.external_sources.braindecode_folders.importlib.import_module", absent)
    with pytest.raises(
        MissingExtraError, match=r"need the package braindecode; install it with: pip install '\.\[braindecode\]'"
    ):
        open_source(str(folder))


def test_an_exported_program_becomes_a_bundle(tmp_path: Path) -> None:
    path = program(tmp_path / "net.pt2", Network().eval())
    opened = open_source(str(path), trust_pickle=True)
    bundle = export_external(opened.network, CONTRACT, tmp_path / "out", name="net")
    assert bundle.config["source"] == "exported program net.pt2"
    assert "The exported program `net.pt2`." in (bundle.path / "README.md").read_text()
    with pytest.raises(ExportError, match="give --trust-pickle"):
        open_source(str(path))


class Two(torch.nn.Module):
    """Two inputs, or two outputs."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.inputs = inputs

    def forward(
        self, x: torch.Tensor, y: torch.Tensor | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        return (x + y).mean(-1) if self.inputs == 2 and y is not None else (x.mean(-1), x.amax(-1))


def saved_program(path: Path, module: torch.nn.Module, *inputs: torch.Tensor) -> Path:
    dynamic = tuple({0: torch.export.Dim("batch")} for _ in inputs)
    torch.export.save(torch.export.export(module, inputs, dynamic_shapes=dynamic), path)
    return path


@pytest.mark.filterwarnings("ignore")
def test_programs_of_another_form_are_refused(tmp_path: Path) -> None:
    path, x = tmp_path / "net.pt2", torch.zeros(2, 3, 200)
    cases = {
        "found 2 and 1": lambda: saved_program(path, Two(2), x, x),
        "found 1 and 2": lambda: saved_program(path, Two(1), x),
        "found one for 2; export it with a dynamic": lambda: program(path, Network().eval(), batch=False),
        "expected an input of float32, found float64": lambda: saved_program(path, torch.nn.Flatten(), x.double()),
        "expected an input of shape": lambda: saved_program(path, torch.nn.Flatten(), x[:, :, 0]),
    }
    for words, write in cases.items():
        write()
        with pytest.raises(ExportError, match=f"exported program net.pt2: .*{words}") as caught:
            read_program(path, trusted=True)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"garbage" * 50, None])
def test_a_damaged_program_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError, match=r"net\.pt2"):
        read_program(path, trusted=True)


@pytest.mark.filterwarnings("ignore")
def test_a_program_in_training_mode_is_refused(tmp_path: Path) -> None:
    class Noisy(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.dropout(x.mean(-1), 0.5, training=True)[:, :2]

    path = program(tmp_path / "net.pt2", Noisy())
    with pytest.raises(ExportError, match="always gives the same"):
        read_program(path, trusted=True)


def test_a_file_of_weights_still_needs_its_arguments(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="--config"):
        open_source(str(tmp_path / "weights.bin"), architecture="EEGNet")
