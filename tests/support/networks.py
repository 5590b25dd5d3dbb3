"""Networks, contracts and bundles for tests: small, and with every parameter at a value that matters."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from mindwire_models.contract import Contract
from mindwire_models.network.attentionbasenet import AttentionBaseNet

SMALL: dict[str, Any] = {
    "n_times": 120,
    "n_chans": 3,
    "n_outputs": 2,
    "n_temporal_filters": 6,
    "temp_filter_length_inp": 9,
    "pool_length_inp": 15,
    "pool_stride_inp": 5,
    "ch_dim": 8,
    "temp_filter_length": 5,
    "pool_length": 4,
    "pool_stride": 4,
}


def make_network(seed: int = 0, **arguments: Any) -> AttentionBaseNet:
    """A network in evaluation mode whose statistics and gains are not those of initialisation."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scaled-down lengths are wanted here
        network = AttentionBaseNet(**(SMALL | arguments)).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if "running_var" in name:
                tensor.uniform_(0.5, 2.0, generator=generator)
            elif "running_mean" in name:
                tensor.normal_(0, 0.3, generator=generator)
            elif tensor.is_floating_point() and "gauss" not in name and tensor.numel() <= 64:
                tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.2)
    return network


def make_contract(network: AttentionBaseNet, **terms: Any) -> Contract:
    """A contract that fits a network."""
    base: dict[str, Any] = {
        "channels": tuple(f"C{index}" for index in range(network.n_chans)),
        "sfreq": 250.0,
        "window_samples": network.n_times,
        "hop_samples": 10,
        "classes": tuple(f"class_{index}" for index in range(network.n_outputs)),
    }
    return Contract(**(base | terms))


def reference(folder: Path) -> AttentionBaseNet:
    """The network of one of braindecode's reference folders."""
    config = json.loads((folder / "config.json").read_text())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        network = AttentionBaseNet.from_config(config)
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return network.eval()


REFERENCES = (
    *("16ch-125hz-3class", "cbam-r2-k7", "eca-k5", "encnet-8", "fca-freq3", "ge-extra", "ge-extra-mlp", "ge-mlp"),
    *("kernels", "none-relu", "se-wide", "short-250", "srm-mlp"),
    *(
        f"default-{mode}"
        for mode in ("cat", "catlite", "cbam", "eca", "encnet", "fca", "gct", "ge", "gsop", "none", "se", "srm")
    ),
)
