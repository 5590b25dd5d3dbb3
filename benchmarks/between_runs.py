"""Models improved between the runs of a day: accuracy run by run, and what the gate does with spoilt updates.

    python -m benchmarks.between_runs day1/*.xdf --day day2/*.xdf --markers 1=idle 2=left_hand 3=right_hand --at 4.5 --rate 125 --channels C3,…

A model of the first recordings decides run by run the day that ``--day`` names: run k by the model that came of runs 1 to k − 1 as
``mindwire improve`` makes it, if the gate accepted it. Columns: *frozen*, no update at all, with the mean alignment of the first
recordings; *aligned*, with the alignment that is learnt online; *improved*, with the gate. Trials that were right, undecided ones counted
as wrong; of the network the mean over the seeds. ``--spoil N`` also makes N updates of shuffled labels after each number of
runs, and counts those that the gate rejects: *trained*, the labels of what is trained on are shuffled and those that judge are right;
*all*, all labels of the day's runs are shuffled, as if the markers were wrong.

Recordings are conditioned once for a ``--cache`` and a version of Mindwire. One process, one thread.
"""

from __future__ import annotations

import argparse
import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mindwire.evaluation.pseudo_online import RunSettings
from mindwire.evaluation.scores import AlignmentMode, contract_for
from mindwire.live.warm_start import warm_start_from
from mindwire.offline.trials import parse_marker_map
from mindwire.options import PipelineOptions
from mindwire.provenance import source_sha256
from mindwire.training import run as training
from mindwire.training.data import RecordedTrials, collect_trials, open_trials
from mindwire.training.fine_tuning import RunTrials, logits, together, tuner, update
from mindwire.training.held_out import warm_started
from mindwire_models.contract import Contract
from mindwire_models.network.riemann import fit_tangent_space
from mindwire_models.training.fit import train_network
from mindwire_models.training.trials import TrialWindows


@dataclass(frozen=True)
class Days:
    """Conditioned runs of the past and of the day, and the day's with the alignment frozen."""

    contract: Contract
    past: list[RunTrials]
    day: list[RunTrials]
    frozen: list[RunTrials]


def condition(past: Sequence[Path], day: Sequence[Path], plan: training.Plan) -> Days:
    """Run all recordings through the causal pipeline."""
    prepared = training.prepare(plan)
    contract, settings = prepared.contract, plan.settings
    covariances = [
        warm_start_from(path, contract, settings.pipeline, settings.stream).warm_start(contract).covariance
        for path in past
    ]
    fixed = contract_for(warm_started(contract, covariances), AlignmentMode.FROZEN)
    recordings, trials, _ = open_trials(day, contract.classes, settings)
    data, sources = collect_trials(recordings, trials, fixed, prepared.span, settings=settings)

    def runs(data: RecordedTrials, sources: Sequence[training.RecordingSource], *, known: int) -> list[RunTrials]:
        return [
            RunTrials(source, of_recording(data, index), prepared.span, index < known)
            for index, source in enumerate(sources)
        ]

    both = runs(prepared.data, prepared.sources, known=len(past))
    return Days(contract, both[: len(past)], both[len(past) :], runs(data, sources, known=0))


def of_recording(data: RecordedTrials, index: int) -> RecordedTrials:
    """Return the trials of one recording of several."""
    trials = np.flatnonzero(data.recording == index)
    of_windows, of_deciding = np.isin(data.trial, trials), np.isin(data.decided, trials)
    return replace(
        data,
        windows=data.windows[of_windows],
        trial=data.trial[of_windows] - trials[0],
        deciding=data.deciding[of_deciding],
        decided=data.decided[of_deciding] - trials[0],
        powers=data.powers[of_deciding],
        labels=data.labels[trials],
        recording=np.zeros(len(trials), dtype=np.intp),
    )


def n_right(module: object, run: RunTrials) -> int:
    """Return how many trials of a run a model decides right."""
    data = run.data
    return int((logits(module, data.deciding).argmax(axis=1) == data.labels[data.decided]).sum())  # type: ignore[arg-type]


def first_model(days: Days, decoder: str, seed: int) -> object:
    """Train the model of the past."""
    trials, n_classes = together(days.past), len(days.contract.classes)
    if decoder == "baseline":
        weights = 1 / np.bincount(trials.trial)[trials.trial]
        return fit_tangent_space(trials.windows, trials.labels[trials.trial], n_classes, weights=weights)
    chosen = training.candidate(days.contract)
    recipe = replace(chosen.recipe, seed=seed)
    return train_network(trials, n_classes, recipe, network_arguments=chosen.network_arguments)


def tune_of(base: object, days: Days, decoder: str, seed: int) -> Callable[[TrialWindows], object]:
    """Return what improves a model, as ``mindwire improve`` would with all recordings at hand."""
    retrain = decoder == "network"
    return tuner(base, days.past if retrain else [], retrain=retrain, seed=seed)  # type: ignore[arg-type]


def run_by_run(days: Days, decoder: str, seed: int) -> list[tuple[int, int, int, str]]:
    """Return for each run the trials right frozen, aligned and improved, and what the gate said before it."""
    base = in_use = first_model(days, decoder, seed)
    rows: list[tuple[int, int, int, str]] = []
    known = 0
    for index, run in enumerate(days.day):
        said = "–"
        if index:
            session = [replace(one, known=place < known) for place, one in enumerate(days.day[:index])]
            found = update(in_use, session, tune_of(in_use, days, decoder, seed))  # type: ignore[arg-type]
            gate = found.gate
            said = f"{'accepted' if gate.accepted else ', '.join(gate.codes)} ({gate.candidate_right} and {gate.base_right} of {gate.trials})"
            if found.module is not None:
                in_use, known = found.module, index
        rows.append((n_right(base, days.frozen[index]), n_right(base, run), n_right(in_use, run), said))
    return rows


def shuffled(labels: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """Return labels in random order."""
    return np.random.default_rng(seed).permutation(labels)


def spoil(days: Days, decoder: str, how: str, n: int) -> tuple[int, int]:
    """Return how many of the updates with shuffled labels the gate rejects, and how many there are."""
    base = first_model(days, decoder, 0)
    tune = tune_of(base, days, decoder, 0)
    rejected = 0
    cases = [(count, seed) for count in range(1, len(days.day)) for seed in range(n)]
    for count, seed in cases:
        session, made = days.day[:count], tune
        if how == "all":
            session = [
                replace(run, data=replace(run.data, labels=shuffled(run.data.labels, 100 * seed + place)))
                for place, run in enumerate(session)
            ]
        else:

            def made(trials: TrialWindows, seed: int = seed) -> object:
                return tune(replace(trials, labels=shuffled(trials.labels, seed)))

        gate = update(base, session, made).gate  # type: ignore[arg-type]
        rejected += not gate.accepted
        if gate.accepted:
            print(f"accepted: {decoder}, {how}, {count} runs, seed {seed}: {gate}", file=sys.stderr)
    return rejected, len(cases)


def print_table(days: Days, decoder: str, seeds: Sequence[int]) -> None:
    """Print the trials right run by run, the means over the seeds."""
    by_seed = [run_by_run(days, decoder, seed) for seed in seeds]
    print(f"\n| {decoder}: run | of | frozen | aligned | improved | gate before the run, seed 0 |")
    print("|---|---|---|---|---|---|")
    for index, run in enumerate(days.day):
        means = [np.mean([rows[index][column] for rows in by_seed]) for column in range(3)]
        figures = " | ".join(f"{mean:.4g}" for mean in means)
        print(f"| {index + 1} | {len(run.data.labels)} | {figures} | {by_seed[0][index][3]} |")
    totals = np.array([[sum(row[column] for row in rows) for column in range(3)] for rows in by_seed])  # type: ignore[misc]
    figures = " | ".join(f"{mean:.4g}" for mean in totals.mean(axis=0))
    print(f"| all | {sum(len(run.data.labels) for run in days.day)} | {figures} | |")
    print(f"\nall runs, by seed: {', '.join(' '.join(map(str, row)) for row in totals)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("past", nargs="+", type=Path)
    parser.add_argument("--day", nargs="+", type=Path, required=True)
    parser.add_argument("--markers", nargs="+", required=True, metavar="LABEL=CLASS")
    parser.add_argument("--at", type=float)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--channels")
    parser.add_argument("--unit")
    parser.add_argument("--decoder", choices=("both", "network", "baseline"), default="both")
    parser.add_argument("--seeds", type=int, default=3, help="0 for no table")
    parser.add_argument("--spoil", type=int, default=0, metavar="N")
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    markers = parse_marker_map(given.markers)
    channels = tuple(given.channels.split(",")) if given.channels else None
    pipeline = PipelineOptions(channels=channels, unit=given.unit, sfreq=given.rate)
    settings = RunSettings(markers=markers, pipeline=pipeline)
    classes = tuple(dict.fromkeys(markers.values()))
    plan = training.Plan([*given.past, *given.day], classes, settings, decided_at=given.at, n_folds=0)
    made_by = source_sha256()
    cached = pickle.loads(given.cache.read_bytes()) if given.cache and given.cache.exists() else (None, None)
    days = cached[1] if cached[0] == made_by else condition(given.past, given.day, plan)
    if given.cache:
        given.cache.write_bytes(pickle.dumps((made_by, days)))
    decoders = ["network", "baseline"] if given.decoder == "both" else [given.decoder]
    for decoder in decoders:
        if given.seeds:
            print_table(days, decoder, range(given.seeds if decoder == "network" else 1))
        for how in ("trained", "all") if given.spoil else ():
            rejected, n = spoil(days, decoder, how, given.spoil)
            print(f"\nlabels shuffled ({how}): {rejected} of {n} rejected", flush=True)


if __name__ == "__main__":
    main()
