"""Control policy of a trained model, tuned on the predictions of each recording by a model that was trained without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mindwire.errors import ArgumentError
from mindwire.evaluation.control import ControlRun, ControlTask
from mindwire.evaluation.rest import RestTimes
from mindwire.evaluation.scores import EvaluatedRun, Trace
from mindwire.evaluation.tuning import TunedPolicy, tune
from mindwire.training.held_out import Execution, Split, run_split
from mindwire.training.run import Result
from mindwire_models.contract import Contract

_BEYOND_S = 1.0  # of the accuracy over time, after the decision


def tune_held_out(result: Result, idle: str, budget_per_minute: float) -> TunedPolicy:
    """Run the model of each fold over the recordings that it was not trained on, and tune a policy on these.

    Parameters
    ----------
    result : Result
    idle : str
        Class whose trials are rest; a trial lasts until it is decided.
    budget_per_minute : float

    Raises
    ------
    ArgumentError
        No recording was held out as a whole, or there is nothing to tune on.
    """
    if not result.by_fold or len(result.prepared.sources) < 2:
        why = "--folds 0 leaves validation out" if not result.by_fold else "there is one recording alone"
        msg = f"No control policy was tuned: that takes recordings that a model was not trained on, and {why}; `mindwire tune` takes others."
        raise ArgumentError(msg)
    task = control_task(result, idle)
    runs = [ControlRun.of(run, task) for run in held_out_runs(result, Execution(result.prepared.settings))]
    return tune(runs, task, budget_per_minute=budget_per_minute)


def control_task(result: Result, idle: str | None) -> ControlTask:
    """Return the task of a trained model, whose trials last until they are decided."""
    return ControlTask.of(result.prepared.contract, idle, result.prepared.span.decided_at)


def held_out_runs(result: Result, execution: Execution) -> list[EvaluatedRun]:
    """Run the model of each fold over the recordings, or the stretches of a single one, that it was not trained on.

    Of a single recording each fold gives a run of its own, cut at the fold's first and last trial.
    """
    prepared = result.prepared
    runs: list[EvaluatedRun] = []
    for fold, module in zip(prepared.folds, result.by_fold, strict=True):
        paths = [prepared.sources[i].path for i in np.unique(prepared.data.recording[fold])]
        split = Split((), paths)
        ((_, some),) = run_split(split, module, _contract(result), execution, {}, one_tested=len(paths) == 1)
        runs += [_stretch(some[0], fold, prepared.span.decided_at)] if len(prepared.sources) == 1 else some
    return runs


def rest_runs(
    result: Result, paths: Sequence[Path], markers: tuple[str, str], cued: Sequence[EvaluatedRun], execution: Execution
) -> tuple[Sequence[EvaluatedRun], RestTimes]:
    """Return runs of all recordings for a policy, and what of them is rest: what lies between two markers.

    Recordings that were held out as a whole are taken as they were ``cued``. The others are run by the model itself, which
    was not trained on their rest; their trials do not count.
    """
    held_out = {run.file for run in cued} if len(result.prepared.sources) > 1 else set()
    others = [path for path in paths if str(path) not in held_out]
    resting: list[EvaluatedRun] = []
    if others:
        ((_, resting),) = run_split(
            Split((), others), result.module, _contract(result), execution, {}, one_tested=False, classes=()
        )
    return [*cued, *resting], RestTimes(ranges=(markers,) if paths else ())


def _contract(result: Result) -> Contract:
    return result.prepared.contract.model_copy(update={"temperature": result.temperature})


def _stretch(run: EvaluatedRun, fold: np.ndarray, decided_at: float) -> EvaluatedRun:
    """Return the part of a recording that holds the trials of a fold, without markers of the rest."""
    trials = tuple(run.trials[i] for i in fold)
    trace, first, last = run.trace, trials[0].cue, trials[-1].cue + decided_at + _BEYOND_S
    kept = (trace.times >= first) & (trace.times <= last)
    part = Trace(trace.times[kept], trace.probabilities[kept], trace.reasons[kept])
    return replace(run, trace=part, trials=trials, markers=())
