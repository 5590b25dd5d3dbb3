"""Many trainings at a time: folds, seeds, members and sweeps are the same thing, a list of jobs that joblib runs.

Each job has a process and one thread of its own: small networks gain nothing from two threads. The result of a job does not
depend on how many run at the same time.
"""

from __future__ import annotations

import tempfile
import threading
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mindwire_models.errors import extra
from mindwire_models.interrupts import children_without_interrupts
from mindwire_models.training.trials import Progress, TrialWindows

if TYPE_CHECKING:
    from mindwire_models.network.attentionbasenet import AttentionBaseNet
    from mindwire_models.training.fit import Recipe

_REPORT_SECONDS = 0.2
_IDLE_SECONDS = 2.0


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
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Trained]:
    """Run jobs in several processes, by default one per core, and return their results in the same order.

    One worker runs the jobs in this process. ``progress`` counts epochs and is called in a thread of its own.

    Raises
    ------
    ArgumentError
        A job cannot be trained.
    MissingExtraError
        PyTorch or joblib is not installed.
    """
    with extra("train", "Training needs PyTorch and joblib"):
        import joblib
        import torch  # noqa: F401
    workers = max(1, min(workers or joblib.cpu_count(), len(jobs)))
    with tempfile.TemporaryDirectory(prefix="mindwire-") as folder:
        # A file that every process maps; joblib maps the training data likewise, instead of copying it to each.
        epochs = np.memmap(Path(folder) / "epochs", dtype=np.int64, mode="w+", shape=len(jobs))
        calls = (joblib.delayed(_run)(data, n_outputs, job, epochs[i : i + 1]) for i, job in enumerate(jobs))
        parallel = joblib.parallel_config("loky", idle_worker_timeout=_IDLE_SECONDS, inner_max_num_threads=1)
        with _reporting(progress, epochs, sum(job.recipe.epochs for job in jobs)):
            trained: Generator[Trained] = _none()
            try:
                with parallel, children_without_interrupts():
                    trained = joblib.Parallel(workers, return_as="generator", batch_size=1, mmap_mode="c")(calls)
                return list(trained)
            finally:
                with warnings.catch_warnings():  # joblib gives advice about the jobs that an interrupt has ended
                    warnings.simplefilter("ignore", UserWarning)
                    trained.close()


def _none() -> Generator[Trained]:
    yield from ()


def _run(data: TrialWindows, n_outputs: int, job: Job, epoch: NDArray[np.int64]) -> Trained:
    import torch

    from mindwire_models.training.fit import fine_tune, predict_logits, train_network

    def note(done: int, _total: int) -> None:
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
