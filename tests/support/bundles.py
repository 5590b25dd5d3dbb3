"""Bundles with random weights for contracts of the tests' own."""

from __future__ import annotations

from pathlib import Path

from mindwire_models.contract import Contract


def random_bundle(folder: Path, contract: Contract, seed: int = 0) -> Path:
    """A whole, loadable bundle; needs torch to make, not to run."""
    import torch

    from mindwire_models import AttentionBaseNet
    from mindwire_models.export import export_bundle

    torch.manual_seed(seed)
    network = AttentionBaseNet(
        n_times=contract.window_samples,
        n_chans=contract.n_channels,
        n_outputs=len(contract.classes),
        n_temporal_filters=8,
    ).eval()
    export_bundle(network, contract, folder, name=folder.name, provenance="random weights, for tests")
    return folder
