"""From the source's channels to the contract's: by label, in the contract's order and unit.

Channels are never taken by position unless the user named them. Labels are compared without case and
decoration, and the two spellings of the temporal electrodes (T3/T7 …) are one.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import ContractError
from mindwire.signal.labels import normalise_label, parse_unit
from mindwire.types import SignalInfo
from mindwire_models.contract import Alignment, Contract
from mindwire_models.text import counted

log = logging.getLogger(__name__)

_VOLTS = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "nV": 1e-9}


@dataclass(frozen=True, slots=True)
class Montage:
    """Source channels that feed the contract's, and the factor to the contract's unit.

    Parameters
    ----------
    indices : ndarray of intp, shape (n_channels,)
        Source channel for each channel of the contract.
    scale : ndarray of float64, shape (n_channels,)
    note : str
        What was assumed, one sentence; empty when nothing was.
    units : tuple of str
        Unit that each of these source channels is taken to have.
    scaled : bool
        False where all factors are 1.
    """

    indices: NDArray[np.intp]
    scale: NDArray[np.float64]
    note: str = ""
    units: tuple[str, ...] = ()
    scaled: bool = True

    def apply(self, samples: NDArray[np.generic]) -> NDArray[np.float64]:
        """Select, order and convert samples, ``(n_samples, n_source_channels)``, to ``(n_samples, n_channels)``."""
        chosen = samples.take(self.indices, axis=1).astype(np.float64, copy=False)
        if self.scaled:
            with np.errstate(over="ignore"):  # values out of range become infinite, and are flagged as such
                chosen *= self.scale
        return chosen


def resolve_montage(
    contract: Contract, info: SignalInfo, channels: tuple[str, ...] | None = None, unit: str | None = None
) -> Montage:
    """Match a source with a contract, and warn of what is assumed.

    Parameters
    ----------
    contract : Contract
    info : SignalInfo
    channels : tuple of str or None
        Labels by position, given by the user for a source that names none (or names them wrongly);
        source channels beyond the last label are not used.
    unit : str or None
        Unit given by the user; overrides what the source says.

    Raises
    ------
    ContractError
        Channels are missing or ambiguous, labels or units are unknown.
    """
    labels = _labels(info, channels)
    places: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        places.setdefault(normalise_label(label), []).append(index)
    found = {label: places.get(normalise_label(label), []) for label in contract.channels}
    if missing := [label for label, where in found.items() if not where]:
        msg = (
            f"The model needs {counted(contract.n_channels, 'channel')}, but {info.name!r} lacks {', '.join(missing)}; "
            f"it has {', '.join(labels)}. Use a model made for this cap, or name the channels with --channels."
            f"{remarks(info)}"
        )
        raise ContractError(msg)
    if twice := [label for label, where in found.items() if len(where) > 1]:
        msg = (
            f"{info.name!r} has more than one channel called {', '.join(twice)}, so the right one is unknown; "
            "name the channels with --channels."
        )
        raise ContractError(msg)
    indices = np.array([where[0] for where in found.values()], dtype=np.intp)
    scale, note = _scale(contract, info, indices, unit, by_position=channels is not None)
    if channels is not None and len(channels) < info.n_channels:
        unused = info.n_channels - len(channels)
        note = f"{info.name!r} has {counted(info.n_channels, 'channel')}, {len(channels)} are named; {unused} unused. {note}".strip()
    if note:
        _warn_once(note)
    volts = scale * _VOLTS[contract.unit]
    units = tuple(min(_VOLTS, key=lambda name: abs(math.log10(_VOLTS[name] / v))) for v in volts.tolist())
    return Montage(indices, scale, note, units, bool((scale != 1).any()))


@lru_cache
def _warn_once(note: str) -> None:
    """Warn of an assumption once, however many pipelines assume it."""
    log.warning("%s", note)


def _labels(info: SignalInfo, channels: tuple[str, ...] | None) -> tuple[str, ...]:
    if channels is not None:
        if len(channels) > info.n_channels:
            msg = (
                f"--channels names {counted(len(channels), 'channel')}, but {info.name!r} has {info.n_channels}; "
                "give at most one label per channel, in the stream's order."
            )
            raise ContractError(msg)
        return channels
    if info.labels is None:
        msg = (
            f"{info.name!r} has {counted(info.n_channels, 'channel')} without labels, and channels are never taken by position; "
            f'name them in order with --channels "C3,C4,…".{remarks(info)}'
        )
        raise ContractError(msg)
    return info.labels


def remarks(info: SignalInfo) -> str:
    """Return the oddities of a signal's description as a sentence that ends a message; empty without any."""
    return f" Mind that {'; '.join(info.remarks)}." if info.remarks else ""


def _scale(
    contract: Contract, info: SignalInfo, indices: NDArray[np.intp], unit: str | None, *, by_position: bool
) -> tuple[NDArray[np.float64], str]:
    target = _VOLTS[contract.unit]
    stated = ["" if info.units is None else info.units[i] for i in indices]
    known_units = [parse_unit(text) for text in stated]
    if unit is not None:
        known = parse_unit(unit)
        if known is None:
            msg = f"Unit {unit!r} is unknown; give V, mV, uV or nV."
            raise ContractError(msg)
        others = sorted({other for other in known_units if other not in (None, known)})
        note = f"{info.name!r} states the unit {', '.join(map(str, others))}, --unit says {known}; {known} is used."
        return np.full(len(indices), _VOLTS[known] / target), note if others else ""
    if not any(stated) and by_position and isinstance(contract.normalisation, Alignment):
        # A user who names the channels of a bare stream knows it, and alignment cancels any common factor.
        note = f"{info.name!r} states no unit; {contract.unit} is assumed, and alignment cancels the scale."
        return np.ones(len(indices)), note
    unknown = sorted({text or "none" for text, known in zip(stated, known_units, strict=True) if known is None})
    if unknown:
        says = "no unit" if unknown == ["none"] else f"the unit {', '.join(unknown)}"
        msg = (
            f"The model needs {contract.unit}, but {info.name!r} states {says}; say what it is with "
            "--unit V, mV, uV or nV (most amplifiers give uV)."
        )
        raise ContractError(msg)
    return np.array([_VOLTS[str(known)] / target for known in known_units]), ""
