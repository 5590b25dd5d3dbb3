"""Options of everything that trains: trials and contract, ``KEY=VALUE`` for network and recipe, checked by what these know."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mindwire.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from mindwire_models.contract import Contract
    from mindwire_models.training.fit import Recipe

TRAINING = "Training"


def _option(text: str, **more: Any) -> Any:
    return typer.Option(help=text, rich_help_panel=TRAINING, **more)


Offset = Annotated[float, _option("Seconds after the cue at which a trial begins to count.")]
Length = Annotated[
    float | None, _option("Seconds that a trial counts; else until the marker that ends it or the next cue, at most 5.")
]
Slide = Annotated[
    float | None,
    _option(
        "Seconds by which windows may reach beyond a trial that is hardly longer than they are; else 18 % of a window.",
        min=0.0,
    ),
]
Pick = Annotated[str | None, _option("Channels of the model, comma-separated, or all; else all electrodes.")]
Sfreq = Annotated[float | None, _option("The model's sampling rate in hertz; else the recording's.")]
WindowSeconds = Annotated[float | None, _option("Window in seconds.")]
HopSeconds = Annotated[float | None, _option("Seconds between two windows, live.")]
Highpass = Annotated[str | None, _option("FREQ or FREQ:ORDER in hertz, or none.")]
Lowpass = Annotated[str | None, _option("FREQ or FREQ:ORDER in hertz, or none.")]
Notch = Annotated[list[str] | None, _option("FREQ or FREQ:Q in hertz; may be repeated.")]
Normalisation = Annotated[
    Literal["riemannian", "euclidean", "none"] | None, _option("How the signal is aligned online.")
]
Forgetting = Annotated[float | None, _option("Seconds of exponential forgetting of the alignment.")]
Start = Annotated[
    Literal["tangent_space", "random"] | None,
    _option(
        "Begin at the tangent-space classifier or at random weights; else the first where 4 Hz and less are filtered out."
    ),
]
Members = Annotated[int, _option("Networks that decide together, as one graph.", min=1)]

Value = bool | int | float | str | None

_WORDS: dict[str, Value] = {"none": None, "true": True, "false": False}
# Parts of a recipe that are options of their own.
_SEPARATE = {"augmentation", "initialisation", "seed"}
# What the contract decides is no choice of the network.
_CONTRACTS = {"n_times", "n_chans", "n_outputs", "chs_info", "sfreq", "input_window_seconds", "activation"}


def parse_value(text: str) -> Value:
    """A number where it is one, ``none``, ``true`` and ``false`` as such, else the text."""
    text = text.strip()
    if text.casefold() in _WORDS:
        return _WORDS[text.casefold()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _pairs(entries: Sequence[str], option: str) -> dict[str, str]:
    pairs = {}
    for entry in entries:
        key, separator, value = entry.partition("=")
        if not (separator and key.strip() and value.strip()):
            msg = f"{option} expects KEY=VALUE, found {entry!r}."
            raise UsageError(msg)
        pairs[key.strip()] = value.strip()
    return pairs


def _known(keys: Sequence[str], known: Sequence[str], option: str) -> None:
    for key in keys:
        if key not in known:
            msg = f"{option}: {key!r} is unknown; known are {', '.join(known)}."
            raise UsageError(msg)


def network_keys() -> list[str]:
    """Arguments of the network that a person may choose."""
    try:
        from mindwire_models.network.attentionbasenet import AttentionBaseNet
    except ModuleNotFoundError as error:
        msg = "Training needs PyTorch; install it with: pip install '.[train]' in Mindwire's folder."
        raise MissingExtraError(msg) from error
    return [key for key in inspect.signature(AttentionBaseNet).parameters if key not in _CONTRACTS]


def parse_network(entries: Sequence[str]) -> dict[str, Value]:
    """Arguments of the network.

    Raises
    ------
    UsageError
        An entry is malformed or its key unknown.
    """
    pairs = _pairs(entries, "--network")
    _known(list(pairs), network_keys(), "--network")
    return {key: parse_value(text) for key, text in pairs.items()}


def parse_recipe(base: Recipe, entries: Sequence[str], *, epochs: int | None = None, seed: int = 0) -> Recipe:
    """A recipe with some parts replaced, those of the augmentation among them.

    Raises
    ------
    UsageError
        An entry is malformed, its key unknown, or its value of another kind.
    """
    from mindwire_models.training.augmentation import Augmentation
    from mindwire_models.training.fit import Recipe

    recipe = replace(base, seed=seed) if epochs is None else replace(base, seed=seed, epochs=epochs)
    own = {f.name: getattr(recipe, f.name) for f in fields(Recipe) if f.name not in _SEPARATE}
    of_augmentation = {f.name: f.default for f in fields(Augmentation) if not f.name.startswith("mirror")}
    pairs = _pairs(entries, "--recipe")
    _known(list(pairs), [*own, *of_augmentation], "--recipe")
    values = {key: _like(key, text, own.get(key, of_augmentation.get(key))) for key, text in pairs.items()}
    augmentation = replace(recipe.augmentation, **{k: v for k, v in values.items() if k in of_augmentation})
    return replace(recipe, augmentation=augmentation, **{k: v for k, v in values.items() if k in own})


def _like(key: str, text: str, example: Any) -> Any:
    value = parse_value(text)
    if isinstance(example, bool):
        fits = isinstance(value, bool)
    elif isinstance(example, int):
        fits = isinstance(value, int) and not isinstance(value, bool)
    else:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        value = float(value) if fits else value  # type: ignore[arg-type]
    if not fits:
        msg = f"--recipe: {key} expects a value like {example}, found {text!r}."
        raise UsageError(msg)
    return value


def parse_sweep(entries: Sequence[str]) -> list[Mapping[str, Value]]:
    """Every combination of the values, ``attention_mode=none,se`` and ``ch_dim=16,32``.

    Raises
    ------
    UsageError
        An entry is malformed or its key unknown.
    """
    pairs = _pairs(entries, "--sweep")
    _known(list(pairs), network_keys(), "--sweep")
    combinations: list[dict[str, Value]] = [{}]
    for key, text in pairs.items():
        values = [parse_value(part) for part in text.split(",")]
        combinations = [{**combination, key: value} for combination in combinations for value in values]
    return list(combinations)


def base_contract(preset: str | None, contract: Path | None) -> Contract | None:
    """The contract to begin with, if any.

    Raises
    ------
    UsageError
        Both a preset and a file were named.
    """
    from mindwire_models.contract import Contract as Document
    from mindwire_models.presets import preset as preset_contract

    if preset is not None and contract is not None:
        msg = "--preset and --contract both give a contract; choose one."
        raise UsageError(msg)
    if preset is not None:
        return preset_contract(preset)
    return None if contract is None else Document.read(contract)
