"""Effect of artefacts on the online alignment: whitening error and decisions, with a fifth of the seconds spoilt.

Each recording runs through the live pipeline as it is, and again with artefacts added to its raw signal. Compared are
the two alignments, and what the model decides: of the clean windows as the spoilt alignment whitens them (what a
corrupted alignment alone would cost), and of the spoilt windows (what a user would have got). For example

    python benchmarks/artefacts.py run04.xdf run08.xdf --model B --classes left_hand,right_hand --at 4.0
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from mindwire.evaluation.metrics import restrict
from mindwire.evaluation.pseudo_online import choose_classes
from mindwire.inference.onnx import OnnxDecoder
from mindwire.offline.trials import parse_marker_map, trials_from_markers
from mindwire.pipeline import Pipeline
from mindwire.signal.manifold import distance
from mindwire.sources.recording import open_recording
from mindwire.types import Chunk
from mindwire_models.bundle import load_bundle
from mindwire_models.electrodes import position

SECONDS_TOGETHER = 10.0


def frontal(labels):
    """Return the amplitude of a blink at each electrode: 1 at the forehead, falling off towards the back."""
    front = np.array([position(label)[1] for label in labels])
    return np.exp((front - front.max()) / 0.4)


def blink(at, labels, rng):
    """A bump of 200 µV at the forehead, 300 ms long."""
    middle = rng.uniform(0.3, 0.7)
    return 200 * np.exp(-(((at - middle) / 0.1) ** 2))[:, None] * frontal(labels)


def pop(at, labels, rng):
    """An electrode that jumps by 800 µV and creeps back within some three seconds."""
    made = np.zeros((len(at), len(labels)))
    made[:, rng.integers(len(labels))] = 800 * np.exp(-at / 0.5)
    return made


def movement(at, labels, rng):
    """A step of some 100 µV that stays, each electrode its own."""
    moment = rng.uniform(0, 1)
    return (at >= moment)[:, None] * 100 * rng.standard_normal(len(labels))


def burst(make, n=6):
    """A second of something on a few electrodes, faded in and out over 50 ms."""

    def made(at, labels, rng):
        some = np.zeros((len(at), len(labels)))
        edge = np.clip(np.minimum(at, 1 - at) / 0.05, 0, 1)
        some[:, rng.choice(len(labels), n, replace=False)] = (edge * make(at, n, rng).T).T
        return some

    return made


def muscle(microvolts):
    """Broadband noise."""
    return burst(lambda at, n, rng: microvolts * rng.standard_normal((len(at), n)))


def hum(microvolts):
    """60 Hz."""
    return burst(lambda at, n, _: np.tile(microvolts * math.sqrt(2) * np.sin(2 * np.pi * 60 * at)[:, None], n))


KINDS = {
    "blinks": blink,
    "pops": pop,
    "muscle 20 µV": muscle(20.0),
    "muscle 40 µV": muscle(40.0),
    "muscle 60 µV": muscle(60.0),
    "60 Hz 40 µV": hum(40.0),
    "movement": movement,
}


def spoil(samples, sfreq, labels, kind, share, seed):
    """The samples with an artefact in this share of the seconds, which begin anywhere; the first three are clean.

    What lasts longer than its second, as steps do, goes on behind it.
    """
    rng = np.random.default_rng(seed)
    spoilt = samples.astype(float)
    n_seconds = int(len(samples) / sfreq) - 1
    for second in rng.choice(np.arange(3, n_seconds), round(share * n_seconds), replace=False):
        first = round((second + rng.uniform(0, 1)) * sfreq)
        at = np.arange(len(samples) - first) / sfreq
        spoilt[first:] += (rng.choice(list(KINDS.values())) if kind is None else kind)(at, labels, rng)
    return spoilt


class NoDecoder:
    """Stands where a pipeline has its decoder; the windows are decoded later."""

    engine = device = reason = ""

    def session(self):
        return object()

    def decode(self, sessions, windows):
        del sessions
        return np.zeros((len(windows), 2), dtype=np.float32)


@dataclass(frozen=True)
class AlignedRun:
    """The deciding window of each trial, and the mean covariance at the end."""

    windows: list
    covariance: np.ndarray
    matrix: np.ndarray


def run(samples, times, info, contract, trials, at_s):
    """Run samples through the live pipeline and keep each trial's newest window at its decision."""
    pipeline = Pipeline(contract, info, NoDecoder())
    moments = np.array([trial.cue + at_s for trial in trials]) + 1e-6
    newest = [None] * len(trials)
    step = round(SECONDS_TOGETHER * info.sfreq)
    for first in range(0, len(times), step):
        for window in pipeline.advance(Chunk(samples[first : first + step], times[first : first + step])):
            age = moments - window.time
            for index in np.flatnonzero((age >= 0) & (age <= 1.5 * contract.hop_samples / contract.sfreq)):
                newest[index] = replace(window, samples=window.samples.copy())
    learnt = pipeline.saved_adaptation()
    return AlignedRun(newest, learnt.alignment.covariance, pipeline.alignment.matrix)


def decide(decoder, windows, columns):
    """The class decided for each window; -1 where there is no valid one."""
    found = np.full(len(windows), -1)
    valid = [i for i, window in enumerate(windows) if window is not None and window.valid]
    if valid:
        logits = decoder.decode([decoder.session() for _ in valid], [windows[i] for i in valid]).astype(float)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        found[valid] = restrict(odds / odds.sum(axis=1, keepdims=True), columns).argmax(axis=1)
    return found


def error(one, other):
    """Relative difference of two whitening matrices, Frobenius."""
    return float(np.linalg.norm(one.astype(float) - other) / np.linalg.norm(other.astype(float)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--classes")
    parser.add_argument("--markers", nargs="*", default=[])
    parser.add_argument("--at", type=float, default=4.0)
    parser.add_argument("--share", type=float, default=0.2, help="share of the seconds that are spoilt")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    bundle = load_bundle(options.model)
    contract = bundle.contract
    decoder = OnnxDecoder(bundle, "cpu", "whole windows")
    classes = choose_classes(options.classes.split(",") if options.classes else None, contract)
    columns = [contract.classes.index(name) for name in classes]
    totals = {}
    for path in options.files:
        recording = open_recording(path)
        signal = recording.signal()
        chunks = list(signal.chunks())
        samples, times = (np.concatenate([getattr(c, what) for c in chunks]) for what in ("samples", "times"))
        trials = trials_from_markers(recording.markers(None), classes, parse_marker_map(options.markers))
        true = np.array([classes.index(trial.label) for trial in trials])
        clean = run(samples, times, signal.info, contract, trials, options.at)
        before = decide(decoder, clean.windows, columns)
        print(f"{path.name}: {(before == true).sum()} of {len(trials)} right without artefacts", flush=True)
        for name, kind in [*KINDS.items(), ("all of these", None)]:
            ends, apart, worst, right, changed, live, undecided = [], [], [], [], [], [], []
            for seed in range(options.seeds):
                bad = spoil(samples, signal.info.sfreq, signal.info.labels, kind, options.share, seed)
                spoilt = run(bad, times, signal.info, contract, trials, options.at)
                ends.append(error(spoilt.matrix, clean.matrix))
                apart.append(distance(spoilt.covariance, clean.covariance))
                pairs = [(s, c) for s, c in zip(spoilt.windows, clean.windows, strict=True) if s and c]
                worst.append(max(error(s.alignment, c.alignment) for s, c in pairs))
                swapped = [
                    c and s and replace(c, alignment=s.alignment)
                    for s, c in zip(spoilt.windows, clean.windows, strict=True)
                ]
                decided, lived = decide(decoder, swapped, columns), decide(decoder, spoilt.windows, columns)
                right.append(int((decided == true).sum()))
                changed.append(int((decided != before).sum()))
                live.append(int((lived == true).sum()))
                undecided.append(int((lived < 0).sum()))
            totals.setdefault(name, []).append((right, changed, live, undecided))
            print(
                f"  {name:13s} whitening error at the end {min(ends):4.0%} to {max(ends):4.0%}, at a decision at most "
                f"{max(worst):4.0%}; distance of the means {max(apart):.2f}",
                flush=True,
            )
    print(
        f"all recordings, seeds 0 to {options.seeds - 1}: right (decisions changed) with the spoilt alignment alone; live"
    )
    for name, parts in totals.items():
        right, changed, live, undecided = (np.sum([part[i] for part in parts], axis=0).tolist() for i in range(4))
        alone = ", ".join(f"{r} ({c})" for r, c in zip(right, changed, strict=True))
        lived = ", ".join(f"{r} ({u} undecided)" for r, u in zip(live, undecided, strict=True))
        print(f"  {name:13s} {alone}; {lived}")


if __name__ == "__main__":
    main()
