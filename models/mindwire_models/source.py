"""Sources of decoders: opens every kind that can be exported, as a network in PyTorch or as a graph from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mindwire_models.bundle import SUMS, Bundle, load_bundle, load_network
from mindwire_models.bundle_checks import CONFIG, GRAPH, decoder_of
from mindwire_models.contract import Contract
from mindwire_models.errors import ArgumentError, BundleError, extra
from mindwire_models.external import ExternalDecoder, read_onnx_file
from mindwire_models.graphs.external_check import Output
from mindwire_models.pipelines import PICKLES, FittedPipeline, read_pipeline
from mindwire_models.reading import MIB, read_json_object

if TYPE_CHECKING:
    from mindwire_models.network.attentionbasenet import AttentionBaseNet

_STATE_DICTS = frozenset({".safetensors", ".bin", ".pt", ".pth"})
_OWN = "AttentionBaseNet"


@dataclass(frozen=True, slots=True)
class Source:
    """Network in evaluation mode, decoder from outside or fitted pipeline, a sentence on its origin, and a bundle's contract and control policy."""

    network: AttentionBaseNet | ExternalDecoder | FittedPipeline
    contract: Contract | None
    provenance: str
    policy: bytes | None = None


def open_source(
    source: str,
    config: Path | None = None,
    *,
    architecture: str | None = None,
    output: Output | None = None,
    trust_pickle: bool = False,
) -> Source:
    """Open a source of weights or a decoder from outside.

    Nothing from it is executed, but for pipelines and exported programs that are trusted.

    Parameters
    ----------
    source : str
        A bundle, a braindecode folder, a Hugging Face Hub id, an ONNX file, a program of ``torch.export`` (``.pt2``), a
        pipeline (``.joblib``, ``.pkl``), a Lightning ``.ckpt``, or a file of weights.
    config : Path or None
        For a file of weights: the JSON file with the network's constructor arguments. For a ``.ckpt``: the YAML
        file with its hyperparameters, where they do not lie beside it.
    architecture : str or None
        Class of ``braindecode.models``, for a folder, Hub id or file of weights; None where its arguments and weights tell.
    output : {"logits", "probabilities"} or None
        Outputs of a decoder from outside; None: found out by running it.
    trust_pickle : bool
        Loading a pipeline or an exported program runs whatever code its file holds; only with True.

    Raises
    ------
    BundleError
        The source is missing, damaged, malicious, or does not fit its configuration.
    ArgumentError
        A file of weights came without a configuration, or its class is unknown.
    ExportError
        A decoder from outside has other inputs or outputs, cannot be expressed in ONNX, or is a pickle that is not trusted.
    MissingExtraError
        PyTorch, onnx or braindecode is needed and not installed.
    """
    path = Path(source)
    outside = None if path.is_dir() else _file_from_outside(path, output, trust_pickle=trust_pickle)
    if outside is not None:
        return outside
    if (path / SUMS).is_file():
        return _bundle(load_bundle(path))
    with extra("torch", "Export needs PyTorch"):
        import torch  # noqa: F401
    if path.suffix == ".ckpt":
        return _checkpoint(path, config)
    if path.suffix in _STATE_DICTS and not path.is_dir():
        if config is None:
            msg = f"{path}: a file of weights needs the network's arguments; give them with --config FILE.json."
            raise ArgumentError(msg)
        arguments = read_json_object(config, MIB, "the configuration", BundleError)
        return _weights(arguments, path, f"The weights `{path.name}`.", architecture, output)
    if path.exists() and not (path / CONFIG).exists():
        what = f"a folder without {CONFIG}" if path.is_dir() else "a file of another kind"
        msg = (
            f"{path}: expected a checkpoint (.ckpt), a graph (.onnx), a program (.pt2), a pipeline (.joblib), weights "
            f"({', '.join(sorted(_STATE_DICTS))}), a folder with {CONFIG} or a Hugging Face Hub id, found {what}; check the path."
        )
        raise BundleError(msg)
    from mindwire_models.network.hub import find_folder, find_weights, read_config

    kind = "folder" if path.is_dir() else "Hugging Face Hub repository"
    folder, card = find_folder(source), f"The {kind} `{path.name or source}`."
    return _weights(read_config(folder), find_weights(folder), card, architecture, output)


def _file_from_outside(path: Path, output: Output | None, *, trust_pickle: bool) -> Source | None:
    """Open a graph, a program or a pipeline; None for any other kind of file."""
    if path.suffix == ".onnx":
        return _external(read_onnx_file(path, output))
    if path.suffix in PICKLES:
        pipeline = read_pipeline(path, trusted=trust_pickle)
        return Source(pipeline, None, pipeline.provenance)
    if path.suffix != ".pt2":
        return None
    with extra("torch", "Export needs PyTorch"):
        from mindwire_models.external_sources.programs import read_program
    return _external(read_program(path, output, trusted=trust_pickle))


def _external(decoder: ExternalDecoder) -> Source:
    return Source(decoder, None, decoder.provenance)


def _bundle(bundle: Bundle) -> Source:
    card = f"The bundle {bundle.name!r} (SHA-256 {bundle.sha256[:12]})."
    if decoder_of(bundle.config, bundle.path) != "external":
        return Source(load_network(bundle), bundle.contract, card, bundle.policy)
    sizes = {key: bundle.config.get(key) for key in ("n_chans", "n_times", "n_outputs", "sfreq")}
    decoder = ExternalDecoder(bundle.read(GRAPH), "logits", str(bundle.config.get("source")), card, **sizes)
    return Source(decoder, bundle.contract, card, bundle.policy)


def _checkpoint(path: Path, config: Path | None) -> Source:
    from mindwire_models.network.attentionbasenet import AttentionBaseNet
    from mindwire_models.network.checkpoints import restore
    from mindwire_models.network.lightning import read_lightning_checkpoint

    arguments, weights = read_lightning_checkpoint(path, config)
    network = restore(lambda: AttentionBaseNet.from_config(arguments), weights, path)
    return Source(network.eval(), None, f"The checkpoint `{path.name}` of the authors' code.")


def _weights(
    arguments: Mapping[str, Any], weights: Path, card: str, architecture: str | None, output: Output | None
) -> Source:
    """Open weights with the arguments of their network: ours, or another one of braindecode."""
    from mindwire_models.external_sources.braindecode_folders import VERSION_KEY, read_braindecode
    from mindwire_models.network.attentionbasenet import AttentionBaseNet
    from mindwire_models.network.checkpoints import read_state_dict, read_tensors, restore

    if architecture is None and arguments.keys() - {VERSION_KEY} <= AttentionBaseNet.default_config().keys():
        architecture = _OWN
    if architecture != _OWN:
        tensors = read_tensors(weights)
        decoder = read_braindecode(
            arguments, tensors, weights, architecture=architecture, output=output, provenance=card
        )
        return _external(decoder)
    try:
        network = restore(lambda: AttentionBaseNet.from_config(arguments), read_state_dict(weights), weights)
    except ArgumentError as error:
        msg = f"{weights}: the configuration is not one of {_OWN}: {error}"
        raise BundleError(msg) from error
    return Source(network.eval(), None, card)
