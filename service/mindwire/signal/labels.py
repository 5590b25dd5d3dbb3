"""Channel labels and units as people and programs spell them, and which channels of a signal are EEG."""

from __future__ import annotations

import re

from mindwire.types import SignalInfo
from mindwire_models.electrodes import RENAMED

_PREFIX = re.compile(r"^(eeg|ch)[\s:_-]+", re.IGNORECASE)
_REFERENCE = re.compile(
    r"([\s_-]+(ref|le|ar|av|avg|average|car|a1|a2|m1|m2|a1a2|a1\+a2|m1m2|m1\+m2|linked|lm|mast|nose|org)"
    r"|\s*-\s*(nz|fpz|afz|fz|fcz|cz|cpz|pz|poz|oz|tp9|tp10))$",
    re.IGNORECASE,
)
_OTHER_LABEL = re.compile(
    r"([vh]?eog\w*|emg\w*|e[ck]g\w*|gsr|eda|resp\w*|ppg|bvp|spo2|pulse|temp\w*|acc\w*|gyr\w*|mag[xyz]?|battery"
    r"|counter|count|validation|status|sti\W*\d*|trig\w*|markers?|events?|time\w*|sample\w*|quality)([\s_-].*)?",
    re.IGNORECASE,
)

_PREFIXES = {"": "V", "m": "mV", "milli": "mV", "u": "uV", "mu": "uV", "micro": "uV", "n": "nV", "nano": "nV"}
_UNIT = re.compile(r"(|m|milli|u|mu|micro|n|nano)v(?:olt|olts)?")
# MNE-LSL writes a unit as the power of ten that makes it volts.
_EXPONENTS = {0.0: "V", -3.0: "mV", -6.0: "uV", -9.0: "nV", 1e-3: "mV", 1e-6: "uV", 1e-9: "nV"}
# A power of ten times volts. No device counts in tens of a unit: 10e-6 means 10^-6.
_POWER = re.compile(r"(?:1e|10e|10\^|10\*\*)[({]?([+-]?\d{1,2})[)}]?[*·×]?v(?:olts?)?")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻−", "0123456789--")


def bare_label(label: str) -> str:
    """A label without what is no part of the electrode's name: ``C3`` for ``EEG C3-CPz`` and ``C3..``."""
    bare = label.strip().rstrip(".").strip()
    previous = None
    while previous != bare:
        previous, bare = bare, _REFERENCE.sub("", _PREFIX.sub("", bare)).strip() or bare
    return bare


def normalise_label(label: str) -> str:
    """A label as labels are compared: no case, no decoration, one name per electrode."""
    folded = bare_label(label).casefold()
    return RENAMED.get(folded, folded)


def parse_unit(text: str) -> str | None:
    """The unit that LSL and EDF users mean by a spelling: ``V``, ``mV``, ``uV``, ``nV``; None when unknown."""
    try:
        return _EXPONENTS.get(float(text))
    except ValueError:
        pass
    # What is no letter stands for the micro sign where bytes of another encoding were read as UTF-8 or Latin-1.
    folded = re.sub("Â?[µμ\ufffd]|\x83[\xca\xea]", "u", text).casefold()
    raised = re.sub("(?<=10)(?=[⁰¹²³⁴⁵⁶⁷⁸⁹⁻])", "^", folded).translate(_SUPERSCRIPTS)
    if power := _POWER.fullmatch("".join(raised.split())):
        return _EXPONENTS.get(float(power[1]))
    found = _UNIT.fullmatch(re.sub(r"[\s._-]|\(s\)", "", folded))
    return _PREFIXES[found[1]] if found else None


def eeg_channels(info: SignalInfo) -> list[int]:
    """The channels that hold EEG, as far as types, units and labels tell; all where they tell nothing."""
    every = range(info.n_channels)
    types = [text.casefold() for text in info.types or ("",) * info.n_channels]
    labels = info.labels or ("",) * info.n_channels
    units = info.units or ("",) * info.n_channels
    if "eeg" in types:
        chosen = [i for i in every if types[i] == "eeg"]
    else:
        chosen = [i for i in every if types[i] in ("", "unknown", "data", "signal", "exg")] or list(every)
    if any(parse_unit(units[i]) for i in chosen):
        chosen = [i for i in chosen if not units[i].strip() or parse_unit(units[i])]
    return [i for i in chosen if not _OTHER_LABEL.fullmatch(bare_label(labels[i]).strip())] or chosen
