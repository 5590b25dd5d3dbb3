"""Learning over runs and days: accuracy, distinctness of the classes and decision latency of each run of a participant.

Distinctness: the distance of the classes' mean covariances on the Riemannian manifold, divided by the mean distance of trials to their
class's mean (Lotte and Jeunet 2018, "Defining and quantifying users' mental imagery-based BCI skills: a first step"). It needs no
classifier, so that it shows what the person learns, whatever the model does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import ArgumentError, MindwireError
from mindwire.evaluation.metrics import chance_level, wilson_interval
from mindwire.evaluation.pseudo_online import Progress, RunSettings
from mindwire.evaluation.scores import Trace, decide
from mindwire.offline.recorded_run import RecordedRun, recorded_run, run_names
from mindwire.offline.trials import Trial
from mindwire.sessions.document import Run, read_session, sessions_in
from mindwire.sessions.progress import Basis, DayProgress, ProgressFigures, RunProgress, read_progress, write_progress
from mindwire.sources.recording import open_recording
from mindwire.training import fit
from mindwire.training.data import RecordedTrials, open_trials
from mindwire.training.run import Plan, prepare
from mindwire.types import Reason


@dataclass(frozen=True, slots=True)
class _Decided:
    """Decided trials: true and decided class ``(n_trials,)``, and the number without a decision."""

    basis: Basis
    true: NDArray[np.intp]
    decided: NDArray[np.intp]
    undecided: int


def update_progress(root: Path, participant: str, classes: Sequence[str], progress: Progress | None = None) -> None:
    """Compute the figures of a participant's runs that have none yet, and keep them with the sessions; progress counts runs.

    Runs count that have ended and have cues of at least two of the classes. A RecordingError says that a session's
    documents are damaged.
    """
    wanted: list[tuple[Path, Run]] = []
    for folder in sessions_in(root / participant):
        known = {(one.sha256, tuple(sorted(one.classes))) for one in read_progress(folder).runs}
        for run in read_session(folder).runs:
            cued = _cued(run, classes)
            if len(cued) > 1 and (run.sha256, cued) not in known:
                wanted.append((folder, run))
    for index, (folder, run) in enumerate(wanted):
        found = run_progress(folder, run, _cued(run, classes))
        runs = [one for one in read_progress(folder).runs if one.run != run.run]
        runs = sorted([*runs, found], key=lambda one: one.run)
        write_progress(folder, DayProgress(date=folder.name, runs=runs, day=_day(runs)))
        if progress is not None:
            progress(index + 1, len(wanted))


def _cued(run: Run, classes: Sequence[str]) -> tuple[str, ...]:
    """Return the classes of which a run that has ended has cues, sorted."""
    return tuple(name for name in sorted(classes) if run.sha256 and name in (run.cues or {}))


def run_progress(folder: Path, run: Run, classes: tuple[str, ...]) -> RunProgress:
    """Return the figures of one run, or the sentence for which there are none."""
    known: dict[str, Any] = {"run": run.run, "file": run.file, "sha256": run.sha256, "classes": list(classes)}
    known["models"] = list(dict.fromkeys(model.name for model in run.models))
    path = folder / run.file
    try:
        prepared = prepare(Plan([path], classes, RunSettings(), n_folds=0))
        data, at_s = prepared.data, prepared.span.decided_at
        _, (trials,), _ = open_trials([path], classes, RunSettings())
        live = _live_run(path, run, classes)
        decided = _cross_validated(data) if live is None else _online(live, trials, classes, at_s)
        latency = None if live is None else _latency(live, trials, at_s)
    except MindwireError as error:
        return RunProgress(**known, problem=str(error))
    figures = _figures(decided, _distinctness(data), latency)
    return RunProgress(**known, decided_at_s=at_s, **figures.model_dump())


def _live_run(path: Path, run: Run, classes: Sequence[str]) -> RecordedRun | None:
    """Return what a model predicted while the run was recorded; None where none knew all the classes."""
    recording = open_recording(path)
    if run.stream not in run_names(recording):
        return None
    live = recorded_run(recording, run.stream)
    return live if set(classes) <= set(live.classes) else None


def _online(live: RecordedRun, trials: Sequence[Trial], classes: Sequence[str], at_s: float) -> _Decided:
    """Decide trials by the predictions that were made live."""
    reasons = np.where(np.isnan(live.probabilities).any(axis=1), int(Reason.GAP), 0)
    trace = Trace(live.times, live.probabilities.astype(np.float64), reasons)
    hop = float(np.median(np.diff(live.times))) if len(live.times) > 1 else 0.0
    columns = [live.classes.index(name) for name in classes]
    found = decide(trace.restricted(columns), trials, classes, at_s, 1.5 * hop)
    return _Decided("online", found.true, found.predicted, found.n_undecided)


def _cross_validated(data: RecordedTrials) -> _Decided | None:
    """Decide trials by the tangent-space classifier of the others, in stretches of the run; None with too few trials."""
    try:
        folds = fit.make_folds(data)
    except ArgumentError:  # a class in one stretch alone, or too few trials
        return None
    logits = fit.baseline_logits(data, folds)
    if logits is None:
        return None
    predicted = logits[len(data.trial) :].argmax(axis=1)
    return _Decided("cross_validated", data.labels[data.decided], predicted, len(data.labels) - len(data.decided))


def _distinctness(data: RecordedTrials) -> float | None:
    """Return the distinctness of the classes in the windows that decide trials."""
    from pyriemann.classification import class_distinctiveness

    from mindwire_models.network.riemann import covariances

    labels = data.labels[data.decided]
    if len(np.unique(labels)) < 2 or np.bincount(labels)[np.unique(labels)].min() < 2:
        return None
    return float(class_distinctiveness(covariances(data.deciding), labels))


def _latency(live: RecordedRun, trials: Sequence[Trial], at_s: float) -> float | None:
    """Return the median time from a cue to the first decision of its class, of the trials that have one by their end."""
    if live.decisions is None:
        return None
    times, labels = live.decisions.times, live.decisions.values[:, 0]
    found = []
    for trial in trials:
        right = times[(labels == trial.label) & (times > trial.cue) & (times <= trial.cue + at_s)]
        found += [float(right.min()) - trial.cue] if len(right) else []
    return float(np.median(found)) if found else None


def _figures(decided: _Decided | None, distinctness: float | None, latency_s: float | None) -> ProgressFigures:
    shown = {"distinctness": distinctness, "latency_s": latency_s}
    if decided is None:
        return ProgressFigures.model_validate(shown)
    right, n_trials = int((decided.decided == decided.true).sum()), len(decided.true)
    return ProgressFigures(
        basis=decided.basis,
        trials=n_trials,
        right=right,
        undecided=decided.undecided,
        accuracy=right / n_trials if n_trials else None,
        interval=wilson_interval(right, n_trials),
        chance=chance_level(np.bincount(decided.true)) if n_trials else None,
        **shown,
    )


def _day(runs: Sequence[RunProgress]) -> ProgressFigures:
    """Return the figures of all runs of a day with the better basis; distinctness and latency are the runs' medians."""
    basis: Basis | None = next((name for name in get_args(Basis) if any(run.basis == name for run in runs)), None)
    same = [run for run in runs if run.basis == basis and run.trials]
    right, n_trials = sum(run.right for run in same), sum(run.trials for run in same)
    return ProgressFigures(
        basis=basis,
        trials=n_trials,
        right=right,
        undecided=sum(run.undecided for run in same),
        accuracy=right / n_trials if n_trials else None,
        interval=wilson_interval(right, n_trials),
        chance=sum((run.chance or 0.0) * run.trials for run in same) / n_trials if n_trials else None,
        distinctness=_median([run.distinctness for run in runs]),
        latency_s=_median([run.latency_s for run in runs]),
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
