"""Spectra and patterns of a network's filters, composed over its linear stages.

A spatial filter's weights extract a source's activity from the electrodes, and may be large where they only cancel noise.
Its pattern shows where that activity appears: the covariance of each electrode with the filter's output (Haufe et al. 2014).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from mindwire_models.contract import Alignment, Contract

if TYPE_CHECKING:
    from mindwire_models.graphs.folded_weights import FoldedWeights

_BATCH = 64
_RIDGE = 1e-6


def cross_spectra(windows: NDArray[np.floating]) -> NDArray[np.complex128]:
    """Return the mean cross-spectral matrices, ``(n_frequencies, n_chans, n_chans)``, of windows that are not aligned.

    Windows are ``(n_windows, n_chans, n_times)``, the frequencies those of ``np.fft.rfftfreq(n_times)``.
    """
    total = np.zeros((windows.shape[2] // 2 + 1, windows.shape[1], windows.shape[1]), dtype=np.complex128)
    for part in np.array_split(windows, max(1, -(-len(windows) // _BATCH))):
        spectra = np.fft.rfft(part, axis=2).transpose(2, 1, 0)
        total += spectra @ spectra.conj().transpose(0, 2, 1)
    total /= max(len(windows), 1)
    return total


def composed_gains(weights: FoldedWeights, contract: Contract, frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each temporal filter's gain after the contract's filters, relative to its peak, ``(width, n_frequencies)``."""
    gains = _gains(weights.taps, frequencies / contract.sfreq) * contract_gain(contract, frequencies)
    return np.asarray(gains / np.maximum(gains.max(axis=1, keepdims=True), np.finfo(float).tiny))


def contract_gain(contract: Contract, frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the gain of the contract's filters at frequencies in hertz."""
    if not contract.sos:
        return np.ones_like(frequencies)
    _, response = signal.sosfreqz(contract.sos, worN=2 * np.pi * frequencies / contract.sfreq)
    return np.abs(response)


def _gains(taps: NDArray[np.float64], frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gains of filters, ``(width, n_taps)``, at frequencies in cycles per sample."""
    return np.asarray(np.abs(taps @ np.exp(-2j * np.pi * np.outer(np.arange(taps.shape[1]), frequencies))))


def patterns(weights: FoldedWeights, contract: Contract, spectra: NDArray[np.complexfloating]) -> NDArray[np.float64]:
    """Return the covariance of each electrode with each filter's output, relative to the output's standard deviation.

    Spatial filter, temporal filter and alignment are composed; ``spectra`` are those of the conditioned signal before
    alignment, from :func:`cross_spectra`. The result is ``(width, n_chans)``.
    """
    powers = _gains(weights.taps, np.linspace(0, 0.5, len(spectra))) ** 2
    in_sensors = weights.spatial
    if isinstance(contract.normalisation, Alignment):
        values, vectors = np.linalg.eigh(spectra.sum(axis=0).real)
        values = np.maximum(values, _RIDGE * values.max())
        in_sensors = in_sensors @ (vectors / np.sqrt(values)) @ vectors.T
    passed = np.einsum("wf,fij->wij", powers, spectra.real, optimize=True)
    covariances = np.einsum("wij,wj->wi", passed, in_sensors)
    deviations = np.sqrt(np.maximum(np.einsum("wi,wi->w", covariances, in_sensors), np.finfo(float).tiny))
    return np.asarray(covariances / deviations[:, None])


def effects(weights: FoldedWeights) -> NDArray[np.float64]:
    """Return the first-order slope of each class's logit over each filter's power, ``(n_outputs, width)``.

    The activations between the stages are increasing, so that they do not change its sign.
    """
    after_stem = weights.mixing @ (weights.attention_taps.sum(axis=1)[:, None] * weights.expansion)
    shares = weights.head.sum(axis=2) @ after_stem
    return np.asarray(shares - shares.mean(axis=0))
