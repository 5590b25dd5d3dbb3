"""From the source's channels to the contract's: by label, in the contract's order and unit.

Channels are never taken by position unless the user named them. Labels are compared without case and
decoration, and the two spellings of the temporal electrodes (T3/T7 …) are one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.contract import Alignment, Contract
from service.errors import ContractError
from service.types import SignalInfo

# Modified combinatorial nomenclature (American Clinical Neurophysiology Society 2006) and its old names.
_SAME_PLACE = {"t3": "t7", "t4": "t8", "t5": "p7", "t6": "p8"}
_DECORATION = re.compile(r"^(eeg|ch)[\s:_-]+|[\s_-]+(ref|le|av|avg|a1|a2|m1|m2)$", re.IGNORECASE)

_VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "nV": 1e-9}
_SPELLINGS = {
    "v": "V", "volt": "V", "volts": "V",
    "mv": "mV", "millivolt": "mV", "millivolts": "mV",
    "uv": "uV", "microvolt": "uV", "microvolts": "uV", "muv": "uV",
    "nv": "nV", "nanovolt": "nV", "nanovolts": "nV",
}  # fmt: skip


def normalise_label(label: str) -> str:
    """A label as labels are compared: no case, no decoration, one name per electrode."""
    bare = label.strip().rstrip(".").strip()
    previous = None
    while previous != bare:
        previous, bare = bare, _DECORATION.sub("", bare).strip()
    folded = bare.casefold()
    return _SAME_PLACE.get(folded, folded)


def parse_unit(text: str) -> str | None:
    """The unit that LSL and EDF users mean by a spelling: ``V``, ``mV``, ``uV``, ``nV``; None when unknown."""
    folded = text.strip().replace("µ", "u").replace("μ", "u").casefold()
    return _SPELLINGS.get(folded)


@dataclass(frozen=True, slots=True)
class Montage:
    """Which source channels feed the contract's, and the factor to the contract's unit.

    Parameters
    ----------
    indices : ndarray of intp, shape (n_channels,)
        Source channel for each channel of the contract.
    scale : ndarray of float64, shape (n_channels,)
    note : str
        What was assumed, one sentence; empty when nothing was.
    key : bytes
        The same for montages that do the same.
    """

    indices: NDArray[np.intp]
    scale: NDArray[np.float64]
    note: str = ""
    key: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.indices.tobytes() + self.scale.tobytes())

    def apply(self, samples: NDArray[np.generic]) -> NDArray[np.float64]:
        """Select, order and convert samples.

        Parameters
        ----------
        samples : ndarray, shape (n_samples, n_source_channels)

        Returns
        -------
        ndarray of float64, shape (n_samples, n_channels)
        """
        selected: NDArray[np.float64] = np.multiply(samples.take(self.indices, axis=1), self.scale, dtype=np.float64)
        return selected


def resolve_montage(
    contract: Contract, info: SignalInfo, channels: tuple[str, ...] | None = None, unit: str | None = None
) -> Montage:
    """Match a source with a contract.

    Parameters
    ----------
    contract : Contract
    info : SignalInfo
    channels : tuple of str or None
        Labels by position, given by the user for a source that names none (or names them wrongly);
        source channels beyond the last label are not used.
    unit : str or None
        Unit given by the user; overrides what the source says.

    Returns
    -------
    Montage

    Raises
    ------
    ContractError
        Channels are missing or ambiguous, labels or units are unknown.
    """
    labels = _labels(info, channels)
    places: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        places.setdefault(normalise_label(label), []).append(index)
    found = [places.get(normalise_label(label), []) for label in contract.channels]
    missing = [label for label, where in zip(contract.channels, found, strict=True) if not where]
    if missing:
        msg = (
            f"The model needs {contract.n_channels} channels, but {info.name!r} lacks {', '.join(missing)}; "
            f"it has {', '.join(labels)}. Use a model made for this cap, or name the channels with --channels."
        )
        raise ContractError(msg)
    twice = [label for label, where in zip(contract.channels, found, strict=True) if len(where) > 1]
    if twice:
        msg = (
            f"{info.name!r} has more than one channel called {', '.join(twice)}, so the right one is unknown; "
            "name the channels with --channels."
        )
        raise ContractError(msg)
    indices = np.array([where[0] for where in found], dtype=np.intp)
    scale, note = _scale(contract, info, indices, unit, by_position=channels is not None)
    return Montage(indices, scale, note)


def _labels(info: SignalInfo, channels: tuple[str, ...] | None) -> tuple[str, ...]:
    if channels is not None:
        if len(channels) > info.n_channels:
            msg = (
                f"--channels names {len(channels)} channels, but {info.name!r} has {info.n_channels}; "
                "give at most one label per channel, in the stream's order."
            )
            raise ContractError(msg)
        return channels
    if info.labels is None:
        msg = (
            f"{info.name!r} has {info.n_channels} channels without labels, and channels are never taken by position; "
            'name them in order with --channels "C3,C4,…".'
        )
        raise ContractError(msg)
    return info.labels


def _scale(
    contract: Contract, info: SignalInfo, indices: NDArray[np.intp], unit: str | None, *, by_position: bool
) -> tuple[NDArray[np.float64], str]:
    target = _VOLTS[contract.unit]
    if unit is not None:
        known = parse_unit(unit)
        if known is None:
            msg = f"Unit {unit!r} is unknown; give V, mV, uV or nV."
            raise ContractError(msg)
        return np.full(len(indices), _VOLTS[known] / target), ""
    stated = ["" if info.units is None else info.units[i] for i in indices]
    if not any(stated) and by_position and isinstance(contract.normalisation, Alignment):
        # Whoever names the channels of a bare stream knows it, and alignment cancels any common factor.
        note = f"{info.name!r} states no unit; {contract.unit} is assumed, and alignment cancels the scale."
        return np.ones(len(indices)), note
    known_units = [parse_unit(text) for text in stated]
    unknown = sorted({text or "none" for text, known in zip(stated, known_units, strict=True) if known is None})
    if unknown:
        msg = (
            f"The model needs {contract.unit}, but {info.name!r} states the unit {', '.join(unknown)}; "
            "say what it is with --unit V, mV, uV or nV."
        )
        raise ContractError(msg)
    return np.array([_VOLTS[str(known)] / target for known in known_units]), ""
