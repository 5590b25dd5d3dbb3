"""Control policy of a trained model, tuned on the predictions of each recording by a model that was trained without it."""

from __future__ import annotations

import numpy as np

from mindwire.errors import ArgumentError
from mindwire.evaluation.control import ControlRun, ControlTask
from mindwire.evaluation.tuning import TunedPolicy, tune
from mindwire.training.held_out import Execution, Split, run_split
from mindwire.training.run import Result


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
    prepared, n_recordings = result.prepared, len(result.prepared.sources)
    if not result.by_fold or n_recordings < 2:
        why = "--folds 0 leaves validation out" if not result.by_fold else "there is one recording alone"
        msg = f"No control policy was tuned: that takes recordings that a model was not trained on, and {why}; `mindwire tune` takes others."
        raise ArgumentError(msg)
    contract = prepared.contract.model_copy(update={"temperature": result.temperature})
    task = ControlTask.of(contract, idle, prepared.span.decided_at)
    runs: list[ControlRun] = []
    for fold, module in zip(prepared.folds, result.by_fold, strict=True):
        paths = [prepared.sources[i].path for i in np.unique(prepared.data.recording[fold])]
        split = Split((), paths)
        for _, some in run_split(split, module, contract, Execution(prepared.settings), {}, one_tested=len(paths) == 1):
            runs += [ControlRun.of(run, task) for run in some]
    return tune(runs, task, budget_per_minute=budget_per_minute)
