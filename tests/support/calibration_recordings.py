"""Recordings of cued trials for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support.xdf_writer import eeg_file

CHANNELS = ("C3", "Cz", "C4", "Pz")


SFREQ, REST_S, TRIAL_S = 100.0, 1.5, 2.5


def record(path: Path, seed: int, n: int = 16, *, over: tuple[int, int] = (0, 2), **header: object) -> Path:
    """Cues 1 and 2; a rhythm of 12 Hz weakens over C3 or over C4 after them, or over other channels."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 2)
    period = round((REST_S + TRIAL_S) * SFREQ)
    n_samples = round(8 * SFREQ) + n * period
    wave = np.sin(2 * np.pi * 12 * np.arange(n_samples) / SFREQ)
    rhythm = np.stack([wave * rng.lognormal(0, 0.1, n_samples) for _ in CHANNELS], axis=1)
    markers = []
    for i, label in enumerate(labels):
        start = round(8 * SFREQ) + i * period
        rhythm[start : start + round(TRIAL_S * SFREQ), over[label]] *= 0.3
        markers += [(1000.0 + start / SFREQ, f"{label + 1}.000"), (1000.0 + start / SFREQ + TRIAL_S, "9")]
    samples = 20 * (rhythm + 0.7 * rng.standard_normal(rhythm.shape))
    header = {"labels": CHANNELS} | header
    return eeg_file(path, samples.astype(np.float32), SFREQ, markers=markers, **header)
