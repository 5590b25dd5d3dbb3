"""Accuracy with mostly rest: plain recentring, with the limit on rest, and frozen; recordings as they are as the control.

Each recording is conditioned by the live pipeline, whole and once. Rest of the same recording (trials of the class of rest, and the time
between a trial's end and the next cue) is then spliced in between its trials until it makes up the given share of the time after these minutes.
Splices in conditioned samples ring no filter and show no gap, and the windows of the trials are the same samples in every row. The alignment
learns block by block as live. Each recording begins with two balanced minutes: its own, or those of the recording before it. For example

    python benchmarks/imbalance.py a-day2-*.xdf --model day1 --rest 1 --end 9
    python benchmarks/imbalance.py s1-run04.xdf s1-run08.xdf --model B --rest rest --at 4.0

The bundle says which markers are classes; a model without an axis of rest has no limit.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mindwire.evaluation.metrics import wilson_interval
from mindwire.evaluation.pseudo_online import RunSettings, as_in_training
from mindwire.inference.onnx import OnnxDecoder
from mindwire.live.warm_start import NoDecoder
from mindwire.offline.trials import match_labels, shown, trials_from_markers
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.signal.alignment import OnlineAlignment
from mindwire.sources.recording import open_recording
from mindwire.types import INVALID, Reason, Window
from mindwire_models.bundle import load_bundle

INITIAL_S = 120.0


@dataclass(frozen=True)
class Run:
    """Conditioned samples, which of them are good, trials as (sample, class), and stretches of rest."""

    samples: np.ndarray
    good: np.ndarray
    trials: list
    rest: list


def condition(path, contract, settings, classes, rest_label, end_label):
    recording = open_recording(path)
    signal = recording.signal()
    pipeline = Pipeline(contract, signal.info, NoDecoder(len(contract.classes)), settings.pipeline)
    samples, times, flags = [], [], []
    for chunk in signal.chunks():
        pipeline.advance(chunk)
        for part in pipeline._newest:  # noqa: SLF001
            samples.append(part.samples.copy())
            times.append(part.times.copy())
            flags.append(np.broadcast_to(part.flags, part.times.shape).copy())
    times = np.concatenate(times)
    markers = sorted(recording.markers(settings.marker_stream), key=lambda marker: marker.time)
    matched = match_labels((m.label for m in markers), [rest_label, *([end_label] if end_label else [])])

    def place(time):
        return int(np.searchsorted(times, time))

    trials = trials_from_markers(markers, classes, settings.markers, where=str(path))
    at_rest = [place(m.time) for m in markers if matched.get(m.label) == shown(rest_label)]
    ends = [place(m.time) for m in markers if end_label and matched.get(m.label) == shown(end_label)]
    cues = sorted({*(place(t.cue) for t in trials), *at_rest, len(times)})
    rest = [(at, min(c for c in cues if c > at)) for at in at_rest if any(c > at for c in cues)]
    for end in ends:
        if (before := [c for c in cues if c <= end]) and before[-1] not in at_rest:
            rest.append((end, min(c for c in cues if c > end)))  # noqa: PERF401 - easier to read
    good = (np.concatenate(flags) & INVALID) == 0
    cued = [(place(t.cue), t.label) for t in trials]
    return Run(np.concatenate(samples).astype(np.float32), good, cued, [(a, b) for a, b in rest if b > a])


def splice(run, share, initial, seed):
    """Order of the samples with rest inserted, and where each trial's cue is in it; None is as recorded."""
    n = len(run.samples)
    if share is None:
        return np.arange(n), [cue for cue, _ in run.trials]
    rng = np.random.default_rng(seed)
    resting = np.zeros(n, bool)
    for first, last in run.rest:
        resting[first:last] = True
    first = max(initial, run.trials[0][0])
    later = [cue for cue, _ in run.trials if cue >= initial]
    more = share / (1 - share) * np.count_nonzero(~resting[first:]) - np.count_nonzero(resting[first:])
    order, places, last, length = [], [], 0, 0
    for cue, _ in run.trials:
        order.append(np.arange(last, cue))
        left = int(more / len(later)) if cue >= initial else 0
        while left > 0:
            begin, end = run.rest[rng.integers(len(run.rest))]
            order.append(np.arange(begin, min(end, begin + left)))
            left -= end - begin
        length = sum(map(len, order))
        places.append(length)
        last = cue
    return np.concatenate([*order, np.arange(last, n)]), places


def windows_of(run, before, contract, spec, at_s, *, share, seed, frozen):
    """The deciding windows of the counted trials with the alignment of that moment, and the trials' classes."""
    n_before = round(INITIAL_S * contract.sfreq)
    initial = 0 if before is not None else n_before
    order, places = splice(run, share, initial, seed)
    samples, good, offset = run.samples[order], run.good[order], 0
    if before is not None:
        offset = min(n_before, len(before.samples))
        samples = np.concatenate([before.samples[:offset], samples])
        good = np.concatenate([before.good[:offset], good])
    alignment = OnlineAlignment(spec, contract.n_channels, contract.window_samples, contract.sfreq)
    ends = [p + offset + round(at_s * contract.sfreq) for p in places]
    step, length, found = spec.update_samples, contract.window_samples, []
    waiting = list(zip(ends, run.trials, strict=True))
    for last in range(step, len(samples) + step, step):
        while waiting and waiting[0][0] <= min(last, len(samples)):
            end, (cue, label) = waiting.pop(0)
            if cue >= initial and alignment.ready and good[end - length : end].all():
                window = Window(
                    0, 0.0, np.ascontiguousarray(samples[end - length : end]), alignment.matrix, 1, 1, end, Reason.NONE
                )
                found.append((window, label))
        alignment.frozen = frozen and last > n_before
        alignment.update(samples[last - step : last][good[last - step : last]])
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--classes")
    parser.add_argument("--rest", required=True, help="label of the cue of rest")
    parser.add_argument("--end", help="label of the end of a trial; what follows until the next cue is rest")
    parser.add_argument("--at", type=float)
    parser.add_argument("--shares", default="0.8,0.9,0.95")
    parser.add_argument("--seeds", type=int, default=2)
    chosen = parser.parse_args()
    bundle = load_bundle(chosen.model)
    contract, decoder = bundle.contract, OnnxDecoder(bundle, "cpu", "whole windows")
    settings = RunSettings(pipeline=PipelineOptions())
    settings, at_s, _ = as_in_training(settings, chosen.at, bundle, chosen.files)
    classes = chosen.classes.split(",") if chosen.classes else list(contract.classes)
    columns = [contract.classes.index(name) for name in classes]
    runs = [condition(path, contract, settings, classes, chosen.rest, chosen.end) for path in chosen.files]
    plain = contract.normalisation.model_copy(update={"rest_axis": None})
    ways = {"plain": (plain, False), "limited": (contract.normalisation, False), "frozen": (plain, True)}
    print("| first minutes | rest | " + " | ".join(ways) + " | of |\n|---|---|" + "---|" * (len(ways) + 1))
    for name, other in (("own", False), ("other run", True)):
        for share in (None, *map(float, chosen.shares.split(","))):
            cells, n_trials = [], 0
            for spec, frozen in ways.values():
                counts = []
                for seed in range(chosen.seeds if share else 1):
                    right = n_trials = 0
                    for i, run in enumerate(runs):
                        before = runs[i - 1] if other else None
                        for window, label in windows_of(
                            run, before, contract, spec, at_s, share=share, seed=seed, frozen=frozen
                        ):
                            logits = decoder.decode([decoder.session()], [window])[0, columns]
                            n_trials += 1
                            right += int(logits.argmax()) == classes.index(label)
                    counts.append(right)
                low, high = wilson_interval(round(np.mean(counts)), n_trials)
                cells.append(f"{', '.join(map(str, counts))} ({low:.0%} to {high:.0%})")
            shown_share = "as recorded" if share is None else f"{share:.0%}"
            print(f"| {name} | {shown_share} | {' | '.join(cells)} | {n_trials} |", flush=True)


if __name__ == "__main__":
    main()
