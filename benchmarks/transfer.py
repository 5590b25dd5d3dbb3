"""Learning curve of a new person: published networks untouched and fine-tuned, beside training from scratch, by number of trials.

    python benchmarks/transfer.py run04.xdf run08.xdf --model B1 --model B3 --markers left_hand right_hand --at 4.0

Runs are held out in turn, or, with ``--folds K``, K stretches of successive trials of all runs. Of the other trials N of each class
are drawn (all, where there are fewer), for each draw others but the same for every decoder, and train it. Rows:

- untouched: a bundle of ``--model`` without training;
- fine-tuned: the same, trained on as ``mindwire train --from`` does, with ``--recipe KEY=VALUE`` in another way;
- network, tangent space: trained from scratch under the default contract of ``mindwire train``, on the electrodes and at the rate of the bundles.

Trials right, the mean over draws; undecided trials count as wrong. Trainings run in parallel by joblib, one thread each.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
import numpy as np
from numpy.typing import NDArray

from mindwire.cli.train_options import parse_recipe
from mindwire.evaluation.pseudo_online import RunSettings
from mindwire.offline.trials import parse_marker_map
from mindwire.training import fit, run
from mindwire.training.data import RecordedTrials
from mindwire.training.transfer import starting_candidate
from mindwire_models.bundle import Bundle, load_bundle
from mindwire_models.training.pool import Job, run_jobs
from mindwire_models.training.trials import TrialWindows

Trials = NDArray[np.intp]


@dataclass(frozen=True)
class Decoder:
    """A row of the table: how it is trained, None for the tangent space, on which trials; ``trained`` is false for a bundle untouched."""

    name: str
    candidate: fit.Candidate | None
    data: RecordedTrials
    trained: bool = True


@dataclass(frozen=True)
class Case:
    """Trials to train on, trials to decide, and the number of the draw."""

    training: Trials
    tested: Trials
    draw: int


def cases(data: RecordedTrials, n: int, draws: int, folds: int | None) -> list[Case]:
    """Return every fold with every draw of n trials of each class from the others."""
    n_trials = len(data.labels)
    parts = (
        [np.flatnonzero(data.recording == index) for index in np.unique(data.recording)]
        if folds is None
        else np.array_split(np.arange(n_trials), folds)
    )
    found = []
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        for tested in parts:
            others = rng.permutation(np.setdiff1d(np.arange(n_trials), tested))
            chosen = [others[data.labels[others] == label][:n] for label in np.unique(data.labels)]
            found.append(Case(np.sort(np.concatenate(chosen)), tested, draw))
    return found


def right(decoder: Decoder, case: Case) -> int:
    """Train a decoder for a case; return how many trials it decides right."""
    data = decoder.data
    decided = np.isin(data.decided, case.tested)
    windows, labels = data.deciding[decided], data.labels[data.decided[decided]]
    if decoder.candidate is None:
        others = np.setdiff1d(np.arange(len(data.labels)), case.training)
        logits = fit.fit_baseline(data, others).logits(windows)
    elif not decoder.trained:
        assert decoder.candidate.start is not None
        logits = fit.untouched_logits(
            replace(data, windows=data.windows[:0], deciding=windows), decoder.candidate.start
        )
    else:
        kept = np.isin(data.trial, case.training)
        usable, trial = np.unique(data.trial[kept], return_inverse=True)
        chosen, how = TrialWindows(data.windows[kept], trial, data.labels[usable]), decoder.candidate
        recipe = replace(how.recipe, seed=case.draw)
        job = Job(np.arange(len(usable)), recipe, how.network_arguments, windows, how.start)
        (trained,) = run_jobs(chosen, len(data.classes), [job], workers=1)
        logits = trained.logits
    return int((np.asarray(logits).argmax(axis=1) == labels).sum())


def decoders(plan: run.Plan, bundles: Sequence[Bundle], recipe: Sequence[str]) -> list[Decoder]:
    """Condition the recordings, once for each contract, and return the rows."""
    first = bundles[0]
    of_person = run.prepare(replace(plan, terms={"pick": list(first.contract.channels), "sfreq": first.contract.sfreq}))
    rows = []
    known: dict[str, RecordedTrials] = {}
    for bundle in bundles:
        contract = bundle.contract.model_copy(update={"temperature": 1.0}).model_dump_json()
        if contract not in known:
            known[contract] = run.prepare(replace(plan, start=bundle)).data
        data = known[contract]
        candidate = starting_candidate(bundle, data.classes)
        candidate = replace(candidate, recipe=parse_recipe(candidate.recipe, recipe))
        rows += [
            Decoder(f"{bundle.name}, untouched", candidate, data, trained=False),
            Decoder(f"{bundle.name}, fine-tuned", candidate, data),
        ]
    rows.append(Decoder("network from scratch", run.candidate(of_person.contract), of_person.data))
    rows.append(Decoder("tangent space from scratch", None, of_person.data))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--model", action="append", type=Path, required=True, metavar="BUNDLE")
    parser.add_argument("--markers", nargs="+", required=True, metavar="LABEL=CLASS")
    parser.add_argument("--at", type=float)
    parser.add_argument("--trials", nargs="+", type=int, default=[5, 10, 15], metavar="N")
    parser.add_argument("--folds", type=int, metavar="K")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--recipe", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    given = parser.parse_args()
    markers = parse_marker_map([one if "=" in one else f"{one}={one}" for one in given.markers])
    classes = tuple(dict.fromkeys(markers.values()))
    plan = run.Plan(given.runs, classes, RunSettings(markers=markers), decided_at=given.at, n_folds=0)
    rows = decoders(plan, [load_bundle(path) for path in given.model], given.recipe)
    by_size = {n: cases(rows[0].data, n, given.draws, given.folds) for n in given.trials}
    calls = [(row, n, case) for row in rows for n, some in by_size.items() for case in some]
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        found = joblib.Parallel(given.workers)(joblib.delayed(right)(row, case) for row, _, case in calls)
    total = sum(len(case.tested) for case in by_size[given.trials[0]]) // given.draws
    print(f"| right of {total} | " + " | ".join(f"{n} per class" for n in given.trials) + " |")
    print("|---" * (len(given.trials) + 1) + "|")
    for row in rows:
        sums = [
            sum(one for one, (other, size, _) in zip(found, calls, strict=True) if other is row and size == n)
            for n in given.trials
        ]
        print(f"| {row.name} | " + " | ".join(f"{one / given.draws:.1f}" for one in sums) + " |")


if __name__ == "__main__":
    main()
