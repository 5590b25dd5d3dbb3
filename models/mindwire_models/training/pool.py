"""Many trainings at a time: folds, seeds, members and sweeps are the same thing, a list of jobs.

Each job has a process and one thread of its own: small networks gain nothing from two threads.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mindwire_models.errors import MindwireError, extra
from mindwire_models.parallel import Parallel, run_parallel
from mindwire_models.training.trials import Progress, TrialWindows

if TYPE_CHECKING:
    from mindwire_models.network.attentionbasenet import AttentionBaseNet
    from mindwire_models.training.fit import Recipe

_REPORT_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Job:
    """One training on some trials, from a network's weights where there is a ``start``.

    ``test`` are windows ``(n_windows, n_chans, n_times)`` for the trained network to decode.
    """

    trials: NDArray[np.intp]
    recipe: Recipe
    network_arguments: Mapping[str, Any] = field(default_factory=dict)
    test: NDArray[np.float32] | None = None
    start: AttentionBaseNet | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained network, in evaluation mode, and its logits of the job's test windows."""

    network: AttentionBaseNet
    logits: NDArray[np.float32]


def run_jobs(
    data: TrialWindows,
    n_outputs: int,
    jobs: Sequence[Job],
    *,
    parallel: Parallel | None = None,
    progress: Progress | None = None,
) -> list[Trained]:
    """Run jobs and return their results in the same order; by default one per core at a time, on this machine.

    ``progress`` counts epochs and is called in a thread of its own; those of a cluster count when their job ends.

    Raises
    ------
    ArgumentError
        A job cannot be trained.
    JobError
        A job ended without a result.
    MissingExtraError
        PyTorch, joblib or Ray is not installed.
    ClusterError
        The cluster is not reached.
    """
    with extra("train", "Training needs PyTorch and joblib"):
        import joblib
        import torch  # noqa: F401
    where = parallel or Parallel(joblib.cpu_count())
    results: dict[int, Trained] = {}
    with tempfile.TemporaryDirectory(prefix="mindwire-") as folder:
        # A file that every process of this machine maps; joblib maps the training data likewise, instead of copying it to each.
        epochs = np.memmap(Path(folder) / "epochs", dtype=np.int64, mode="w+", shape=len(jobs))
        seen = [epochs[i : i + 1] if where.ray is None else None for i in range(len(jobs))]
        calls = list(zip(jobs, seen, strict=True))
        with _reporting(progress, epochs, sum(job.recipe.epochs for job in jobs)):
            for number, result in run_parallel(_run, (data, n_outputs), calls, where):
                if isinstance(result, MindwireError):
                    raise result
                results[number] = result
                epochs[number] = jobs[number].recipe.epochs
    return [results[number] for number in range(len(jobs))]


def _run(shared: tuple[TrialWindows, int], call: tuple[Job, NDArray[np.int64] | None]) -> Trained:
    import torch

    from mindwire_models.training.fit import fine_tune, predict_logits, train_network

    (data, n_outputs), (job, epoch) = shared, call

    def note(done: int, _total: int) -> None:
        if epoch is not None:
            epoch[0] = done

    torch.set_num_threads(1)  # results would depend on their number
    trials = data.subset(job.trials)
    if job.start is None:
        network = train_network(trials, n_outputs, job.recipe, network_arguments=job.network_arguments, progress=note)
    else:
        network = fine_tune(job.start, trials, recipe=job.recipe, progress=note)
    test = np.empty((0, *data.windows.shape[1:]), dtype=np.float32) if job.test is None else job.test
    return Trained(network, predict_logits(network, test))


@contextmanager
def _reporting(progress: Progress | None, epochs: NDArray[np.int64], total: int) -> Iterator[None]:
    if progress is None:
        yield
        return
    ended = threading.Event()

    def report() -> None:
        while not ended.wait(_REPORT_SECONDS):
            progress(int(epochs.sum()), total)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    progress(int(epochs.sum()), total)
