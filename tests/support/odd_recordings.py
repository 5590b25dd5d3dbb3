"""Recordings of many formats made odd by chance, for :mod:`tests.fuzz_recordings`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.support.recorded_files import brainvision_file, edf_file, eeglab_file, gdf_file
from tests.support.xdf_writer import XdfWriter

LABELS = ("C3", "Cz", "C4")
SFREQ = 100.0
Rng = np.random.Generator


@dataclass
class Made:
    """A recording, and what has to come of it: the first sample after each cut, or nothing that is known."""

    path: Path
    cuts: list[int] | None = None
    n_samples: int = 0
    n_markers: int | None = None
    unit: str | None = None


def counted(rng: Rng, n: int) -> np.ndarray:
    """Samples whose first channel counts them, and the others are noise."""
    return np.column_stack([np.arange(n), *(rng.integers(-50, 50, n) for _ in LABELS[1:])]).astype(float)


def some_cuts(rng: Rng, n: int) -> list[int]:
    """Up to four places, now and then close to each other or to an end."""
    places = rng.integers(1, n, rng.integers(0, 5)).tolist()
    if places and rng.random() < 0.3:
        places.append(min(places[0] + int(rng.integers(1, 4)), n - 1))
    return sorted(set(places))


def xdf_with_gaps(rng: Rng, folder: Path) -> Made:
    """Regular stamps with a little jitter and pauses."""
    n = int(rng.integers(150, 900))
    cuts = [cut for cut in some_cuts(rng, n) if 20 <= cut <= n - 20]
    cuts = [cut for i, cut in enumerate(cuts) if not i or cut - cuts[i - 1] >= 40]
    times = rng.choice([0.0, 1e3, 1.7e9, -20.0]) + np.arange(n) / SFREQ
    for cut in cuts:
        times[cut:] += rng.choice([0.1, 0.5, 1.0, 10.0, 3600.0]) + rng.uniform(0, 0.01)
    times += rng.uniform(-1, 1, n) * rng.choice([0.0, 1e-6, 1e-3])
    return Made(xdf(rng, folder, counted(rng, n), times, markers=False), cuts, n)


def xdf_with_odd_stamps(rng: Rng, folder: Path) -> Made:
    """Stamps on and around every threshold, rounded, doubled, backwards, absent or no numbers."""
    n = int(rng.integers(20, 900))
    sfreq = float(rng.choice([100.0, 125.0, 250.0, 256.0, 500.0, 1000.0]))
    ratio = rng.choice([1.0, 1.0, 0.5, 0.9, 0.99, 1.005, 1.05, 2.0, 3.0, 8.0])
    times = rng.choice([0.0, 1e3, 1.7e9, -5.0]) + np.arange(n) / (sfreq * ratio)
    period = 1 / sfreq
    for _ in range(rng.integers(0, 4)):
        at = int(rng.integers(0, n))
        step = rng.choice([0.5, -0.5, 1.0, -1.0, 1.5, 2.0, 4.5, 10, -30, 200, 2e5]) * period
        step += rng.choice([0.0, 1e-12, -1e-12, 1e-9, -1e-9])
        if rng.random() < 0.5:
            times[at] += step
        else:
            times[at : int(rng.integers(at, n + 1))] += step
    times = _distort(rng, times, period)
    return Made(xdf(rng, folder, counted(rng, n), times, sfreq=sfreq))


def _distort(rng: Rng, times: np.ndarray, period: float) -> np.ndarray:
    kind = rng.integers(0, 9)
    n = len(times)
    if kind == 0:
        return np.floor(times / (period * (grain := rng.choice([0.5, 1.0, 2.5])))) * period * grain
    if kind == 1:  # a stamp per chunk
        size = int(rng.integers(2, 40))
        return times[np.minimum(np.arange(n) // size * size + size - 1, n - 1)]
    if kind == 2:
        return times[::-1].copy()
    if kind == 3:
        times[rng.integers(0, n, rng.integers(1, 6))] = rng.choice([np.nan, np.inf, -np.inf, 0.0, 1e300])
    if kind == 4:
        return times * rng.choice([1e3, 1e-3, 1e6])
    if kind == 5:
        return np.full(n, times[0])
    if kind == 6:
        return times + rng.normal(0, rng.choice([0.1, 0.5, 2.0]) * period, n)
    return times


def xdf(rng: Rng, folder: Path, values: np.ndarray, times: np.ndarray, *, sfreq: float = SFREQ, markers=True) -> Path:
    """A file in chunks of chance, with clock offsets, markers and damage now and then."""
    writer = XdfWriter().stream(labels=LABELS, n_channels=3, sfreq=sfreq)
    size = int(rng.integers(1, 200))
    for at in range(0, len(times), size):
        stamps = [float(stamp) if at == 0 or rng.random() < 0.999 else None for stamp in times[at : at + size]]
        if markers is False:
            stamps = times[at : at + size].tolist()
        writer.samples(values[at : at + size], stamps)
        if markers and rng.random() < 0.2:
            writer.offset(float(times[at]), float(rng.choice([0.0, 1e-3, 50.0, np.nan])))
    if markers:
        odd_markers(rng, writer, times)
    data = bytearray(writer.bytes())
    if markers and rng.random() < 0.2:
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(4, len(data))] = rng.integers(0, 256)
    path = folder / "f.xdf"
    path.write_bytes(bytes(data))
    return path


def odd_markers(rng: Rng, writer: XdfWriter, times: np.ndarray) -> None:
    """Marker streams of chance: types, formats, rates, labels, and copies of each other."""
    for number in range(2, 2 + int(rng.integers(0, 4))):
        dtype = str(rng.choice(["string", "int32", "float32", "double64"]))
        n_channels = int(rng.choice([1, 1, 1, 3]))
        kind = str(rng.choice(["Markers", "Stim", "annotations", "Events", "", "Gaze", "EEG"]))
        rate = float(rng.choice([0.0, 0.0, 100.0]))
        labels = ["T0", "T1", "T2"][:n_channels] if rng.random() < 0.5 else None
        name = str(rng.choice(["Cues", "Other"]))
        writer.stream(
            number, name=name, type=kind, n_channels=n_channels, sfreq=rate, dtype=dtype, labels=labels, source_id="m"
        )
        n = int(rng.integers(0, 12))
        stamps = rng.choice(times, n).tolist()
        words = ["a", "b", "Stimulus/S  1", "1.000000000", "", "{'x': 1}", "switch,1", "\u202e\x07", "a=b", "9" * 400]
        rows = [
            [str(rng.choice(words)) for _ in range(n_channels)]
            if dtype == "string"
            else rng.choice([0, 0, 1, 2, 255], n_channels)
            for _ in stamps
        ]
        writer.samples(rows, stamps, number)


def discontinuous_edf(rng: Rng, folder: Path) -> Made:
    """EDF+D and BDF+D with pauses between records."""
    records = int(rng.integers(1, 9))
    gaps = rng.choice([0.0, 0.0, 0.02, 0.5, 3.25, 100.0], records)
    onsets = np.cumsum(np.ones(records) + gaps) - 1 - gaps[0] + rng.choice([0.0, 0.25])
    cuts = [int(k * SFREQ) for k in range(1, records) if gaps[k] > 0]
    kind = str(rng.choice(["EDF+D", "BDF+D"]))
    path = folder / f"f.{kind[:3].lower()}"
    marks = [(float(onsets[0]) + 0.5, "a"), (float(onsets[-1]) + 0.25, "b")]
    n = records * int(SFREQ)
    edf_file(path, counted(rng, n), LABELS, onsets=onsets.tolist(), annotations=marks, kind=kind)
    return Made(path, cuts, n, len(marks))


def brainvision(rng: Rng, folder: Path) -> Made:
    """BrainVision with segments, dated or not."""
    n = int(rng.integers(250, 900))
    cuts = some_cuts(rng, n)
    segments = [
        (cut + 1, str(rng.choice(["", "LostSamples: 40"])), str(rng.choice(["", f"202401020304{k + 10:02d}000000"])))
        for k, cut in enumerate(cuts)
    ]
    return Made(brainvision_file(folder / "f.vhdr", counted(rng, n), LABELS, segments), cuts, n, 1)


def eeglab(rng: Rng, folder: Path) -> Made:
    """EEGLAB with boundaries of any duration."""
    n = int(rng.integers(250, 900))
    cuts = some_cuts(rng, n)
    boundary = "boundary" if rng.random() < 0.8 else -99
    events = [(cut + 0.5, boundary, rng.choice([0.0, np.nan, 30.0, 1e5])) for cut in cuts]
    mark = 7 if boundary == -99 else "cue"
    events.append((n - 50.0, mark, 0.0))
    return Made(eeglab_file(folder / "f.set", counted(rng, n), LABELS, events), cuts, n, 1)


def gdf(rng: Rng, folder: Path) -> Made:
    """GDF of several runs."""
    n = 100 * int(rng.integers(2, 9))
    cuts = some_cuts(rng, n)
    events = [(cut + 1, 32766) for cut in [0, *cuts]]
    path = gdf_file(folder / "f.gdf", counted(rng, n), LABELS, [*events, (n - 50, 769)])
    return Made(path, cuts, n, 1)


def joined_fif(rng: Rng, folder: Path) -> Made:
    """FIF of several runs, joined by MNE."""
    import mne

    lengths = rng.integers(2, 230, rng.integers(1, 5)).tolist()
    values = counted(rng, sum(lengths)).T * 1e-6
    info = mne.create_info(list(LABELS), SFREQ, "eeg")
    ends = np.cumsum(lengths)
    runs = [
        mne.io.RawArray(values[:, end - n : end], info, first_samp=int(rng.integers(0, 999)), verbose="ERROR")
        for n, end in zip(lengths, ends, strict=True)
    ]
    joined = mne.concatenate_raws(runs, verbose="ERROR")
    joined.save(folder / "f_raw.fif", fmt="double", verbose="ERROR")
    return Made(folder / "f_raw.fif", ends[:-1].tolist(), int(ends[-1]))


def damaged(rng: Rng, folder: Path) -> Made:
    """A file of another format, cut off or with bytes exchanged; it is read or refused."""
    make = [discontinuous_edf, brainvision, eeglab, joined_fif, gdf][rng.integers(0, 5)]
    made = make(rng, folder)
    victims = sorted(path for path in folder.iterdir() if path.is_file())
    victim = victims[rng.integers(0, len(victims))]
    data = bytearray(victim.read_bytes())
    if rng.random() < 0.4:
        data = data[: rng.integers(0, len(data))]
    reach = len(data) if rng.random() < 0.5 else min(len(data), 2000)
    for _ in range(rng.integers(0, 12) if reach else 0):
        data[rng.integers(0, reach)] = rng.integers(0, 256)
    victim.write_bytes(bytes(data))
    return Made(made.path)


MAKERS: tuple[Callable[[Rng, Path], Made], ...] = (
    xdf_with_gaps,
    xdf_with_odd_stamps,
    xdf_with_odd_stamps,
    discontinuous_edf,
    brainvision,
    eeglab,
    gdf,
    joined_fif,
    damaged,
    damaged,
)
