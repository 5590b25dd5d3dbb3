"""Checkpoints that were made to exhaust or mislead, and sound ones in the shapes that training programs save."""

from __future__ import annotations

import os
import resource
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mindwire_models import AttentionBaseNet
from mindwire_models.errors import BundleError, MindwireError
from mindwire_models.network.checkpoints import read_state_dict, restore
from mindwire_models.network.lightning import read_lightning_checkpoint
from mindwire_models.source import open_source

MORE_MEMORY_KB = 300_000
ARGUMENTS = {"n_times": 200, "n_chans": 3, "n_outputs": 2, "n_temporal_filters": 4}
HYPERPARAMETERS = {"n_classes": 2, "n_channels": 3, "input_window_samples": 200, "n_temporal_filters": 4}


@pytest.fixture
def network() -> AttentionBaseNet:
    torch.manual_seed(0)
    return AttentionBaseNet(**ARGUMENTS).eval()


def save_lightning(path: Path, network: AttentionBaseNet, **hyperparameters: Any) -> Path:
    weights = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": weights, "hyper_parameters": HYPERPARAMETERS | hyperparameters}, path)
    return path


def refused(path: Path, message: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MindwireError, match=message) as caught:
        open_source(str(path))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MORE_MEMORY_KB


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path, network: AttentionBaseNet) -> None:
    sound = save_lightning(tmp_path / "sound.ckpt", network)
    bomb = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(sound) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            data = old.read(entry)
            new.writestr(entry.filename, bytes(400 << 20) if entry.filename.endswith("/data/0") else data)
    refused(bomb, "compressed archive")


def test_an_archive_whose_entries_share_their_bytes_is_refused(tmp_path: Path, network: AttentionBaseNet) -> None:
    path = save_lightning(tmp_path / "a.ckpt", network)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more", b"x")
        archive.infolist()[-1].file_size = 1 << 33
    refused(path, "compressed archive|damaged")


@pytest.mark.parametrize("key", ["n_channels", "n_classes", "input_window_samples", "n_temporal_filters", "ch_dim"])
@pytest.mark.parametrize("value", [10**9, 10**30])
def test_sizes_without_measure_are_refused(tmp_path: Path, network: AttentionBaseNet, key: str, value: int) -> None:
    refused(save_lightning(tmp_path / "a.ckpt", network, **{key: value}), "a.ckpt|at most")


@pytest.mark.parametrize("value", [[[1] * 9] * 9, {"a": 1}, None, "\x1b[2J", -3, 2.5, True])
def test_hyperparameters_of_the_wrong_kind_are_refused(tmp_path: Path, network: AttentionBaseNet, value: Any) -> None:
    refused(save_lightning(tmp_path / "a.ckpt", network, n_classes=value), "n_classes|n_outputs|shape")


ALIASES = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        f"{ALIASES}n_classes: *i\n",
        "n_classes: " + "9" * 100_000,
        "n_classes: " + "[" * 10_000 + "]" * 10_000,
        "n_classes: !!python/object/apply:os.system ['true']",
        "n_classes: \x00",
        "x" * (2 << 20),
    ],
    ids=["aliases", "digits", "nested", "object", "nul", "long"],
)
def test_yaml_without_measure_is_refused(tmp_path: Path, network: AttentionBaseNet, text: str) -> None:
    weights = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": weights}, tmp_path / "a.ckpt")
    (tmp_path / "a.yaml").write_text(text)
    refused(tmp_path / "a.ckpt", "a.yaml|hyperparameters|n_classes")


def of_another_kind() -> dict[str, Any]:
    sparse = torch.eye(4).to_sparse()
    return {
        "complex": lambda tensor: tensor.to(torch.complex64),
        "int8": lambda tensor: tensor.to(torch.int8),
        "bool": lambda tensor: tensor.to(torch.bool),
        "quantised": lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
        "sparse": lambda tensor: tensor.to_sparse(),
        "meta": lambda tensor: tensor.to("meta"),
        "not finite": lambda tensor: tensor * float("nan"),
        "expanded": lambda _: torch.zeros(1).expand(10**6, 10**6),
        "other shape": lambda _: sparse,
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", of_another_kind())
def test_weights_of_another_kind_are_refused(network: AttentionBaseNet, kind: str) -> None:
    weights = network.state_dict()
    name = "final_layer.1.weight"
    weights[name] = of_another_kind()[kind](weights[name])
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        restore(lambda: AttentionBaseNet(**ARGUMENTS), weights, "a.pt")


def test_negative_variances_are_refused(network: AttentionBaseNet) -> None:
    weights = network.state_dict()
    weights["input_block.bn.running_var"] = -weights["input_block.bn.running_var"]
    with pytest.raises(BundleError, match="negative variances"):
        restore(lambda: network, weights, "a.pt")


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_numpy_scalars_of_both_namings_are_read(
    tmp_path: Path, network: AttentionBaseNet, kind: type, module: bytes
) -> None:
    path = save_lightning(tmp_path / "a.ckpt", network, lr=kind(1))
    renamed = tmp_path / "b.ckpt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(renamed, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith("data.pkl"):
                assert b"numpy._core.multiarray" in data or b"numpy.core.multiarray" in data
                data = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
                data = data.replace(b"numpy.core.multiarray", module)
            new.writestr(entry.filename, data)
    config, weights = read_lightning_checkpoint(renamed)
    restore(lambda: AttentionBaseNet(**config), weights, renamed)


@pytest.mark.parametrize("kind", ["compiled", "averaged", "model", "model_state_dict", "parallel", "no counters"])
def test_what_training_programs_save_is_read(tmp_path: Path, network: AttentionBaseNet, kind: str) -> None:
    weights = network.state_dict()
    document: dict[str, Any] = {
        "compiled": {f"_orig_mod.{name}": tensor for name, tensor in weights.items()},
        "averaged": {"n_averaged": torch.tensor(3)} | {f"module.{name}": t for name, t in weights.items()},
        "model": {"model": weights, "epoch": 3},
        "model_state_dict": {"model_state_dict": weights, "epoch": 3},
        "parallel": {f"module._orig_mod.{name}": tensor for name, tensor in weights.items()},
        "no counters": {name: tensor for name, tensor in weights.items() if "num_batches" not in name},
    }[kind]
    torch.save(document, tmp_path / "a.pt")
    found = restore(lambda: AttentionBaseNet(**ARGUMENTS), read_state_dict(tmp_path / "a.pt"), "a.pt")
    x = torch.randn(2, 3, 200)
    with torch.inference_mode():
        assert found.eval()(x).equal(network(x))


@pytest.mark.parametrize("name", ["a.ckpt", "a.pt", "a.safetensors"])
def test_pipes_pointers_and_large_files_are_refused_at_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    read = read_lightning_checkpoint if name.endswith("ckpt") else read_state_dict
    os.mkfifo(path)
    with pytest.raises(BundleError, match="expected a regular file"):
        read(path)
    path.unlink()
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 70666\n")
    with pytest.raises(BundleError, match="git lfs pull"):
        read(path)
    os.truncate(path, 1 << 40)  # sparse: it takes no space
    with pytest.raises(BundleError, match="at most 256 MiB"):
        read(path)
