"""Groups of options of everything that trains, and the check of their ``KEY=VALUE`` entries."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mindwire.cli.groups import Given, option
from mindwire.cli.options import CONTRACT, PRESET, RAY
from mindwire.errors import UsageError
from mindwire_models.errors import extra

if TYPE_CHECKING:
    from mindwire.training.fit import Candidate
    from mindwire_models.bundle import Bundle
    from mindwire_models.contract import Contract
    from mindwire_models.parallel import Parallel
    from mindwire_models.training.fit import Recipe

# Options that a bundle to start from decides.
OF_START = (
    "--preset",
    "--contract",
    "--pick",
    "--sfreq",
    "--window",
    "--hop",
    "--highpass",
    "--lowpass",
    "--notch",
    "--normalisation",
    "--forgetting",
    "--reference",
    "--start",
    "--network",
    "--sweep",
)
# Options that only the training of a network has.
OF_NETWORK = ("--start", "--network", "--recipe", "--epochs", "--members", "--seed", "--seeds", "--jobs", "--ray")

Value = bool | int | float | str | None

_WORDS: dict[str, Value] = {"none": None, "true": True, "false": False}
# Parts of a recipe that are options of their own.
_SEPARATE = {"augmentation", "initialisation", "seed"}
# What the contract decides is no choice of the network.
_CONTRACTS = {"n_times", "n_chans", "n_outputs", "chs_info", "sfreq", "input_window_seconds", "activation"}


@dataclass(frozen=True, slots=True)
class Trials:
    """Part of a trial that is trained on."""

    PANEL = "Trials"
    offset: float = option("Seconds after the cue at which a trial begins to count.", 0.0)
    length: float | None = option(
        "Seconds that a trial counts; by default until the marker that ends it or the next cue, at most 5."
    )
    slide: float | None = option(
        "Seconds by which windows may reach beyond a trial that is hardly longer than they are; by default 18 % "
        "of a window.",
        min=0.0,
    )


@dataclass(frozen=True, slots=True)
class Terms:
    """Contract of the model to train."""

    PANEL = "Contract"
    preset: str | None = PRESET
    contract: Path | None = CONTRACT
    pick: str | None = option("Channels of the model, comma-separated, or all; by default all electrodes.")
    sfreq: float | None = option("Sampling rate of the model in Hz; by default the recording's.")
    window_s: float | None = option("Window in seconds.", None, "--window")
    hop_s: float | None = option("Seconds between two windows, live.", None, "--hop")
    highpass: str | None = option("FREQ or FREQ:ORDER in Hz, or none.")
    lowpass: str | None = option("FREQ or FREQ:ORDER in Hz, or none.")
    notch: list[str] | None = option("FREQ or FREQ:Q in Hz; may be repeated.")
    normalisation: Literal["riemannian", "euclidean", "none"] | None = option("Online alignment of the signal.")
    forgetting: float | None = option("Time constant of the alignment's exponential forgetting in seconds.")

    def terms(self) -> dict[str, Any]:
        """Return the terms that are given, as :func:`make_contract` takes them."""
        from mindwire.signal.named_channels import split_labels

        given = asdict(self) | {"pick": split_labels(self.pick)}
        return {key: value for key, value in given.items() if key not in ("preset", "contract")}


@dataclass(frozen=True, slots=True)
class Training:
    """Network and recipe."""

    PANEL = "Training"
    start: Literal["tangent_space", "random"] | None = option(
        "Weight initialisation; by default tangent_space if the high-pass is at 4 Hz or above, otherwise random."
    )
    network: list[str] | None = option(
        "Argument of the network: attention_mode=se; may be repeated.", metavar="KEY=VALUE"
    )
    recipe: list[str] | None = option(
        "Part of the recipe: learning_rate=5e-4, mixup=0.2; may be repeated.", metavar="KEY=VALUE"
    )
    epochs: int | None = option("Passes over the trials.", min=1)
    members: int = option("Networks that decide together, as one graph.", 1, min=1)
    seed: int = option("Random seed of the first network.", 0)
    seeds: int = option("Number of seeds to evaluate; for train, in a sweep.", 1, min=1)
    jobs: int | None = option("Trainings that run at the same time; by default one per core.", min=1)
    ray: str | None = RAY

    def parallel(self, given: Given) -> Parallel | None:
        """Return where trainings run; None is one per core."""
        from mindwire_models.parallel import Parallel

        if self.ray is not None:
            given.refuse("--jobs", why="With --ray the cluster decides how many run at the same time")
        return None if self.jobs is None and self.ray is None else Parallel(self.jobs or 1, self.ray)

    def check(self) -> None:
        """Refuse unknown arguments of the network."""
        if self.network:
            parse_network(self.network)

    def candidate(self, contract: Contract, start: Bundle | None = None) -> Candidate:
        """Return the network and recipe to train; with ``start`` the network of a bundle, to train on."""
        from mindwire.training.run import candidate
        from mindwire.training.transfer import starting_candidate

        first = candidate(contract, self.start) if start is None else starting_candidate(start, contract.classes)
        return replace(
            first,
            recipe=parse_recipe(first.recipe, self.recipe or [], epochs=self.epochs, seed=self.seed),
            network_arguments={**first.network_arguments, **parse_network(self.network or [])},
            members=self.members,
        )


def parse_value(text: str) -> Value:
    """Return a number, None, true or false for text that reads as one, else the text."""
    text = text.strip()
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return _WORDS.get(text.casefold(), text)


def _pairs(entries: Sequence[str], option: str, known: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for entry in entries:
        key, _, value = (part.strip() for part in entry.partition("="))
        if not (key and value):
            msg = f"{option} expects KEY=VALUE, found {entry!r}."
            raise UsageError(msg)
        if key not in known:
            msg = f"{option}: {key!r} is unknown; known are {', '.join(known)}."
            raise UsageError(msg)
        pairs[key] = value
    return pairs


def network_keys() -> list[str]:
    """Return the arguments of the network that users may choose."""
    with extra("train", "Training needs PyTorch"):
        from mindwire_models.network.attentionbasenet import AttentionBaseNet
    return [key for key in inspect.signature(AttentionBaseNet).parameters if key not in _CONTRACTS]


def parse_network(entries: Sequence[str]) -> dict[str, Value]:
    """Return arguments of the network."""
    return {key: parse_value(text) for key, text in _pairs(entries, "--network", network_keys()).items()}


def parse_recipe(base: Recipe, entries: Sequence[str], *, epochs: int | None = None, seed: int = 0) -> Recipe:
    """Return a recipe with some parts replaced, those of the augmentation too."""
    from mindwire_models.training.augmentation import Augmentation
    from mindwire_models.training.fit import Recipe

    recipe = replace(base, seed=seed) if epochs is None else replace(base, seed=seed, epochs=epochs)
    own = {f.name: getattr(recipe, f.name) for f in fields(Recipe) if f.name not in _SEPARATE}
    of_augmentation = {f.name: f.default for f in fields(Augmentation)}
    pairs = _pairs(entries, "--recipe", [*own, *of_augmentation])
    values = {key: _like(key, text, (own | of_augmentation)[key]) for key, text in pairs.items()}
    augmentation = replace(recipe.augmentation, **{k: v for k, v in values.items() if k in of_augmentation})
    return replace(recipe, augmentation=augmentation, **{k: v for k, v in values.items() if k in own})


def _like(key: str, text: str, example: Any) -> Any:
    value = parse_value(text)
    if type(value) is int and type(example) is not int and not isinstance(example, bool):
        value = float(value)
    kind = type(example) if isinstance(example, int) else float
    if type(value) is not kind:
        msg = f"--recipe: {key} expects a value like {example}, found {text!r}."
        raise UsageError(msg)
    return value


def parse_sweep(entries: Sequence[str]) -> list[Mapping[str, Value]]:
    """Return every combination of the values of ``attention_mode=none,se`` and ``ch_dim=16,32``."""
    pairs = _pairs(entries, "--sweep", network_keys())
    values = [[parse_value(part) for part in text.split(",")] for text in pairs.values()]
    return [dict(zip(pairs, combination, strict=True)) for combination in product(*values)]


def base_contract(preset: str | None, file: Path | None) -> Contract | None:
    """Return the contract of ``--preset`` or ``--contract``, None without either."""
    from mindwire_models.contract import Contract
    from mindwire_models.presets import preset as preset_contract

    if preset is not None and file is not None:
        msg = "--preset and --contract both give a contract; choose one."
        raise UsageError(msg)
    if preset is not None:
        return preset_contract(preset)
    return None if file is None else Contract.read(file)
