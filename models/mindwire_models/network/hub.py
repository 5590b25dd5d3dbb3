"""Configuration and weights of a network as a folder, on disk or on the Hugging Face Hub.

The folder is braindecode's: ``config.json`` with every constructor argument and ``model.safetensors``. Loading
executes nothing from it: weights are read as tensors only, and an activation's name resolves to a class of
``torch.nn`` or to nothing.
"""

from __future__ import annotations

import inspect
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from torch import nn

from mindwire_models.atomic import replace_file
from mindwire_models.errors import ArgumentError, BundleError, MissingExtraError
from mindwire_models.network.checkpoints import read_state_dict, restore
from mindwire_models.reading import MIB, parse_json_object, read_regular

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["CONFIG_FILE", "WEIGHTS_FILE", "Pretrained", "resolve_activation"]

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_PICKLED_WEIGHTS_FILE = "pytorch_model.bin"
_CARD_FILE = "README.md"
_MAX_NUMBER = 1 << 30
_FOREIGN_KEYS = frozenset({"braindecode_version"})


class Pretrained(nn.Module):
    """A network that knows its constructor's arguments, and saves and loads itself with them.

    Parameters
    ----------
    config : mapping
        Every argument of the subclass's constructor, as given.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self._config = dict(config)

    @classmethod
    def config_names(cls) -> tuple[str, ...]:
        """Names of the constructor's arguments, in order."""
        return tuple(inspect.signature(cls.__init__).parameters)[1:]

    def update_config(self, **changes: Any) -> None:
        """Record arguments that changed after construction."""
        self._config.update(changes)

    def reset_head(self, n_outputs: int) -> None:
        """Replace the last layer by an untrained one for ``n_outputs`` classes."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument, ready for JSON.

        Returns
        -------
        dict
            In the constructor's order; the activation as a dotted path, arrays as lists.

        Raises
        ------
        ArgumentError
            The activation is not a class of ``torch.nn``, so that no file can name it.
        """
        return {name: _to_json(value) for name, value in self._config.items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A new, untrained network from what :meth:`get_config` returned.

        Parameters
        ----------
        config : mapping
            Constructor arguments; braindecode's own entries are skipped.

        Raises
        ------
        ArgumentError
            An argument is unknown or wrong.
        """
        arguments = {name: value for name, value in config.items() if name not in _FOREIGN_KEYS}
        unknown = sorted(str(name) for name in arguments.keys() - set(cls.config_names()))
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
            arguments["chs_info"] = [_channel_from_json(channel) for channel in arguments["chs_info"]]
        return cls(**arguments)

    def save_pretrained(self, save_directory: Path | str) -> None:
        """Write ``config.json``, ``model.safetensors`` and, where there is none, a model card.

        Parameters
        ----------
        save_directory : path
            Made when missing. Each file appears whole or not at all.

        Raises
        ------
        ArgumentError
            The configuration cannot be written down (see :meth:`get_config`).
        BundleError
            The folder cannot be written.
        """
        from safetensors.torch import save

        config = json.dumps(self.get_config(), indent=2) + "\n"
        weights = save({name: tensor.contiguous() for name, tensor in self.state_dict().items()}, {"format": "pt"})
        folder = Path(save_directory)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            replace_file(folder / WEIGHTS_FILE, weights)
            replace_file(folder / CONFIG_FILE, config.encode())
            if not (folder / _CARD_FILE).exists():
                replace_file(folder / _CARD_FILE, self._model_card().encode())
        except OSError as error:
            msg = (
                f"{folder}: the network cannot be saved there ({error.strerror or error}); check the path and the disk."
            )
            raise BundleError(msg) from error

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: Path | str,
        *,
        revision: str | None = None,
        cache_dir: Path | str | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        map_location: str = "cpu",
        **overrides: Any,
    ) -> Self:
        """A network with its weights from a folder or from the Hugging Face Hub, in evaluation mode.

        Parameters
        ----------
        pretrained_model_name_or_path : path or str
            A folder as :meth:`save_pretrained` or braindecode writes it, or a Hub id such as ``user/model``.
        revision : str or None
            Branch, tag or commit on the Hub.
        cache_dir, force_download, local_files_only, token
            As ``huggingface_hub.hf_hub_download`` takes them.
        map_location : str
            Device to put the network on.
        **overrides
            Constructor arguments that replace those of the configuration. Another ``n_outputs`` gives the network
            an untrained head of that size on trained features.

        Raises
        ------
        BundleError
            Folder, repository or a file is missing or damaged, or weights and configuration do not fit.
        ArgumentError
            An override is unknown or wrong.
        MissingExtraError
            A Hub id was given without huggingface_hub installed.
        """
        folder = Path(pretrained_model_name_or_path)
        if folder.is_dir():
            config_file, weights_file = folder / CONFIG_FILE, folder / WEIGHTS_FILE
            if not weights_file.exists() and (folder / _PICKLED_WEIGHTS_FILE).exists():
                weights_file = folder / _PICKLED_WEIGHTS_FILE
        else:
            options = {
                "revision": revision,
                "cache_dir": cache_dir,
                "force_download": force_download,
                "local_files_only": local_files_only,
                "token": token,
            }
            config_file, weights_file = _download(str(pretrained_model_name_or_path), options)
        network = cls._restore(config_file, weights_file, overrides)
        return network.to(map_location).eval()

    @classmethod
    def _restore(cls, config_file: Path, weights_file: Path, overrides: dict[str, Any]) -> Self:
        config = _read_config(config_file)
        head = overrides.pop("n_outputs", None)
        weights = read_state_dict(weights_file)
        try:
            network = restore(lambda: cls.from_config(config | overrides), weights, weights_file)
        except ArgumentError as error:
            if overrides:
                raise
            msg = f"{config_file}: the configuration is not one of {cls.__name__}: {error}"
            raise BundleError(msg) from error
        if head is not None and head != network.get_config()["n_outputs"]:
            network.reset_head(head)
        return network

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
    ) -> str:
        """Upload what :meth:`save_pretrained` writes to the Hugging Face Hub, in one commit.

        Parameters
        ----------
        repo_id : str
            ``user/model``; the repository is made when missing.
        commit_message : str or None
        private : bool or None
            Whether a new repository is private; None leaves it to the account's default.
        token : str or None
            By default the token that ``hf auth login`` stored.
        branch : str or None
        create_pr : bool or None
            Open a pull request instead of committing.

        Returns
        -------
        str
            Address of the commit.

        Raises
        ------
        BundleError
            The Hub refused or cannot be reached.
        MissingExtraError
            huggingface_hub is not installed.
        """
        api = _hub_api(token)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            try:
                full_id = api.create_repo(repo_id=repo_id, private=private, exist_ok=True).repo_id
                commit = api.upload_folder(
                    repo_id=full_id,
                    folder_path=folder,
                    commit_message=commit_message or f"Upload {type(self).__name__}",
                    revision=branch,
                    create_pr=create_pr,
                )
            except _hub_errors() as error:
                msg = f"{repo_id}: the upload to the Hugging Face Hub failed ({_first_line(error)})."
                raise BundleError(msg) from error
        return str(commit)

    def _model_card(self) -> str:
        config = self.get_config()
        name = type(self).__name__
        return (
            f"---\ntags:\n- eeg\n- motor-imagery\n- {name}\n---\n# {name}\n\n"
            f"{name} (Wimpff et al. 2023, arXiv 2310.11198) with {config['n_outputs']} outputs; `config.json` holds all "
            "arguments of its constructor, `model.safetensors` the weights.\n\n"
            f'```python\nfrom mindwire_models import {name}  # Mindwire\n\nnetwork = {name}.from_pretrained("FOLDER_OR_HUB_ID")\n```\n\n'
            f"braindecode reads the same folder: `braindecode.models.{name}.from_pretrained(...)`.\n"
        )


def resolve_activation(path: str) -> type[nn.Module]:
    """The class of ``torch.nn`` that a configuration names, without importing anything.

    Parameters
    ----------
    path : str
        ``torch.nn.ELU``, or in full ``torch.nn.modules.activation.ELU``.

    Raises
    ------
    ArgumentError
        It names no module class of ``torch.nn``.
    """
    name = path.rpartition(".")[2]
    found = getattr(nn, name, None) if path.startswith("torch.nn.") else None
    if not (isinstance(found, type) and issubclass(found, nn.Module)) or path not in {
        f"torch.nn.{name}",
        _dotted(found),
    }:
        msg = f"activation must name a class of torch.nn, such as torch.nn.ELU; found {path!r}."
        raise ArgumentError(msg)
    return found


def _dotted(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _to_json(value: Any) -> Any:
    if isinstance(value, type):
        path = _dotted(value)
        resolve_activation(path)
        return path
    if isinstance(value, Mapping):
        return {str(key): _to_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    # MNE's channel descriptions hold integers and strings of classes of their own.
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)
    return value


def _channel_from_json(channel: Any) -> Any:
    if isinstance(channel, dict) and isinstance(channel.get("loc"), list):
        return channel | {"loc": np.array(channel["loc"], dtype=float)}
    return channel


def _read_config(path: Path) -> dict[str, Any]:
    return parse_json_object(read_regular(path, 16 * MIB, BundleError), path, "a configuration", BundleError)


def _hub_api(token: str | None = None) -> HfApi:
    try:
        from huggingface_hub import HfApi
    except ModuleNotFoundError as error:
        msg = (
            "The Hugging Face Hub needs huggingface_hub; install it with: pip install '.[torch]' in Mindwire's folder."
        )
        raise MissingExtraError(msg) from error
    return HfApi(token=token)


def _hub_errors() -> tuple[type[Exception], ...]:
    import httpx2
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RevisionResolutionError

    return (httpx2.HTTPError, OSError, HFValidationError, EntryNotFoundError, RevisionResolutionError)


def _download(model_id: str, options: dict[str, Any]) -> tuple[Path, Path]:
    api = _hub_api()
    from huggingface_hub.errors import RemoteEntryNotFoundError

    try:
        _require_reachable(api, model_id, options)
        config_file = api.hf_hub_download(model_id, CONFIG_FILE, **options)
        try:
            weights_file = api.hf_hub_download(model_id, WEIGHTS_FILE, **options)
        except RemoteEntryNotFoundError:
            weights_file = api.hf_hub_download(model_id, _PICKLED_WEIGHTS_FILE, **options)
    except _hub_errors() as error:
        msg = (
            f"{model_id}: there is no such folder here, and no such model could be had from the Hugging Face Hub "
            f"({_first_line(error)})."
        )
        raise BundleError(msg) from error
    return Path(config_file), Path(weights_file)


def _require_reachable(api: HfApi, model_id: str, options: Mapping[str, Any]) -> None:
    """Ask once for what is not in the cache: without a network, ``hf_hub_download`` tries again for half a minute."""
    from huggingface_hub import hf_hub_url, try_to_load_from_cache

    revision, cache_dir = options["revision"], options["cache_dir"]
    cached = try_to_load_from_cache(model_id, CONFIG_FILE, cache_dir=cache_dir, revision=revision)
    if not options["local_files_only"] and not isinstance(cached, str):
        url = hf_hub_url(model_id, CONFIG_FILE, revision=revision, endpoint=api.endpoint)
        api.get_hf_file_metadata(url=url, token=options["token"])


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
