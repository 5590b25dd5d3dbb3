"""Networks of braindecode from what ``save_pretrained`` wrote; the package is needed only here.

Its ``config.json`` has the arguments of the constructor, but not the class: that is given by name, or it is the one class that
takes these arguments and fits these weights. Nothing of a folder is executed: names of classes among the arguments resolve
within ``torch.nn`` and ``braindecode.modules`` alone.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import types
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from torch import nn

from mindwire_models.errors import ArgumentError, BundleError, ExportError, MindwireError, extra
from mindwire_models.external import ExternalDecoder
from mindwire_models.external_sources.modules import trace_decoder
from mindwire_models.graphs.external_check import Output
from mindwire_models.network.checkpoints import StateDict, restore
from mindwire_models.network.hub import resolve_activation
from mindwire_models.text import first_line

VERSION_KEY: Final = "braindecode_version"
_MODULES = "braindecode.modules"
# More classes than these take the same arguments only where there are next to none.
_MAX_CANDIDATES = 6


def read_braindecode(
    config: Mapping[str, Any],
    weights: StateDict,
    where: Path | str,
    *,
    architecture: str | None = None,
    output: Output | None = None,
    provenance: str,
) -> ExternalDecoder:
    """Return a network of braindecode as a decoder.

    Parameters
    ----------
    config : mapping
        Arguments of the constructor, as in ``config.json``.
    weights : mapping of str to Tensor
        All weights of the network.
    where : Path or str
        Names the folder in messages.
    architecture : str or None
        Name of a class of ``braindecode.models``; None where arguments and weights tell which.
    output, provenance
        As of an :class:`~mindwire_models.external.ExternalDecoder`.

    Raises
    ------
    ArgumentError
        The class is unknown, or arguments and weights leave open which one it is.
    BundleError
        The arguments or the weights are not those of the class.
    ExportError
        The network cannot be expressed in ONNX.
    MissingExtraError
        braindecode is not installed.
    """
    classes = _classes()
    arguments = {key: value for key, value in config.items() if key != VERSION_KEY}
    if architecture is not None:
        if architecture not in classes:
            known = ", ".join(sorted(name for name, kind in classes.items() if _takes(kind, arguments))) or "none"
            msg = (
                f"--architecture {architecture} is no class of braindecode.models; those that take the arguments of {where}: "
                f"{known}."
            )
            raise ArgumentError(msg)
        name, network = architecture, _build(classes[architecture], arguments, weights, where)
    else:
        name, network = _find(classes, arguments, weights, where)
    n_chans, n_times = _stated(network, "n_chans"), _stated(network, "n_times")
    if n_chans is None or n_times is None:
        msg = f"{where}: the configuration of {name} states no n_chans or no n_times, which its graph needs; add it there."
        raise ExportError(msg)
    sfreq = _stated(network, "sfreq")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return trace_decoder(
            network,
            _build(classes[name], arguments, weights, where),
            n_chans=int(n_chans),
            n_times=int(n_times),
            sfreq=None if sfreq is None else float(sfreq),
            output=output,
            source=f"braindecode {name}",
            provenance=provenance,
        )


def stand_in_for_torchaudio() -> None:
    """Let braindecode be imported where torchaudio cannot be: its parts then raise an error when they are used.

    braindecode requires torchaudio, whose builds lag behind PyTorch's, but few of its networks use it.
    """
    if "torchaudio" in sys.modules:
        return
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError):
        package = types.ModuleType("torchaudio")
        for part in ("functional", "transforms"):
            module = types.ModuleType(f"torchaudio.{part}")
            module.__getattr__ = _unavailable  # type: ignore[method-assign]
            setattr(package, part, module)
            sys.modules[module.__name__] = module
        sys.modules["torchaudio"] = package


def _unavailable(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)

    class Unavailable:
        def __init__(self, *_arguments: object, **_options: object) -> None:
            msg = f"torchaudio, whose {name} is needed, cannot be imported"
            raise RuntimeError(msg)

    return Unavailable


def _classes() -> dict[str, type[nn.Module]]:
    """Return braindecode's networks by name."""
    with extra("braindecode", "Networks of braindecode need the package braindecode"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if importlib.util.find_spec("braindecode") is not None:
            stand_in_for_torchaudio()
        models = importlib.import_module("braindecode.models")
        mixin = importlib.import_module("braindecode.models.base").EEGModuleMixin
    members: list[tuple[str, Any]] = inspect.getmembers(models, inspect.isclass)
    return {name: kind for name, kind in members if issubclass(kind, mixin) and kind is not mixin}


def _takes(kind: type[nn.Module], arguments: Mapping[str, Any]) -> bool:
    return arguments.keys() <= inspect.signature(kind).parameters.keys()


def _find(
    classes: Mapping[str, type[nn.Module]], arguments: Mapping[str, Any], weights: StateDict, where: Path | str
) -> tuple[str, nn.Module]:
    """Return the only network that takes the arguments and fits the weights, with its name."""
    # Networks that interpolate to other channels take the arguments of those within them.
    named = {name: kind for name, kind in classes.items() if getattr(kind, "_TARGET_CHS_INFO", None) is None}
    taking = [name for name, kind in named.items() if _takes(kind, arguments)]
    exact = [name for name in taking if inspect.signature(named[name]).parameters.keys() == arguments.keys()]
    candidates = exact or taking
    if not candidates or len(candidates) > _MAX_CANDIDATES:
        what = f"{len(candidates)} classes take its arguments" if candidates else "no class takes all its arguments"
        msg = f"{where}: expected the configuration of one class of braindecode.models, but {what}; name it with --architecture."
        raise ArgumentError(msg)
    fitting: dict[str, nn.Module] = {}
    refusals: list[MindwireError] = []
    for name in candidates:
        try:
            fitting[name] = _build(named[name], arguments, weights, where)
        except (ArgumentError, BundleError) as error:
            refusals.append(error)
    if not fitting and len(refusals) == 1:
        raise refusals[0]
    if len(fitting) != 1:
        found = f"{', '.join(fitting)} all do" if fitting else f"none of {', '.join(candidates)} does"
        msg = f"{where}: expected one class of braindecode.models to fit arguments and weights, but {found}; name it with --architecture."
        raise ArgumentError(msg)
    return next(iter(fitting.items()))


def _build(kind: type[nn.Module], arguments: Mapping[str, Any], weights: StateDict, where: Path | str) -> nn.Module:
    """Return a network with its weights, in evaluation mode."""
    resolved = {name: _resolve(name, value) for name, value in arguments.items()}
    renamed: Mapping[str, str] = getattr(kind, "mapping", None) or {}

    def make() -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return kind(**resolved)
            except Exception as error:  # whatever a constructor raises
                msg = f"{where}: braindecode's {kind.__name__} does not take these arguments ({first_line(error)})."
                raise BundleError(msg) from error

    network = restore(make, {renamed.get(name, name): tensor for name, tensor in weights.items()}, where, outline=False)
    return network.eval().requires_grad_(requires_grad=False)


def _resolve(name: str, value: Any) -> Any:
    """Return a constructor's argument; a dotted path becomes the class that it names."""
    if not isinstance(value, str) or "." not in value or not value.startswith(("torch.", f"{_MODULES}.")):
        return value
    if value.startswith("torch."):
        return resolve_activation(value)
    kind = getattr(importlib.import_module(_MODULES), value.rpartition(".")[2], None)
    if not (inspect.isclass(kind) and issubclass(kind, nn.Module)):
        msg = f"{name} must name a class of torch.nn or {_MODULES}, found {value!r}."
        raise ArgumentError(msg)
    return kind


def _stated(network: nn.Module, name: str) -> float | None:
    try:
        value = getattr(network, name)
    except (ValueError, AttributeError):
        return None
    return value if isinstance(value, int | float) else None
