"""Contracts from another one, or from a network's sizes, and a few changes as a person writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mindwire_models.contract import CONTRACT_VERSION, Contract
from mindwire_models.errors import ContractError

if TYPE_CHECKING:
    from mindwire_models.external import ExternalDecoder
    from mindwire_models.network.attentionbasenet import AttentionBaseNet
    from mindwire_models.pipelines import FittedPipeline

_NONE = "none"
_ALIGNMENTS = ("euclidean", "riemannian")


def edit_contract(
    base: Contract | AttentionBaseNet | ExternalDecoder | FittedPipeline,
    *,
    highpass: str | None = None,
    lowpass: str | None = None,
    notch: Sequence[str] | None = None,
    normalisation: str | None = None,
    scale: str | None = None,
    forgetting: float | None = None,
    **given: Any,
) -> Contract:
    """Return a contract with some terms replaced; None leaves a term as it is.

    Parameters
    ----------
    base : Contract, AttentionBaseNet, ExternalDecoder or FittedPipeline
        A contract, or a network's sizes; channels, sampling rate and classes must then be given.
    highpass, lowpass : str or None
        ``FREQ`` or ``FREQ:ORDER`` in hertz, by default of order 2; ``none`` for no filter.
    notch : sequence of str or None
        Each ``FREQ`` or ``FREQ:Q``; ``none`` for no notches.
    normalisation : str or None
        ``none``, ``euclidean`` or ``riemannian``.
    scale, forgetting : str, float or None
        Of an alignment: ``window_sum`` or ``sample_mean``, and seconds.
    **given
        Other fields of the contract.

    Raises
    ------
    ContractError
        A term is missing, malformed, or contradicts the others.
    """
    terms = base.model_dump(mode="json") if isinstance(base, Contract) else _sizes(base)
    terms |= {name: value for name, value in given.items() if value is not None}
    options = {"channels": "--channels", "sfreq": "--sfreq", "classes": "--classes", "window_samples": "--window"}
    missing = [name for name in options if terms[name] is None]
    if missing:
        msg = (
            f"A contract is needed: give --contract FILE or --preset NAME, or at least {', '.join(missing)} "
            f"({', '.join(options[name] for name in missing)})."
        )
        raise ContractError(msg)
    for name, text in (("highpass", highpass), ("lowpass", lowpass)):
        if text is not None:
            terms["filters"][name] = None if text == _NONE else _butterworth(name, text)
    if notch is not None:
        terms["filters"]["notch"] = [] if list(notch) == [_NONE] else [_notch(text) for text in notch]
    terms["normalisation"] = _normalisation(terms["normalisation"], terms["sfreq"], normalisation, scale, forgetting)
    terms["sos"] = []  # designed from the new filters
    return Contract.parse(terms, "the contract as changed")


def update_terms(sfreq: float) -> dict[str, Any]:
    """Return an alignment's terms where nothing else is given: updates once a second, trusted after five."""
    return {"update_samples": round(sfreq), "ready_samples": round(5.0 * sfreq)}


def _sizes(network: AttentionBaseNet | ExternalDecoder | FittedPipeline) -> dict[str, Any]:
    return {
        "version": CONTRACT_VERSION,
        "channels": None,
        "sfreq": network.sfreq,
        "filters": {},
        "normalisation": {"kind": _NONE},
        "window_samples": getattr(network, "n_times", None),  # a fitted pipeline does not tell
        "hop_samples": 10,
        "classes": None,
    }


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        msg = (
            f"{name}: expected a number in hertz, optionally with a second one after a colon, or none; found {text!r}."
        )
        raise ContractError(msg) from None


def _butterworth(name: str, text: str) -> dict[str, Any]:
    freq, _, order = text.partition(":")
    if order and not order.isdecimal():
        msg = f"{name}: expected FREQ:ORDER with a whole number as order, found {text!r}."
        raise ContractError(msg)
    return {"freq": _number(name, freq), "order": int(order or 2)}


def _notch(text: str) -> dict[str, Any]:
    freq, _, q = text.partition(":")
    return {"freq": _number("notch", freq)} | ({"q": _number("notch", q)} if q else {})


def _normalisation(
    old: dict[str, Any], sfreq: float, kind: str | None, scale: str | None, forgetting: float | None
) -> dict[str, Any]:
    kind = kind or old["kind"]
    if kind not in {*_ALIGNMENTS, _NONE, "zscore"} or (kind == "zscore" and old["kind"] != "zscore"):
        msg = f"normalisation: expected none, euclidean or riemannian (zscore needs --contract), found {kind!r}."
        raise ContractError(msg)
    if kind not in _ALIGNMENTS:
        if scale is not None or forgetting is not None:
            msg = f"Scale and forgetting belong to an alignment, but the normalisation is {kind}; leave them out."
            raise ContractError(msg)
        return old if kind == old["kind"] else {"kind": kind}
    given = {"kind": kind, "scale": scale, "forgetting_seconds": forgetting}
    new = update_terms(sfreq) | (old if old["kind"] in _ALIGNMENTS else {})
    new |= {name: term for name, term in given.items() if term is not None}
    if "scale" not in new:
        msg = "An alignment needs its scale: --scale window_sum or sample_mean, as the model was trained."
        raise ContractError(msg)
    return new
