"""Weights from files of others, read without executing anything from them.

Pickled checkpoints (``.ckpt``, ``.pt``, ``.bin``) go through ``torch.load(weights_only=True)``, with exactly the
NumPy globals allowed that the published Lightning checkpoints need. Whatever is damaged, foreign or malicious is
refused with a :class:`BundleError` in one sentence.
"""

from __future__ import annotations

import pickle
import reprlib
import struct
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zipfile import BadZipFile, ZipFile, is_zipfile

from mindwire_models.errors import BundleError, MissingExtraError
from mindwire_models.reading import MIB, read_regular

if TYPE_CHECKING:
    import torch

__all__ = ["load_strictly", "read_lightning_checkpoint", "read_state_dict", "restore"]

StateDict = dict[str, "torch.Tensor"]
Network = TypeVar("Network", bound="torch.nn.Module")

_MAX_BYTES = 256 * MIB
_MAX_YAML_BYTES = MIB
_MAX_YAML_DEPTH = 8
_LFS_POINTER = b"version https://git-lfs"
# Where training programs keep the weights inside what they save, and what they put before the names.
_NESTED = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "model.", "_orig_mod.")
# The counter of torch's weight averaging, and of BatchNorm in training; neither is a weight.
_AVERAGED, _COUNTER = "n_averaged", "num_batches_tracked"

# Hyperparameters of the authors' checkpoints (channel-attention, eeg-otta), by the constructor's names.
_RENAMED = {
    "n_classes": "n_outputs",
    "n_channels": "n_chans",
    "input_window_samples": "n_times",
    "dropout_inp": "drop_prob_inp",
    "dropout": "drop_prob_attn",
}
# Hyperparameters of their training; ``seq_len`` follows from the others.
_TRAINING = frozenset(
    {
        "lr",
        "weight_decay",
        "optimizer",
        "scheduler",
        "max_epochs",
        "warmup_epochs",
        "label_smoothing",
        "seed",
        "seq_len",
    }
)
_NEEDED = ("n_outputs", "n_chans", "n_times")

# What a malformed file makes torch's and safetensors' readers raise, beside their own errors.
_READ_ERRORS = (
    pickle.UnpicklingError,
    BadZipFile,
    struct.error,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
)


def read_lightning_checkpoint(
    path: Path | str, hyperparameters: Path | str | None = None
) -> tuple[dict[str, Any], StateDict]:
    """Configuration and weights of a BaseNet that its authors' PyTorch Lightning code saved.

    Parameters
    ----------
    path : path
        The ``.ckpt``.
    hyperparameters : path or None
        YAML file with the hyperparameters, for a checkpoint that holds none. By default it is sought beside
        the checkpoint, under the checkpoint's name with or without its ``-N`` ending, or as ``hparams.yaml``.

    Returns
    -------
    config : dict
        Keyword arguments for :class:`mindwire_models.AttentionBaseNet`.
    state_dict : dict of str to Tensor
        Named as in :class:`mindwire_models.AttentionBaseNet`.

    Raises
    ------
    BundleError
        The file is missing, damaged, holds anything but data, or is no checkpoint of this network.
    MissingExtraError
        PyTorch is not installed.
    """
    path = Path(path)
    document = _load_pickled(path, numpy_scalars=True)
    if not isinstance(document, dict) or not isinstance(document.get("state_dict"), dict):
        msg = (
            f"{path}: expected a Lightning checkpoint with a state_dict, found none; give a .ckpt of the authors' code."
        )
        raise BundleError(msg)
    own = document.get("hyper_parameters")
    found = own if isinstance(own, dict) and own else _read_hyperparameters(path, hyperparameters)
    return _to_config(found, path), _to_state_dict(document["state_dict"], path)


def read_state_dict(path: Path | str) -> StateDict:
    """Weights from a ``.safetensors``, ``.bin`` or ``.pt`` file.

    Parameters
    ----------
    path : path
        A file of named tensors; a pickled one may keep them under ``state_dict``.

    Returns
    -------
    dict of str to Tensor
        Named as in :class:`mindwire_models.AttentionBaseNet`.

    Raises
    ------
    BundleError
        The file is missing, damaged, or holds anything but named tensors.
    MissingExtraError
        PyTorch is not installed.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return _to_state_dict(_load_safetensors(path), path)
    document = _load_pickled(path, numpy_scalars=False)
    if isinstance(document, dict):
        document = next((document[key] for key in _NESTED if isinstance(document.get(key), dict)), document)
    return _to_state_dict(document, path)


def restore(make: Callable[[], Network], state_dict: Mapping[str, torch.Tensor], where: Path | str) -> Network:
    """Make a network and load its weights, after checking that they fit before any memory is taken for it.

    Parameters
    ----------
    make : callable
        Makes the untrained network; called twice, once without storage.
    state_dict : mapping of str to Tensor
    where : path or str
        Names the origin in error messages.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    BundleError
        As :func:`load_strictly`.
    """
    torch = _import_torch()
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        outline = make()
    _complete(outline, state_dict, where)
    network = make()
    load_strictly(network, state_dict, where)
    return network


def load_strictly(network: torch.nn.Module, state_dict: Mapping[str, torch.Tensor], where: Path | str) -> None:
    """Load weights into a network, all of them and nothing else.

    Parameters
    ----------
    network : torch.nn.Module
        Left untouched when the weights do not fit.
    state_dict : mapping of str to Tensor
        The counters of BatchNorm may be missing.
    where : path or str
        Names the origin in error messages.

    Raises
    ------
    BundleError
        A weight is missing, superfluous, of another shape or kind, not finite, or a negative variance.
    """
    complete = _complete(network, state_dict, where)
    for name, tensor in complete.items():
        if not bool(tensor.isfinite().all()):
            msg = f"{where}: {name} holds values that are not finite; the weights are damaged."
            raise BundleError(msg)
        if name.endswith("running_var") and bool((tensor < 0).any()):
            msg = f"{where}: {name} holds negative variances; the weights are damaged."
            raise BundleError(msg)
    network.load_state_dict(complete, strict=True)


def _complete(network: torch.nn.Module, state_dict: Mapping[str, torch.Tensor], where: Path | str) -> StateDict:
    """The weights with the counters they lack, once names, shapes and kinds are found to be the network's."""
    torch = _import_torch()
    own = network.state_dict()
    counters = {
        name: torch.zeros((), dtype=torch.int64, device="cpu")
        for name in own.keys() - state_dict.keys()
        if name.endswith(_COUNTER)
    }
    complete = {**state_dict, **counters}
    missing, extra = sorted(own.keys() - complete.keys()), sorted(complete.keys() - own.keys())
    if missing or extra:
        parts = [f"{_some(names)} {word}" for names, word in ((missing, "missing"), (extra, "superfluous")) if names]
        msg = f"{where}: the weights are not those of this network: {' and '.join(parts)}; check the configuration."
        raise BundleError(msg)
    for name, tensor in complete.items():
        if tensor.shape != own[name].shape:
            msg = (
                f"{where}: expected {name} of shape {tuple(own[name].shape)}, found {tuple(tensor.shape)}; "
                "check that the configuration belongs to these weights."
            )
            raise BundleError(msg)
        expected = "floating-point numbers" if own[name].is_floating_point() else "integers"
        whole = not (tensor.is_floating_point() or tensor.is_complex() or tensor.is_quantized)
        fits = tensor.is_floating_point() if own[name].is_floating_point() else whole
        if not fits or tensor.layout != torch.strided or tensor.device.type == "meta":
            kind = str(tensor.dtype).removeprefix("torch.")
            msg = (
                f"{where}: expected {name} as {expected}, found a {tensor.layout} tensor of {kind} on "
                f"{tensor.device.type}; save the network's own weights, neither quantised nor sparse nor complex."
            ).replace("torch.", "")
            raise BundleError(msg)
    return complete


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _import_torch() -> Any:
    try:
        import torch
    except ModuleNotFoundError as error:
        msg = "Reading weights needs PyTorch; install it with: pip install '.[torch]' in Mindwire's folder."
        raise MissingExtraError(msg) from error
    return torch


def _load_pickled(path: Path, *, numpy_scalars: bool) -> Any:
    torch = _import_torch()
    _inspect(path)
    allowed: list[Any] = _numpy_globals() if numpy_scalars else []
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
            warnings.simplefilter("ignore")  # damaged files make torch guess, and warn, before it gives up
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        msg = (
            f"{path}: expected weights and plain data only, found something else or damage; nothing was executed. "
            "Save the weights as a state_dict or as safetensors."
        )
        raise BundleError(msg) from error
    except _READ_ERRORS as error:
        msg = f"{path}: the file cannot be read as PyTorch weights; it is damaged or of another kind."
        raise BundleError(msg) from error


def _numpy_globals() -> list[Any]:
    import numpy as np
    from numpy._core import multiarray

    # The module was renamed in NumPy 2; files name it as it was called when they were written.
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    kinds = (np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType)
    return [*((multiarray.scalar, name) for name in names), np.dtype, *kinds]


def _inspect(path: Path) -> bytes:
    """The file's bytes, once it is known that reading it takes no more memory than its size suggests."""
    data = read_regular(path, _MAX_BYTES, BundleError)
    if data.startswith(_LFS_POINTER):
        msg = f"{path}: expected weights, found a pointer of Git LFS; fetch the file itself with: git lfs pull."
        raise BundleError(msg)
    if is_zipfile(path):
        try:
            with ZipFile(path) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
        except _READ_ERRORS as error:
            msg = f"{path}: the file cannot be read as PyTorch weights; it is damaged or of another kind."
            raise BundleError(msg) from error
        if unpacked > len(data):
            msg = (
                f"{path}: expected weights as torch.save writes them, found a compressed archive of "
                f"{unpacked / MIB:.0f} MiB, which is refused; save the weights again with torch.save."
            )
            raise BundleError(msg)
    return data


def _load_safetensors(path: Path) -> Any:
    _import_torch()
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = _inspect(path)
    try:
        return load(data)
    except (SafetensorError, *_READ_ERRORS) as error:
        msg = f"{path}: the file cannot be read as safetensors; it is damaged or of another kind."
        raise BundleError(msg) from error


def _to_state_dict(document: Any, path: Path) -> StateDict:
    torch = _import_torch()
    if (
        not isinstance(document, dict)
        or not document
        or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in document.items())
    ):
        msg = f"{path}: expected a state_dict of named tensors, found something else."
        raise BundleError(msg)
    if any(name.startswith("module.") for name in document):
        document = {name: tensor for name, tensor in document.items() if name != _AVERAGED}
    names = {name: name for name in document}
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in names.values())), None):
        names = {old: new.removeprefix(prefix) for old, new in names.items()}
    renamed = {
        "final_layer." + name.removeprefix("classifier.") if name.startswith("classifier.") else name: document[old]
        for old, name in names.items()
    }
    if len(renamed) != len(document):
        msg = f"{path}: the weights hold both a classifier and a final_layer; keep one of them."
        raise BundleError(msg)
    return renamed


def _to_config(hyperparameters: Mapping[Any, Any], path: Path) -> dict[str, Any]:
    from mindwire_models.network.attentionbasenet import AttentionBaseNet

    known = AttentionBaseNet.config_names()
    config: dict[str, Any] = {}
    ignored: list[str] = []
    for key, value in hyperparameters.items():
        name = _RENAMED.get(key, key)
        if name in known:
            if isinstance(value, dict | list | tuple | set | bytes) and name != "chs_info":
                msg = f"{path}: expected {key} to be a number or a name, found {reprlib.repr(value)}."
                raise BundleError(msg)
            config[name] = value
        elif name not in _TRAINING:
            ignored.append(str(key))
    missing = [name for name in _NEEDED if name not in config]
    if missing:
        msg = (
            f"{path}: the checkpoint's hyperparameters lack {', '.join(missing)}; give them in a .yaml file beside it."
        )
        raise BundleError(msg)
    if ignored:
        warnings.warn(
            f"{path}: hyperparameters without meaning for this network were left out: {', '.join(sorted(ignored))}.",
            UserWarning,
            stacklevel=3,
        )
    return config


def _read_hyperparameters(path: Path, given: Path | str | None) -> dict[str, Any]:
    stem = path.stem
    names = dict.fromkeys((f"{stem}.yaml", f"{stem.rsplit('-', 1)[0]}.yaml", "hparams.yaml"))
    candidates = [Path(given)] if given is not None else [path.with_name(name) for name in names]
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    if file is None:
        msg = (
            f"{path}: the checkpoint holds no hyperparameters and there is no "
            f"{' or '.join(str(candidate.name) for candidate in candidates)}; give the file that holds them."
        )
        raise BundleError(msg)
    import yaml  # type: ignore[import-untyped]

    try:
        text = read_regular(file, _MAX_YAML_BYTES, BundleError).decode()
        _refuse_elaborate_yaml(yaml, text, file)
        document = yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        msg = f"{file}: the hyperparameters cannot be read as YAML; check the file."
        raise BundleError(msg) from error
    kwargs = document.get("model_kwargs", document) if isinstance(document, dict) else None
    if not isinstance(kwargs, dict):
        msg = f"{file}: expected hyperparameters under model_kwargs, found none."
        raise BundleError(msg)
    return kwargs


def _refuse_elaborate_yaml(yaml: Any, text: str, file: Path) -> None:
    """A few aliases of aliases stand for more than any memory holds, and deep nesting takes quadratic time."""
    depth = 0
    for event in yaml.parse(text):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > _MAX_YAML_DEPTH:
            msg = f"{file}: expected plain hyperparameters, found aliases or deep nesting, which are refused."
            raise BundleError(msg)
