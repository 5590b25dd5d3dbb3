"""Contract of a model to be trained: from the recording's own labels and rate, and a few choices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mindwire.errors import ContractError
from mindwire.signal.labels import bare_label, eeg_channels
from mindwire.signal.montage import remarks
from mindwire.signal.named_channels import check_pick, electrodes
from mindwire.types import SignalInfo
from mindwire_models.contract import Alignment, Butterworth, Contract, Filters
from mindwire_models.contract_edit import edit_contract, update_terms
from mindwire_models.text import counted

# The mu and beta rhythms, where imagined movement shows.
_BAND = Filters(highpass=Butterworth(order=4, freq=8.0), lowpass=Butterworth(order=4, freq=30.0))
_HOP_SECONDS = 0.04
_ALL = "all"


def make_contract(
    base: Contract | None,
    info: SignalInfo,
    classes: Sequence[str],
    *,
    labels: Sequence[str] | None = None,
    pick: Sequence[str] | None = None,
    sfreq: float | None = None,
    window_s: float | None = None,
    hop_s: float | None = None,
    normalisation: str | None = None,
    **terms: Any,
) -> Contract:
    """Make the contract to train for.

    Parameters
    ----------
    base : Contract or None
        A preset or file whose terms hold where nothing was chosen. None starts from the recording: its electrodes, its
        nominal rate, 8 to 30 Hz, windows of 4 s, Riemannian alignment.
    info : SignalInfo
        Signal of the first recording.
    classes : sequence of str
    labels : sequence of str, optional
        Labels by position, for a recording that names no channels.
    pick : sequence of str, optional
        Channels of the model; ``all`` takes every EEG channel.
    window_s, hop_s : float, optional
        Seconds.
    sfreq, normalisation, **terms
        As :func:`edit_contract` takes them.

    Raises
    ------
    ContractError
        Channels are named neither by the recording nor by the caller, or the choices contradict each other.
    """
    if pick is not None and [name.casefold() for name in pick] == [_ALL]:
        pick = [bare_label(label) for label in labels or _eeg_labels(info)]
    elif pick is not None:
        check_pick(pick, labels or info.labels or pick)
    start = base or _from_recording(info, classes, labels, picked=pick is not None)
    rate = sfreq or start.sfreq
    ratio = rate / start.sfreq
    aligned = normalisation in {"euclidean", "riemannian"}
    return edit_contract(
        start,
        channels=pick,
        sfreq=sfreq,
        normalisation=normalisation,
        scale="sample_mean" if aligned and not isinstance(start.normalisation, Alignment) else None,
        window_samples=round(start.window_samples * ratio if window_s is None else window_s * rate),
        hop_samples=max(1, round(start.hop_samples * ratio if hop_s is None else hop_s * rate)),
        classes=classes,
        temperature=1.0,
        **terms,
    )


def _from_recording(
    info: SignalInfo, classes: Sequence[str], channels: Sequence[str] | None, *, picked: bool
) -> Contract:
    labels = _eeg_labels(info) if channels is None else tuple(channels)
    if channels is None and info.labels is None:
        msg = (
            f"{info.name!r} has {counted(info.n_channels, 'channel')} without labels, and channels are never taken by position; "
            f'name them in order with --channels "C3,C4,…".{remarks(info)}'
        )
        raise ContractError(msg)
    if not info.sfreq > 0:
        msg = f"{info.name!r} has no nominal rate; say with --rate which it really has."
        raise ContractError(msg)
    tidy = tuple(map(bare_label, labels))
    return Contract(
        channels=tidy if picked else electrodes(info.name, tidy),
        sfreq=info.sfreq,
        filters=_BAND,
        normalisation=Alignment(kind="riemannian", scale="sample_mean", **update_terms(info.sfreq)),
        window_samples=round(4.0 * info.sfreq),
        hop_samples=max(1, round(_HOP_SECONDS * info.sfreq)),
        classes=tuple(classes),
    )


def _eeg_labels(info: SignalInfo) -> tuple[str, ...]:
    return tuple(info.labels[i] for i in eeg_channels(info)) if info.labels else ()
