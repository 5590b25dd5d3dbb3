"""Checkpoints that the authors of AttentionBaseNet saved with PyTorch Lightning (channel-attention, eeg-otta)."""

from __future__ import annotations

import reprlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from mindwire_models.errors import BundleError
from mindwire_models.network.attentionbasenet import AttentionBaseNet
from mindwire_models.network.checkpoints import StateDict, load_pickled, to_state_dict
from mindwire_models.reading import MIB, read_regular

_MAX_YAML_BYTES = MIB
_MAX_YAML_DEPTH = 8
# Arguments of the constructor by the authors' names.
_RENAMED = {
    "n_classes": "n_outputs",
    "n_channels": "n_chans",
    "input_window_samples": "n_times",
    "dropout_inp": "drop_prob_inp",
    "dropout": "drop_prob_attn",
}
# Hyperparameters of the training, left out; ``seq_len`` follows from the others.
_TRAINING = frozenset(
    "lr weight_decay optimizer scheduler max_epochs warmup_epochs label_smoothing seed seq_len".split(),
)
_NEEDED = ("n_outputs", "n_chans", "n_times")


def read_lightning_checkpoint(
    path: Path | str, hyperparameters: Path | str | None = None
) -> tuple[dict[str, Any], StateDict]:
    """Read configuration and weights of a ``.ckpt`` file.

    Parameters
    ----------
    path : path
    hyperparameters : path or None
        YAML file with the hyperparameters, for a checkpoint that holds none. By default a file next to the
        checkpoint, of the checkpoint's name with or without its ``-N`` ending, or ``hparams.yaml``.

    Raises
    ------
    BundleError
        The file is missing, damaged, holds anything but data, or is no checkpoint of this network.
    """
    path = Path(path)
    document = load_pickled(path, numpy_scalars=True)
    if not isinstance(document, dict) or not isinstance(document.get("state_dict"), dict):
        msg = (
            f"{path}: expected a Lightning checkpoint with a state_dict, found none; give a .ckpt of the authors' code."
        )
        raise BundleError(msg)
    own = document.get("hyper_parameters")
    found = own if isinstance(own, dict) and own else _read_hyperparameters(path, hyperparameters)
    return _to_config(found, path), to_state_dict(document["state_dict"], path)


def _to_config(hyperparameters: Mapping[Any, Any], path: Path) -> dict[str, Any]:
    known = AttentionBaseNet.default_config()
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
        lacking = ", ".join(missing)
        msg = f"{path}: the checkpoint's hyperparameters lack {lacking}; give them in a .yaml file beside it."
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
        tried = " or ".join(candidate.name for candidate in candidates)
        msg = f"{path}: the checkpoint holds no hyperparameters and there is no {tried}; give the file that holds them."
        raise BundleError(msg)
    try:
        text = read_regular(file, _MAX_YAML_BYTES, BundleError).decode()
        _refuse_elaborate_yaml(text, file)
        document = yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        msg = f"{file}: the hyperparameters cannot be read as YAML; check the file."
        raise BundleError(msg) from error
    kwargs = document.get("model_kwargs", document) if isinstance(document, dict) else None
    if not isinstance(kwargs, dict):
        msg = f"{file}: expected hyperparameters under model_kwargs, found none."
        raise BundleError(msg)
    return kwargs


def _refuse_elaborate_yaml(text: str, file: Path) -> None:
    """Refuse aliases, whose expansion can exceed any memory, and deep nesting, which takes quadratic time."""
    depth = 0
    for event in yaml.parse(text):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > _MAX_YAML_DEPTH:
            msg = f"{file}: expected plain hyperparameters, found aliases or deep nesting, which are refused."
            raise BundleError(msg)
