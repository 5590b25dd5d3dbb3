"""Learning curve of a new person: published networks untouched and fine-tuned, beside training from scratch, by number of trials.

    python benchmarks/transfer.py run04.xdf run08.xdf --model B1 --model B3 --markers left_hand right_hand --at 4.0 --out curve

Runs are held out in turn, or, with ``--folds K``, K stretches of successive trials of all runs. Of the other trials N of each class
are drawn (all, where there are fewer), for each draw others but the same for every decoder, and train it. Rows:

- untouched: a bundle of ``--model`` without training;
- fine-tuned: the same, trained on as ``mindwire train --from`` does, with ``--recipe KEY=VALUE`` in another way;
- network, tangent space: trained from scratch under the default contract of ``mindwire train``, on the electrodes and at the rate of the bundles.

Trials right, the mean over draws and in brackets the least and the most of a draw; undecided trials count as wrong. ``--out FOLDER`` gets the
table (``transfer.md``), a picture (``transfer.svg``) and each case's count (``transfer.json``); counts that are there already are
not measured again, so a run that was stopped goes on, and more draws add to it. Trainings run in parallel by joblib, one thread each.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
import numpy as np
from numpy.typing import NDArray

from mindwire.cli.train_options import parse_recipe
from mindwire.evaluation.pseudo_online import RunSettings
from mindwire.evaluation.svg import Axis, Figure, Line, standalone
from mindwire.offline.trials import parse_marker_map
from mindwire.training import fit, run
from mindwire.training.data import RecordedTrials
from mindwire.training.transfer import starting_candidate
from mindwire_models.bundle import Bundle, load_bundle
from mindwire_models.parallel import Parallel
from mindwire_models.training.pool import Job, run_jobs
from mindwire_models.training.trials import TrialWindows

Trials = NDArray[np.intp]
COLOURS = ("#c2571a", "#2f855a", "#9a7d0a", "#8b3fb5", "#2563a8", "#5b6677")


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
    fold: int


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
        for fold, tested in enumerate(parts):
            others = rng.permutation(np.setdiff1d(np.arange(n_trials), tested))
            chosen = [others[data.labels[others] == label][:n] for label in np.unique(data.labels)]
            found.append(Case(np.sort(np.concatenate(chosen)), tested, draw, fold))
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
        (trained,) = run_jobs(chosen, len(data.classes), [job], parallel=Parallel())
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


def key(row: Decoder, n: int, case: Case) -> str:
    """Return the name under which a case's count is kept; a bundle untouched has one count for all sizes and draws."""
    return f"{row.name}, fold {case.fold}" + (f", {n} per class, draw {case.draw}" if row.trained else "")


def by_draw(counts: Mapping[str, int], row: Decoder, n: int, some: Sequence[Case]) -> list[int]:
    """Return the trials right of each draw whose folds were all measured."""
    folds: dict[int, list[int | None]] = {}
    for case in some:
        folds.setdefault(case.draw, []).append(counts.get(key(row, n, case)))
    known = [[one for one in found if one is not None] for found in folds.values()]
    return [sum(found) for found, all_of in zip(known, folds.values(), strict=True) if len(found) == len(all_of)]


def table(
    rows: Sequence[Decoder], by_size: Mapping[int, Sequence[Case]], counts: Mapping[str, int], n_trials: int
) -> str:
    """Return the learning curves as a table in Markdown."""
    lines = [f"| right of {n_trials} | " + " | ".join(f"{n} per class" for n in by_size) + " |"]
    lines.append("|---" * (len(by_size) + 1) + "|")
    for row in rows:
        found = [by_draw(counts, row, n, some) for n, some in by_size.items()]
        lines.append(f"| {row.name} | " + " | ".join(map(_cell, found)) + " |")
    return "\n".join(lines)


def _cell(found: Sequence[int]) -> str:
    if not found:
        return "–"
    spread = f" ({min(found)} to {max(found)})" if min(found) < max(found) else ""
    return f"{np.mean(found):.1f}{spread}"


def picture(
    rows: Sequence[Decoder], by_size: Mapping[int, Sequence[Case]], counts: Mapping[str, int], n_trials: int
) -> str:
    """Return the learning curves as an SVG document, each point the mean over draws; the bundles' means are one curve each."""
    curves: dict[str, list[list[int]]] = {}
    for row in rows:
        kind = row.name if row.candidate is None or row.candidate.start is None else row.name.split(", ")[-1]
        found = [by_draw(counts, row, n, some) for n, some in by_size.items()]
        curves[kind] = [a + b for a, b in zip(curves.get(kind, [[] for _ in found]), found, strict=True)]
    lines = [
        Line(
            list(by_size), [float(np.mean(one)) if one else None for one in found], "curve", name=(kind,), colour=colour
        )
        for (kind, found), colour in zip(curves.items(), COLOURS, strict=False)
    ]
    title = "Trials right by number of trials trained on"
    low, high = int(0.4 * n_trials), n_trials
    figure = Figure(
        x=Axis(min(by_size) - 0.5, max(by_size) + 0.5, list(by_size), "trials of each class"),
        y=Axis(low, high, range(low, high + 1, max(1, (high - low) // 6)), f"right of {n_trials}"),
        title=title,
        lines=lines,
        width=680,
        right=210,
    )
    return standalone(figure.svg(), title)


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
    parser.add_argument("--out", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    markers = parse_marker_map([one if "=" in one else f"{one}={one}" for one in given.markers])
    classes = tuple(dict.fromkeys(markers.values()))
    plan = run.Plan(given.runs, classes, RunSettings(markers=markers), decided_at=given.at, n_folds=0)
    rows = decoders(plan, [load_bundle(path) for path in given.model], given.recipe)
    by_size = {n: cases(rows[0].data, n, given.draws, given.folds) for n in given.trials}
    counts: dict[str, int] = {}
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        kept = given.out / "transfer.json"
        counts = json.loads(kept.read_text()) if kept.exists() else {}
    wanted = {
        key(row, n, case): (row, case)
        for draw in range(given.draws)
        for n, some in by_size.items()
        for row in rows
        for case in some
        if case.draw == draw
    }
    calls = {name: call for name, call in wanted.items() if name not in counts}
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        found = joblib.Parallel(given.workers, return_as="generator", batch_size=1)(
            joblib.delayed(right)(row, case) for row, case in calls.values()
        )
    for name, one in zip(calls, found, strict=True):
        counts[name] = one
        print(f"{name}: {one}", file=sys.stderr, flush=True)
        if given.out:
            kept.write_text(json.dumps(counts, indent=1))
    n_trials = len(rows[0].data.labels)
    text = table(rows, by_size, counts, n_trials)
    print(text)
    if given.out:
        (given.out / "transfer.md").write_text(f"{text}\n", encoding="utf-8")
        (given.out / "transfer.svg").write_text(picture(rows, by_size, counts, n_trials), encoding="utf-8")


if __name__ == "__main__":
    main()
