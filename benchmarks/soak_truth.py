"""Expected predictions of the soak: each cap repeats a known signal, and what a window gives is computed beforehand."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.signal import sosfilt

from mindwire_models.contract import Butterworth, Contract, Filters
from tests.support.lsl_cap import TABLE, Cap, table_of

SFREQ, LABELS = 250.0, ("Fz", "C3", "C1", "Cz", "C2", "C4", "CPz", "Pz")
HOP, WINDOW = 25, 250
# Stamps with ± 5 ms of jitter place a sample to about one sample at 250 Hz.
SLACK = 3
KEEP_S = 20.0
# A channel is flat only after it has been so for 0.2 s; before that it cannot be detected. The cap itself may be late.
FLAT_KNOWN_S = 0.7
# One or two samples lost among stamps that jitter by as much show in their mean only, up to 0.1 s later.
LOSS_KNOWN_S = 0.5


def contract(temperature: float = 1.0) -> Contract:
    """No online alignment: what a window gives then depends on its samples alone."""
    return Contract(
        channels=LABELS,
        sfreq=SFREQ,
        filters=Filters(highpass=Butterworth(order=2, freq=1.0), lowpass=Butterworth(order=4, freq=40.0)),
        window_samples=WINDOW,
        hop_samples=HOP,
        classes=("feet", "left_hand", "right_hand", "tongue"),
        temperature=temperature,
    )


def true_windows(contract: Contract, seed: int) -> np.ndarray:
    """Windows of an undisturbed run by the table index of their last sample, (TABLE, window, channels)."""
    periods = np.tile(table_of(len(LABELS), seed).astype(np.float64), (3, 1))
    filtered = sosfilt(contract.sos, periods, axis=0)[TABLE:].astype(np.float32)
    return np.stack([filtered[TABLE + i - WINDOW + 1 : TABLE + i + 1] for i in range(TABLE)])


def make_bundle(folder: Path, streams: int) -> tuple[Path, list[np.ndarray]]:
    """A bundle with random weights, and each cap's true probabilities, (TABLE, n_classes)."""
    import torch

    from mindwire_models import AttentionBaseNet
    from mindwire_models.export import export_bundle

    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = AttentionBaseNet(n_times=WINDOW, n_chans=len(LABELS), n_outputs=4, n_temporal_filters=8).eval()

    def logits(windows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            parts = torch.from_numpy(windows.transpose(0, 2, 1).copy()).split(64)
            return np.concatenate([network(part).numpy() for part in parts]).astype(np.float64)

    found = [logits(true_windows(contract(), seed)) for seed in range(streams)]
    # As sensitive to the window as a trained network is, without favourites, so that a wrong window shows.
    favour = np.mean([rows.mean(axis=0) for rows in found], axis=0)
    last = [module for module in network.modules() if isinstance(module, torch.nn.Linear | torch.nn.Conv1d)][-1]
    with torch.no_grad():
        last.bias -= torch.from_numpy(favour.astype(np.float32))
    found = [rows - favour for rows in found]
    temperature = round(float(np.mean([rows.std(axis=0).mean() for rows in found])), 4)
    path = folder / "bundle"
    export_bundle(network, contract(temperature), path, name="soak", provenance="random weights, for the soak")
    exponents = [np.exp(rows / temperature - (rows / temperature).max(axis=1, keepdims=True)) for rows in found]
    return path, [rows / rows.sum(axis=1, keepdims=True) for rows in exponents]


@dataclass
class Mapping:
    """Relation of time stamps to samples, from one moment on."""

    cap: Cap
    shift: float
    until: float = float("inf")


@dataclass
class Truth:
    """Expected predictions of one stream, by their time."""

    table: np.ndarray
    mappings: list[Mapping] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    flat_since: float = float("-inf")
    lost_since: float = float("-inf")

    def now(self) -> float:
        """Return the time with which the cap stamps its samples."""
        import pylsl  # only once the configuration is in the environment

        return pylsl.local_clock() + self.mappings[-1].shift

    def becomes_flat(self) -> None:
        with self.lock:
            self.flat_since = self.now()

    def loses_little(self) -> None:
        with self.lock:
            self.lost_since = self.now()

    def unknowable(self, stamp: float) -> str:
        """Return why a fault in a window that ends here cannot be detected yet; empty if it can."""
        if 0.0 <= stamp - self.flat_since + 0.1 <= FLAT_KNOWN_S:
            return "about to be flat"
        if 0.0 <= stamp - self.lost_since + 0.1 <= LOSS_KNOWN_S:
            return "just lost less than the jitter"
        return ""

    def follow(self, cap: Cap, shift: float = 0.0) -> None:
        with self.lock:
            now = time.monotonic()
            for mapping in self.mappings:
                mapping.until = min(mapping.until, now)
            self.mappings = [m for m in self.mappings if m.until > now - KEEP_S]
            self.mappings.append(Mapping(cap, shift))

    def error(self, stamp: float, probabilities: list[float]) -> float:
        """Largest difference to the nearest truth that this time allows; 9 when it allows none."""
        with self.lock:
            mappings = list(self.mappings)
        near = np.arange(-SLACK, SLACK + 1)
        at = [round(m.cap.index_at(stamp, m.shift)) for m in mappings if m.cap.epoch]
        at = [index for index, m in zip(at, mappings, strict=False) if index >= m.cap.spec.start_index + WINDOW - 1]
        if not at:
            return 9.0
        rows = self.table[(np.array(at)[:, None] + near) % TABLE].reshape(-1, self.table.shape[1])
        return float(np.abs(rows - np.array(probabilities)).max(axis=1).min())
