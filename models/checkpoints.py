"""Weights from files of others, read without executing anything from them.

Pickled checkpoints (``.ckpt``, ``.pt``, ``.bin``) go through ``torch.load(weights_only=True)``, with exactly the
NumPy globals allowed that the published Lightning checkpoints need. Whatever is damaged, foreign or malicious is
refused with a :class:`BundleError` in one sentence.
"""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from models.errors import BundleError, MissingExtraError

if TYPE_CHECKING:
    import torch

__all__ = ["load_strictly", "read_lightning_checkpoint", "read_state_dict"]

StateDict = dict[str, "torch.Tensor"]

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
        Keyword arguments for :class:`models.AttentionBaseNet`.
    state_dict : dict of str to Tensor
        Named as in :class:`models.AttentionBaseNet`.

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
        Named as in :class:`models.AttentionBaseNet`.

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
    nested = document.get("state_dict") if isinstance(document, dict) else None
    return _to_state_dict(nested if isinstance(nested, dict) else document, path)


def load_strictly(network: torch.nn.Module, state_dict: Mapping[str, torch.Tensor], where: Path | str) -> None:
    """Load weights into a network, all of them and nothing else.

    Parameters
    ----------
    network : torch.nn.Module
        Left untouched when the weights do not fit.
    state_dict : mapping of str to Tensor
    where : path or str
        Names the origin in error messages.

    Raises
    ------
    BundleError
        A weight is missing, superfluous, of another shape, or not finite.
    """
    own = network.state_dict()
    missing, extra = sorted(own.keys() - state_dict.keys()), sorted(state_dict.keys() - own.keys())
    if missing or extra:
        parts = [f"{_some(names)} {word}" for names, word in ((missing, "missing"), (extra, "superfluous")) if names]
        msg = f"{where}: the weights are not those of this network: {' and '.join(parts)}; check the configuration."
        raise BundleError(msg)
    for name, tensor in state_dict.items():
        if tensor.shape != own[name].shape:
            msg = (
                f"{where}: expected {name} of shape {tuple(own[name].shape)}, found {tuple(tensor.shape)}; "
                "check that the configuration belongs to these weights."
            )
            raise BundleError(msg)
        if not bool(tensor.isfinite().all()):
            msg = f"{where}: {name} holds values that are not finite; the weights are damaged."
            raise BundleError(msg)
    network.load_state_dict(state_dict, strict=True)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _import_torch() -> Any:
    try:
        import torch
    except ModuleNotFoundError as error:
        msg = "Reading weights needs PyTorch; install it with: pip install 'mindwire[torch]'."
        raise MissingExtraError(msg) from error
    return torch


def _load_pickled(path: Path, *, numpy_scalars: bool) -> Any:
    torch = _import_torch()
    allowed: list[Any] = _numpy_globals() if numpy_scalars else []
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
            warnings.simplefilter("ignore")  # damaged files make torch guess, and warn, before it gives up
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        msg = f"{path}: no such file; check the path."
        raise BundleError(msg) from error
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

    # The module was renamed in NumPy 2; the files name it as it was called when they were written.
    return [(multiarray.scalar, "numpy.core.multiarray.scalar"), np.dtype, np.dtypes.Float64DType]


def _load_safetensors(path: Path) -> Any:
    _import_torch()
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError as error:
        msg = f"{path}: no such file; check the path."
        raise BundleError(msg) from error
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
    names = {name: name for name in document}
    for prefix in ("module.", "model."):
        if all(name.startswith(prefix) for name in names.values()):
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
    from models.attentionbasenet import AttentionBaseNet

    known = AttentionBaseNet.config_names()
    config: dict[str, Any] = {}
    ignored: list[str] = []
    for key, value in hyperparameters.items():
        name = _RENAMED.get(key, key)
        if name in known:
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
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        msg = f"{file}: the hyperparameters cannot be read as YAML; check the file."
        raise BundleError(msg) from error
    kwargs = document.get("model_kwargs", document) if isinstance(document, dict) else None
    if not isinstance(kwargs, dict):
        msg = f"{file}: expected hyperparameters under model_kwargs, found none."
        raise BundleError(msg)
    return kwargs
