"""Decoders of other programs as their users have them: folders of braindecode, ONNX files, exported programs, pipelines."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from mindwire_models.contract import Alignment, Butterworth, Contract, Filters
from tests.support.onnx_graphs import log_power, logits_of

CONTRACT = Contract(
    channels=("C3", "Cz", "C4"),
    sfreq=100.0,
    filters=Filters(highpass=Butterworth(order=2, freq=2.0), lowpass=Butterworth(order=4, freq=30.0)),
    normalisation=Alignment(kind="euclidean", scale="sample_mean", update_samples=50, ready_samples=100),
    window_samples=200,
    hop_samples=10,
    classes=("left_hand", "right_hand"),
)
SIZES = {"n_chans": 3, "n_times": 200, "n_outputs": 2}


@dataclass(frozen=True)
class Made:
    """A source on disk, and the probabilities that its own program gives."""

    source: Path
    probabilities: Callable[[NDArray[np.float32]], NDArray[np.floating]]


def braindecode_network(architecture: str, **arguments: object) -> torch.nn.Module:
    """A network of braindecode with random weights and statistics, in evaluation mode."""
    from mindwire_models.external_sources.braindecode_folders import stand_in_for_torchaudio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stand_in_for_torchaudio()
        models = importlib.import_module("braindecode.models")
        torch.manual_seed(0)
        network = getattr(models, architecture)(**(SIZES | {"sfreq": 100.0} | arguments)).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if "running_var" in name:
                tensor.uniform_(0.5, 2.0)
            elif "running_mean" in name:
                tensor.normal_(0.0, 0.3)
    return network


def probabilities_of(module: torch.nn.Module) -> Callable[[NDArray[np.float32]], NDArray[np.floating]]:
    def probabilities(x: NDArray[np.float32]) -> NDArray[np.floating]:
        with torch.inference_mode():
            return module(torch.from_numpy(x)).double().softmax(1).numpy()

    return probabilities


def braindecode_folder(architecture: str, folder: Path) -> Made:
    network = braindecode_network(architecture)
    path = folder / architecture
    network.save_pretrained(path)
    return Made(path, probabilities_of(network))


def onnx_file(folder: Path, name: str, **how: object) -> Made:
    path = folder / f"{name}.onnx"
    path.write_bytes(log_power(n_times=200, seed=3, **how))
    return Made(path, lambda x: softmax(logits_of(x, seed=3), axis=1))


class Network(torch.nn.Module):
    """A small network as anybody writes one."""

    def __init__(self) -> None:
        super().__init__()
        self.temporal = torch.nn.Conv1d(3, 8, 25)
        self.norm = torch.nn.BatchNorm1d(8)
        self.dropout = torch.nn.Dropout(0.5)
        self.head = torch.nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.norm(self.temporal(x)).square().mean(-1).clamp(min=1e-6).log()))


def program(path: Path, module: torch.nn.Module, *, batch: bool = True, shape: tuple[int, ...] = (2, 3, 200)) -> Path:
    """Write an exported program; ``batch`` makes its first dimension dynamic."""
    dynamic = ({0: torch.export.Dim("batch")},) if batch else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(module, (torch.zeros(shape),), dynamic_shapes=dynamic), path)
    return path


def exported_program(folder: Path) -> Made:
    torch.manual_seed(1)
    network = Network().eval()
    return Made(program(folder / "network.pt2", network), probabilities_of(network))


def pipeline_file(recipe: str, folder: Path) -> Made:
    from tests.support.pipelines import write_pipeline

    path = folder / f"{recipe.replace(' ', '-')}.joblib"
    return Made(path, write_pipeline(path, recipe, CONTRACT.classes, SIZES["n_chans"], SIZES["n_times"]))


ARCHITECTURES = ("ATCNet", "Deep4Net", "EEGConformer", "EEGNeX", "EEGNet", "ShallowFBCSPNet")
# Each makes a decoder in a folder.
DECODERS: dict[str, Callable[[Path], Made]] = {
    **{name: partial(braindecode_folder, name) for name in ARCHITECTURES},
    "onnx-logits": lambda folder: onnx_file(folder, "onnx-logits"),
    "onnx-probabilities": lambda folder: onnx_file(
        folder, "onnx-probabilities", softmax=True, opset=22, dtype="float64"
    ),
    "program": exported_program,
    "pipeline-nearest-mean": partial(pipeline_file, "mean riemann"),
    "pipeline-filter-bank": partial(pipeline_file, "filter bank"),
    "pipeline-spatial-patterns": partial(pipeline_file, "spatial patterns of MNE"),
}
