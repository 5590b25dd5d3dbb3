"""Sources of weights: opens every kind that can be exported, as a network in PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mindwire_models.bundle import SUMS, load_bundle, load_network
from mindwire_models.bundle_checks import CONFIG
from mindwire_models.contract import Contract
from mindwire_models.errors import ArgumentError, BundleError, extra
from mindwire_models.reading import MIB, read_json_object

with extra("torch", "Export needs PyTorch"):
    from mindwire_models.network.attentionbasenet import AttentionBaseNet
    from mindwire_models.network.checkpoints import read_state_dict, restore
    from mindwire_models.network.lightning import read_lightning_checkpoint

_STATE_DICTS = frozenset({".safetensors", ".bin", ".pt", ".pth"})


@dataclass(frozen=True, slots=True)
class Source:
    """Network in evaluation mode, a sentence on its origin for the model card, and a bundle's contract and control policy."""

    network: AttentionBaseNet
    contract: Contract | None
    provenance: str
    policy: bytes | None = None


def open_source(source: str, config: Path | None = None) -> Source:
    """Open a source of weights; nothing from it is executed.

    Parameters
    ----------
    source : str
        A bundle, a braindecode folder, a Lightning ``.ckpt``, a file of weights, or a Hugging Face Hub id.
    config : Path or None
        For a file of weights: the JSON file with the network's constructor arguments. For a ``.ckpt``: the YAML
        file with its hyperparameters, where they do not lie beside it.

    Raises
    ------
    BundleError
        The source is missing, damaged, malicious, or does not fit its configuration.
    ArgumentError
        A file of weights came without a configuration.
    """
    path = Path(source)
    if (path / SUMS).is_file():
        bundle = load_bundle(path)
        card = f"The bundle {bundle.name!r} (SHA-256 {bundle.sha256[:12]})."
        return Source(load_network(bundle), bundle.contract, card, bundle.policy)
    if path.suffix == ".ckpt":
        arguments, weights = read_lightning_checkpoint(path, config)
        card = f"The checkpoint `{path.name}` of the authors' code."
    elif path.suffix in _STATE_DICTS and not path.is_dir():
        if config is None:
            msg = f"{path}: a file of weights needs the network's arguments; give them with --config FILE.json."
            raise ArgumentError(msg)
        arguments, weights = read_json_object(config, MIB, "the configuration", BundleError), read_state_dict(path)
        card = f"The weights `{path.name}`."
    elif path.exists() and not (path / CONFIG).exists():
        what = f"a folder without {CONFIG}" if path.is_dir() else "a file of another kind"
        msg = (
            f"{path}: expected a checkpoint (.ckpt), weights ({', '.join(sorted(_STATE_DICTS))}), a folder with {CONFIG} or a "
            f"Hugging Face Hub id, found {what}; check the path."
        )
        raise BundleError(msg)
    else:
        kind = "folder" if path.is_dir() else "Hugging Face Hub repository"
        return Source(AttentionBaseNet.from_pretrained(source), None, f"The {kind} `{path.name or source}`.")
    network = restore(lambda: AttentionBaseNet.from_config(arguments), weights, path)
    return Source(network.eval(), None, card)
