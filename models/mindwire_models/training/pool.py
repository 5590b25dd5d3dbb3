"""Many trainings side by side: folds, seeds, members and sweeps are the same thing, a list of jobs.

Each job runs in a process of its own core with one thread: small networks gain nothing from two threads.
The result of a job does not depend on how many run beside it.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mindwire_models.errors import MissingExtraError
from mindwire_models.interrupts import children_without_interrupts
from mindwire_models.torch_threads import use_one_thread

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

    from mindwire_models.training.fit import Recipe, TrialWindows

Progress = Callable[[int, int], None]
State = dict[str, NDArray[Any]]

_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Job:
    """One training.

    Parameters
    ----------
    trials : ndarray of int, shape (n_trials,)
        The trials to train on.
    recipe : Recipe
    network_arguments : mapping
        Further arguments of the network.
    test : ndarray of float32, shape (n_windows, n_chans, n_times)
        Windows to decode with the trained network.
    """

    trials: NDArray[np.intp]
    recipe: Recipe
    network_arguments: Mapping[str, Any] = field(default_factory=dict)
    test: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """What a job gives.

    Parameters
    ----------
    state : dict of str to ndarray
        The network's ``state_dict``.
    config : dict
        The network's constructor arguments.
    logits : ndarray of float32, shape (n_windows, n_classes)
        Of the job's test windows.
    """

    state: State
    config: dict[str, Any]
    logits: NDArray[np.float32]


@dataclass(slots=True)
class _Worker:
    """What a worker process was given at its start."""

    data: TrialWindows
    n_outputs: int
    epochs: Synchronized[int] | None


_worker: _Worker | None = None


def _prepare(data: TrialWindows, n_outputs: int, epochs: Synchronized[int]) -> None:
    global _worker  # noqa: PLW0603 - the initializer of a pool has no other way to hand something to its jobs
    _worker = _Worker(data, n_outputs, epochs)


def _work(job: Job) -> Trained:
    assert _worker is not None  # noqa: S101 - set by the pool's initializer
    counter = _worker.epochs

    def count(done: int, _total: int) -> None:
        if counter is not None and done:
            with counter.get_lock():
                counter.value += 1

    return run_job(_worker.data, _worker.n_outputs, job, count)


def run_job(data: TrialWindows, n_outputs: int, job: Job, progress: Progress | None = None) -> Trained:
    """One training in this process, in one thread."""
    from mindwire_models.training.fit import predict_logits, train_network

    use_one_thread()
    network = train_network(
        data.subset(job.trials),
        n_outputs,
        job.recipe,
        network_arguments=job.network_arguments,
        progress=progress,
    )
    n_chans, n_times = data.windows.shape[1:]
    test = np.empty((0, n_chans, n_times), dtype=np.float32) if job.test is None else job.test
    logits = predict_logits(network, test)
    state = {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}
    return Trained(state, network.get_config(), logits)


def run_jobs(
    data: TrialWindows,
    n_outputs: int,
    jobs: Sequence[Job],
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Trained]:
    """Run jobs, several at a time.

    Parameters
    ----------
    data : TrialWindows
    n_outputs : int
    jobs : sequence of Job
    workers : int or None
        Processes; None takes one per core that this process may use. One runs the jobs here.
    progress : callable, optional
        Told the epochs done and the epochs in all.

    Returns
    -------
    list of Trained
        In the order of the jobs.

    Raises
    ------
    ArgumentError
        A job cannot be trained.
    MissingExtraError
        PyTorch is not installed.
    """
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        msg = "Training needs PyTorch; install it with: pip install '.[train]' in Mindwire's folder."
        raise MissingExtraError(msg) from error
    total = sum(job.recipe.epochs for job in jobs)
    workers = min(workers or len(os.sched_getaffinity(0)), len(jobs))
    if workers <= 1:
        return _run_here(data, n_outputs, jobs, total, progress)
    # A fresh interpreter per worker: a forked copy of a process that has used torch may hang.
    context = multiprocessing.get_context("spawn")
    epochs = context.Value("q", 0)
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, context, _prepare, (data, n_outputs, epochs)) as pool:
        try:
            with children_without_interrupts():
                futures = [pool.submit(_work, job) for job in jobs]
            pending = set(futures)
            while pending:
                finished, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                if progress is not None:
                    progress(epochs.value, total)
                for future in finished:
                    future.result()  # a failure ends the wait for the others
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - others:
                process.kill()  # else the end waits for the trainings that run
            raise
    return [future.result() for future in futures]


def _run_here(
    data: TrialWindows, n_outputs: int, jobs: Sequence[Job], total: int, progress: Progress | None
) -> list[Trained]:
    trained, before = [], 0
    for job in jobs:
        start = before

        def count(done: int, _total: int, start: int = start) -> None:
            if progress is not None:
                progress(start + done, total)

        trained.append(run_job(data, n_outputs, job, count))
        before += job.recipe.epochs
    return trained
