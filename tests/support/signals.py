"""Small contracts, signals and ways of cutting them, shared by the tests of the signal's way."""

from __future__ import annotations

import numpy as np

from mindwire.types import Chunk, SignalInfo
from mindwire_models.contract import Alignment, Butterworth, Contract, Filters

LABELS = ("C3", "Cz", "C4")


def small_contract(**changes) -> Contract:
    values = {
        "channels": LABELS,
        "sfreq": 100.0,
        "unit": "uV",
        "filters": Filters(highpass=Butterworth(order=2, freq=1.0), lowpass=Butterworth(order=4, freq=30.0)),
        "normalisation": Alignment(kind="euclidean", scale="window_sum", update_samples=50, ready_samples=100),
        "window_samples": 120,
        "hop_samples": 7,
        "classes": ("left_hand", "right_hand"),
    }
    return Contract(**{**values, **changes})


def signal_info(**changes) -> SignalInfo:
    values = {
        "name": "cap",
        "type": "EEG",
        "sfreq": 100.0,
        "n_channels": 3,
        "labels": LABELS,
        "units": ("microvolts",) * 3,
    }
    return SignalInfo(**{**values, **changes})


def noise(n_samples: int, n_channels: int = 3, seed: int = 0, scale: float = 20.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n_samples, n_channels)) * scale


def cut(samples: np.ndarray, times: np.ndarray, sizes) -> list[Chunk]:
    """Chunks of the given sizes, over and over, until the signal is used up."""
    chunks, start = [], 0
    while start < len(times):
        for size in sizes:
            if start >= len(times):
                break
            chunks.append(Chunk(samples[start : start + size], times[start : start + size]))
            start += size
    return chunks
