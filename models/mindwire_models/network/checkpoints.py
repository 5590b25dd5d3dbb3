"""Weights from untrusted files, read without executing anything; a :class:`BundleError` refuses what is damaged or foreign.

Pickled checkpoints (``.ckpt``, ``.pt``, ``.bin``) go through ``torch.load(weights_only=True)``, with exactly the
NumPy globals allowed that the published Lightning checkpoints need.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from zipfile import ZipFile, is_zipfile

import torch
from safetensors.torch import load

from mindwire_models.errors import BundleError
from mindwire_models.reading import MIB, read_regular

StateDict = dict[str, torch.Tensor]
Network = TypeVar("Network", bound=torch.nn.Module)

_MAX_BYTES = 256 * MIB
_LFS_POINTER = b"version https://git-lfs"
# Entries under which training programs save the weights, and prefixes of their names.
_NESTED = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "model.", "_orig_mod.")
# The counter of torch's weight averaging, and of BatchNorm in training; neither is a weight.
_AVERAGED, _COUNTER = "n_averaged", "num_batches_tracked"


def read_state_dict(path: Path | str) -> StateDict:
    """Read weights from a ``.safetensors``, ``.bin`` or ``.pt`` file, named as AttentionBaseNet names them.

    Raises
    ------
    BundleError
        The file is missing, damaged, or holds anything but named tensors.
    """
    path = Path(path)
    return _own_names(read_tensors(path), path)


def read_tensors(path: Path) -> StateDict:
    """Read weights as :func:`read_state_dict` does, under the names that the file has."""
    if path.suffix == ".safetensors":
        data = _inspect(path)
        with _readable(path, "safetensors"):
            document: Any = load(data)
        return _require_tensors(document, path)
    document = load_pickled(path, numpy_scalars=False)
    if isinstance(document, dict):
        document = next((document[key] for key in _NESTED if isinstance(document.get(key), dict)), document)
    return _require_tensors(document, path)


def restore(
    make: Callable[[], Network], state_dict: Mapping[str, torch.Tensor], where: Path | str, *, outline: bool = True
) -> Network:
    """Make a network and load its weights, all of them and nothing else; the counters of BatchNorm may be missing.

    That they fit is checked first, without storage for the network unless ``outline`` is false, as for a network whose
    constructor computes with its tensors. The message of a BundleError begins with ``where``.
    """
    with warnings.catch_warnings(), torch.device("meta" if outline else "cpu"):
        warnings.simplefilter("ignore")
        first = make()
    complete = _complete(first, state_dict, where)
    for name, tensor in complete.items():
        if not bool(tensor.isfinite().all()):
            msg = f"{where}: {name} holds values that are not finite; the weights are damaged."
            raise BundleError(msg)
        if name.endswith("running_var") and bool((tensor < 0).any()):
            msg = f"{where}: {name} holds negative variances; the weights are damaged."
            raise BundleError(msg)
    network = make() if outline else first
    network.load_state_dict(complete)
    return network


def _complete(network: torch.nn.Module, state_dict: Mapping[str, torch.Tensor], where: Path | str) -> StateDict:
    """Add missing counters to the weights; refuse names, shapes and kinds that are not the network's."""
    own = network.state_dict()
    counters = [name for name in own.keys() - state_dict.keys() if name.endswith(_COUNTER)]
    complete = {**state_dict, **{name: torch.zeros((), dtype=torch.int64, device="cpu") for name in counters}}
    differences = {"missing": own.keys() - complete.keys(), "superfluous": complete.keys() - own.keys()}
    parts = [f"{_some(sorted(names))} {word}" for word, names in differences.items() if names]
    if parts:
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


def load_pickled(path: Path, *, numpy_scalars: bool) -> Any:
    """Read what ``torch.save`` wrote, plain data and tensors only, and where asked for NumPy's scalars.

    Raises
    ------
    BundleError
        The file is missing, damaged, or holds anything else; nothing of it was executed.
    """
    _inspect(path)
    allowed: list[Any] = _numpy_globals() if numpy_scalars else []
    with _readable(path, "PyTorch weights"), warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
        warnings.simplefilter("ignore")  # damaged files make torch guess, and warn, before it gives up
        return torch.load(path, map_location="cpu", weights_only=True)


@contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    """Refuse a file that the reader within finds malformed, whatever it raises then."""
    try:
        yield
    except pickle.UnpicklingError as error:
        msg = (
            f"{path}: expected weights and plain data only, found something else or damage; nothing was executed. "
            "Save the weights as a state_dict or as safetensors."
        )
        raise BundleError(msg) from error
    except Exception as error:
        msg = f"{path}: the file cannot be read as {kind}; it is damaged or of another kind."
        raise BundleError(msg) from error


def _numpy_globals() -> list[Any]:
    import numpy as np
    from numpy._core import multiarray

    # The module was renamed in NumPy 2; files name it as it was called when they were written.
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    kinds = (np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType)
    return [*((multiarray.scalar, name) for name in names), np.dtype, *kinds]


def _inspect(path: Path) -> bytes:
    """Return the file's bytes; refuse archives that would unpack to more than their size."""
    data = read_regular(path, _MAX_BYTES, BundleError)
    if data.startswith(_LFS_POINTER):
        msg = f"{path}: expected weights, found a pointer of Git LFS; fetch the file itself with: git lfs pull."
        raise BundleError(msg)
    if is_zipfile(path):
        with _readable(path, "PyTorch weights"), ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > len(data):
            msg = (
                f"{path}: expected weights as torch.save writes them, found a compressed archive of "
                f"{unpacked / MIB:.0f} MiB, which is refused; save the weights again with torch.save."
            )
            raise BundleError(msg)
    return data


def to_state_dict(document: Any, path: Path) -> StateDict:
    """Name weights as AttentionBaseNet does, without what training programs put before the names.

    Raises
    ------
    BundleError
        The document is no mapping of names to tensors.
    """
    return _own_names(_require_tensors(document, path), path)


def _require_tensors(document: Any, path: Path) -> StateDict:
    if (
        not isinstance(document, dict)
        or not document
        or not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in document.items())
    ):
        msg = f"{path}: expected a state_dict of named tensors, found something else."
        raise BundleError(msg)
    return document


def _own_names(document: StateDict, path: Path) -> StateDict:
    if any(name.startswith("module.") for name in document):
        document = {name: tensor for name, tensor in document.items() if name != _AVERAGED}
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in document)), None):
        document = {name.removeprefix(prefix): tensor for name, tensor in document.items()}
    renamed = {re.sub(r"^classifier\.", "final_layer.", name): tensor for name, tensor in document.items()}
    if len(renamed) != len(document):
        msg = f"{path}: the weights hold both a classifier and a final_layer; keep one of them."
        raise BundleError(msg)
    return renamed
