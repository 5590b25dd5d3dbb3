"""Networks as folders, on disk or on the Hugging Face Hub: ``config.json`` with every argument, and ``model.safetensors``.

The folder is braindecode's. Loading executes nothing from it: weights are read as tensors only, and an activation's name
resolves to a class of ``torch.nn`` or to nothing.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from huggingface_hub import PyTorchModelHubMixin, errors, snapshot_download
from torch import nn

from mindwire_models.atomic import replace_file
from mindwire_models.errors import ArgumentError, BundleError
from mindwire_models.network.checkpoints import read_state_dict, restore
from mindwire_models.reading import MIB, read_json_object
from mindwire_models.text import first_line

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_PICKLED_WEIGHTS_FILE = "pytorch_model.bin"
_CARD_FILE = "README.md"
_MAX_NUMBER = 1 << 30
# braindecode's own entry of a configuration, and the version whose arguments these are.
_VERSION_KEY, _BRAINDECODE_VERSION = "braindecode_version", "1.8.0"
_CARD = """---
{{ card_data }}
---
# AttentionBaseNet

AttentionBaseNet (Wimpff et al. 2023, arXiv 2310.11198): `config.json` holds all arguments of its constructor, \
`model.safetensors` the weights.

```python
from mindwire_models import AttentionBaseNet  # Mindwire

network = AttentionBaseNet.from_pretrained("FOLDER_OR_HUB_ID")
```

braindecode reads the same folder: `braindecode.models.AttentionBaseNet.from_pretrained(...)`.
"""
# Exceptions of the Hub's client; HTTPError is that of its HTTP library.
_HUB_ERRORS = (
    errors.HTTPError,  # type: ignore[attr-defined]
    errors.EntryNotFoundError,
    errors.HFValidationError,
    errors.RevisionResolutionError,
    OSError,
)


class Pretrained(
    nn.Module,
    PyTorchModelHubMixin,
    model_card_template=_CARD,
    library_name="mindwire",
    paper_url="https://arxiv.org/abs/2310.11198",
    tags=["eeg", "motor-imagery", "AttentionBaseNet"],
):
    """Network that saves and loads itself with its constructor's arguments."""

    _config: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Note the arguments, as given or by default."""
        network = super().__new__(cls, *args, **kwargs)
        defaults = cls.default_config()
        network._config = defaults | dict(zip(defaults, args, strict=False)) | kwargs
        return network

    @classmethod
    def default_config(cls) -> dict[str, Any]:
        """Return the constructor's arguments with their defaults, in order."""
        return {name: parameter.default for name, parameter in inspect.signature(cls).parameters.items()}

    def reset_head(self, n_outputs: int) -> None:
        """Replace the last layer by an untrained one for ``n_outputs`` classes."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return every constructor argument, ready for JSON: the activation as a dotted path, arrays as lists.

        An ArgumentError says that the activation is not a class of ``torch.nn``, so that no file can name it.
        """
        config: dict[str, Any] = json.loads(json.dumps(self._config, default=_to_json))
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make an untrained network from what :meth:`get_config` returned; braindecode's own entries are skipped.

        Raises
        ------
        ArgumentError
            An argument is unknown or wrong.
        """
        arguments = {name: value for name, value in config.items() if name != _VERSION_KEY}
        unknown = sorted(str(name) for name in arguments.keys() - cls.default_config().keys())
        if unknown:
            msg = f"{cls.__name__} has no argument {', '.join(unknown)}; leave it out of the configuration."
            raise ArgumentError(msg)
        for name, value in arguments.items():
            if isinstance(value, int) and abs(value) > _MAX_NUMBER:
                msg = f"{name} of {cls.__name__} may be {_MAX_NUMBER} at most; correct the configuration."
                raise ArgumentError(msg)
        if isinstance(arguments.get("activation"), str):
            arguments["activation"] = resolve_activation(arguments["activation"])
        if isinstance(arguments.get("chs_info"), list):
            arguments["chs_info"] = [
                {**channel, "loc": np.array(channel["loc"], dtype=float)}
                if isinstance(channel, dict) and isinstance(channel.get("loc"), list)
                else channel
                for channel in arguments["chs_info"]
            ]
        return cls(**arguments)

    def save_pretrained(
        self,
        save_directory: Path | str,
        *,
        config: object = None,  # noqa: ARG002
        repo_id: str | None = None,
        push_to_hub: bool = False,
        model_card_kwargs: dict[str, Any] | None = None,
        **push_to_hub_kwargs: Any,
    ) -> str | None:
        """Write ``config.json``, ``model.safetensors`` and, where there is none, a model card; see the mixin's method.

        Each file appears whole or not at all, where the mixin would remove the old configuration first. ``config`` is ignored:
        it is the network's own. A BundleError says that the folder cannot be written.
        """
        self.get_config()  # that refuses to be saved before anything is written
        folder = Path(save_directory)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._save_pretrained(folder)
            if not (folder / _CARD_FILE).exists():
                replace_file(folder / _CARD_FILE, str(self.generate_model_card(**(model_card_kwargs or {}))))
        except OSError as error:
            msg = (
                f"{folder}: the network cannot be saved there ({error.strerror or error}); check the path and the disk."
            )
            raise BundleError(msg) from error
        return self.push_to_hub(repo_id or folder.name, **push_to_hub_kwargs) if push_to_hub else None

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write weights and configuration into a folder that is there, as the mixin asks for."""
        from safetensors.torch import save

        weights = save({name: tensor.contiguous() for name, tensor in self.state_dict().items()}, {"format": "pt"})
        config = {_VERSION_KEY: _BRAINDECODE_VERSION, **self.get_config()}
        replace_file(save_directory / WEIGHTS_FILE, weights)
        replace_file(save_directory / CONFIG_FILE, json.dumps(config, indent=2) + "\n")

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload what :meth:`save_pretrained` writes and return the commit's address; see the mixin's method.

        Raises
        ------
        BundleError
            The Hub refused or cannot be reached.
        """
        with _hub_refusals(f"{repo_id}: the upload to the Hugging Face Hub failed"):
            return super().push_to_hub(repo_id, **options)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: Path | str,
        *,
        map_location: str = "cpu",
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: Path | str | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        **overrides: Any,
    ) -> Self:
        """Load a network in evaluation mode from a folder of ours or braindecode's, or by a Hub id such as ``user/model``.

        Parameters
        ----------
        pretrained_model_name_or_path : path or str
        map_location : str
            Device to put the network on.
        force_download, token, cache_dir, local_files_only, revision
            As ``huggingface_hub.snapshot_download`` takes them.
        **overrides
            Constructor arguments that replace those of the configuration. Another ``n_outputs`` gives the network
            an untrained head of that size on trained features.

        Raises
        ------
        BundleError
            Folder, repository or a file is missing or damaged, or weights and configuration do not fit.
        """
        folder = find_folder(
            pretrained_model_name_or_path,
            force_download=force_download,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            revision=revision,
        )
        weights_file = find_weights(folder)
        config = read_config(folder)
        head = overrides.pop("n_outputs", None)
        weights = read_state_dict(weights_file)
        try:
            network = restore(lambda: cls.from_config(config | overrides), weights, weights_file)
        except ArgumentError as error:
            if overrides:
                raise
            msg = f"{folder / CONFIG_FILE}: the configuration is not one of {cls.__name__}: {error}"
            raise BundleError(msg) from error
        if head is not None and head != network.get_config()["n_outputs"]:
            network.reset_head(head)
        return network.to(map_location).eval()


def find_folder(name: Path | str, **options: Any) -> Path:
    """Return a folder that is there, or what the Hub has under this name; see :meth:`Pretrained.from_pretrained`.

    Raises
    ------
    BundleError
        There is no such folder, and the Hub has no such repository or cannot be reached.
    """
    if Path(name).is_dir():
        return Path(name)
    missing = "there is no such folder here, and no such model could be had from the Hugging Face Hub"
    with _hub_refusals(f"{name}: {missing}"):
        patterns = [CONFIG_FILE, WEIGHTS_FILE, _PICKLED_WEIGHTS_FILE]
        return Path(snapshot_download(str(name), allow_patterns=patterns, **options))


def find_weights(folder: Path) -> Path:
    """Return the file of a folder's weights; the first choice, where there is none."""
    files = [folder / WEIGHTS_FILE, folder / _PICKLED_WEIGHTS_FILE]
    return next((file for file in files if file.exists()), files[0])


def read_config(folder: Path) -> dict[str, Any]:
    """Read a folder's ``config.json``; raises a BundleError where it is missing or no JSON object."""
    return read_json_object(folder / CONFIG_FILE, 16 * MIB, "a configuration", BundleError)


def resolve_activation(path: str) -> type[nn.Module]:
    """Return the class that ``torch.nn.ELU`` or ``torch.nn.modules.activation.ELU`` names, without importing anything."""
    name = path.rpartition(".")[2]
    found = getattr(nn, name, None)
    if isinstance(found, type) and issubclass(found, nn.Module) and path in {f"torch.nn.{name}", _dotted(found)}:
        return found
    msg = f"activation must name a class of torch.nn, such as torch.nn.ELU; found {path!r}."
    raise ArgumentError(msg)


def _dotted(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _to_json(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    path = _dotted(value)
    resolve_activation(path)
    return path


@contextmanager
def _hub_refusals(sentence: str) -> Iterator[None]:
    try:
        yield
    except _HUB_ERRORS as error:
        msg = f"{sentence} ({first_line(error).rstrip('.')})."
        raise BundleError(msg) from error
