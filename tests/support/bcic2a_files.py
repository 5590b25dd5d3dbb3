"""Small files as BCI Competition IV 2a and BNCI Horizon 2020 lay them out, for the tests of their readers."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import savemat

SFREQ = 250
N_CHANNELS = 25  # 22 EEG, 3 EOG
CODES = (769, 770, 771, 772)
_CUE = 2 * SFREQ
_NEVER_TAKEN = 100  # samples between two runs of a GDF file


@dataclass(frozen=True)
class FakeRun:
    """Samples (n, 25) in microvolt; trial starts, their classes from 1."""

    samples: np.ndarray
    starts: np.ndarray
    classes: np.ndarray


def make_runs(seed: int, n_runs: int = 2, trials: int = 6, trial_seconds: float = 7.0) -> list[FakeRun]:
    """Runs whose classes differ in where 11 Hz is strong after the cue."""
    rng = np.random.default_rng(seed)
    runs = []
    for _ in range(n_runs):
        lead, step = 6 * SFREQ, round(trial_seconds * SFREQ)
        n = lead + trials * step
        samples = rng.standard_normal((n, N_CHANNELS)) * 8
        starts = lead + np.arange(trials) * step
        classes = rng.permutation(np.arange(trials) % 4) + 1
        rhythm = 25 * np.sin(2 * np.pi * 11 * np.arange(4 * SFREQ) / SFREQ)
        for start, number in zip(starts, classes, strict=True):
            samples[start + _CUE : start + _CUE + 4 * SFREQ, 5 * (number - 1)] += rhythm
        runs.append(FakeRun(samples, starts, classes))
    return runs


def write_mat(path: Path, runs: list[FakeRun]) -> Path:
    """The layout of BNCI Horizon 2020, data set 001-2014, with a calibration run of no trials before the others."""
    calibration = FakeRun(np.zeros((500, N_CHANNELS)), np.empty(0), np.empty(0))
    cells = np.empty((1, len(runs) + 1), dtype=object)
    for index, run in enumerate([calibration, *runs]):
        cells[0, index] = {
            "X": run.samples,
            "trial": (run.starts + 1).astype(np.float64).reshape(-1, 1),
            "y": run.classes.astype(np.float64).reshape(-1, 1),
            "fs": float(SFREQ),
            "classes": np.array(["left hand", "right hand", "feet", "tongue"], dtype=object).reshape(-1, 1),
            "artifacts": np.zeros((len(run.starts), 1)),
            "gender": "male",
            "age": 22.0,
        }
    savemat(path, {"data": cells}, do_compression=True)
    return path


def write_labels(path: Path, runs: list[FakeRun]) -> Path:
    """The competition's true labels of a second day."""
    savemat(path, {"classlabel": np.concatenate([run.classes for run in runs]).reshape(-1, 1)})
    return path


def write_gdf(path: Path, runs: list[FakeRun], *, with_classes: bool = True) -> Path:
    """GDF 1.25, 16 bits, runs one after another with 100 samples of the smallest value between them."""
    parts, events, at = [], [], 0
    for run in runs:
        parts.append(np.full((_NEVER_TAKEN, N_CHANNELS), -(2**15), dtype="<i2"))
        at += _NEVER_TAKEN
        events.append((at, 32766))
        for start, number in zip(run.starts, run.classes, strict=True):
            events += [(at + start, 768), (at + start + _CUE, CODES[number - 1] if with_classes else 783)]
        digital = np.clip(np.rint(run.samples * 2**15 / 100), -(2**15) + 1, 2**15 - 1)
        parts.append(digital.astype("<i2"))
        at += len(run.samples)
    data = np.concatenate(parts)
    data = np.concatenate([data, np.full((-len(data) % SFREQ, N_CHANNELS), -(2**15), dtype="<i2")])
    records = data.reshape(-1, SFREQ, N_CHANNELS).transpose(0, 2, 1)
    n, each = N_CHANNELS, 256 * (N_CHANNELS + 1)

    def texts(values: list[str], width: int) -> bytes:
        return b"".join(value.encode().ljust(width) for value in values)

    header = b"GDF 1.25" + b"X A01".ljust(80) + b" " * 80 + b"2005010112000000" + struct.pack("<q", each)
    header += bytes(24) + bytes(20) + struct.pack("<qIII", len(records), 1, 1, n)
    header += texts([f"EEG-{i}" for i in range(22)] + ["EOG-left", "EOG-central", "EOG-right"], 16)
    header += texts([""] * n, 80) + texts(["uV"] * n, 8)
    header += struct.pack(f"<{n}d", *[-100.0] * n) + struct.pack(f"<{n}d", *[100 * (1 - 2**-15)] * n)
    header += struct.pack(f"<{n}q", *[-(2**15)] * n) + struct.pack(f"<{n}q", *[2**15 - 1] * n)
    header += (
        texts([""] * n, 80) + struct.pack(f"<{n}i", *[SFREQ] * n) + struct.pack(f"<{n}i", *[3] * n) + bytes(32 * n)
    )
    assert len(header) == each
    positions, codes = np.array(events).T
    table = bytes([3]) + SFREQ.to_bytes(3, "little") + struct.pack("<I", len(events))
    table += (positions + 1).astype("<u4").tobytes() + codes.astype("<u2").tobytes()
    table += np.zeros(len(events), dtype="<u2").tobytes() + np.ones(len(events), dtype="<u4").tobytes()
    path.write_bytes(header + np.ascontiguousarray(records).tobytes() + table)
    return path
