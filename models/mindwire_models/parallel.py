"""Independent jobs: in this process, in several by joblib, or on the nodes of a cluster by Ray.

What a job returns does not depend on where it runs or on how many run at the same time.
"""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from mindwire_models.errors import ClusterError, JobError, MindwireError, extra
from mindwire_models.interrupts import children_without_interrupts

Shared = TypeVar("Shared")
Argument = TypeVar("Argument")
Result = TypeVar("Result")

log = logging.getLogger(__name__)

_ATTEMPTS = 3
_CONNECT_S = 5.0
_OWN = "auto"
_PROTOCOL = "ray://"


@dataclass(frozen=True, slots=True)
class Parallel:
    """Number of jobs at the same time, and the place.

    Parameters
    ----------
    jobs : int
        Jobs at the same time on this machine; 1 runs them in this process.
    ray : str or None
        Address of a Ray cluster, ``HOST:PORT``, ``ray://HOST:PORT`` or ``auto`` for the one that this machine belongs to.
    """

    jobs: int = 1
    ray: str | None = None

    @property
    def here(self) -> bool:
        """True if jobs run in this process."""
        return self.jobs == 1 and self.ray is None


def run_parallel(
    function: Callable[[Shared, Argument], Result], shared: Shared, arguments: Sequence[Argument], parallel: Parallel
) -> Iterator[tuple[int, Result | MindwireError]]:
    """Run a function for each argument; yield the number of the argument and the result, or the error, as each job ends.

    A job whose process or node dies is run again, up to three times in all; a job that fails ends no other.

    Parameters
    ----------
    function : callable
        Of an importable module; called with ``shared`` and one of the arguments. These and the result are pickled unless the job
        runs in this process.
    shared : object
        Sent once to each process or node; arrays in it are mapped into processes of this machine.
    arguments : sequence
    parallel : Parallel

    Raises
    ------
    MissingExtraError
        joblib or Ray is not installed.
    ClusterError
        The cluster is not reached.
    """
    if parallel.ray is not None:
        return _on_cluster(function, shared, arguments, parallel.ray)
    jobs = min(parallel.jobs, len(arguments))
    if jobs <= 1:
        return ((number, _checked(function, shared, argument)) for number, argument in enumerate(arguments))
    return _in_processes(function, shared, arguments, jobs)


def _checked(
    function: Callable[[Shared, Argument], Result], shared: Shared, argument: Argument
) -> Result | MindwireError:
    try:
        return function(shared, argument)
    except MindwireError as error:
        return error


def _attempt(
    function: Callable[[Shared, Argument], Result], shared: Shared, argument: Argument
) -> Result | MindwireError:
    try:
        return _checked(function, shared, argument)
    except Exception as error:
        log.debug("A job failed.", exc_info=True)
        return JobError(f"The job failed ({type(error).__name__}: {error}).")


def _numbered(
    function: Callable[[Shared, Argument], Result], shared: Shared, number: int, argument: Argument
) -> tuple[int, Result | MindwireError]:
    return number, _attempt(function, shared, argument)


def _in_processes(
    function: Callable[[Shared, Argument], Result], shared: Shared, arguments: Sequence[Argument], jobs: int
) -> Generator[tuple[int, Result | MindwireError]]:
    with extra("jobs", "Many jobs need joblib"):
        import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    # A process that has grown by 300 MB ends and is replaced; what joblib's thread says of it is nothing for the user.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor", UserWarning)

    def calls(begun: list[int], some: Sequence[tuple[int, Argument]]) -> Iterator[Any]:
        for number, argument in some:
            begun.append(number)
            yield joblib.delayed(_numbered)(function, shared, number, argument)

    rounds = deque([dict(enumerate(arguments))])
    ended: Counter[int] = Counter()
    while rounds:
        left = rounds.popleft()
        begun: list[int] = []
        one_thread = joblib.parallel_config("loky", inner_max_num_threads=1)
        try:
            with one_thread, children_without_interrupts():
                results = joblib.Parallel(
                    jobs, return_as="generator_unordered", batch_size=1, pre_dispatch=jobs, mmap_mode="c"
                )(calls(begun, list(left.items())))
            with _ending(results):
                for number, result in results:
                    del left[number]
                    yield number, result
        except TerminatedWorkerError:
            # One of those that ran has ended its process, and with it all: each of them is run again by itself, and so are
            # those whose results were lost with it.
            suspects = [number for number in begun if number in left]
            ended.update(suspects)
            alone = {number: left.pop(number) for number in suspects}
            rounds.extendleft([left] if left else [])
            for number, argument in alone.items():
                if ended[number] < _ATTEMPTS:
                    rounds.append({number: argument})
                else:
                    yield number, JobError(f"The job's process ended {_ATTEMPTS} times, perhaps for want of memory.")


@contextmanager
def _ending(results: Generator[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        with warnings.catch_warnings():  # joblib gives advice about the jobs that an interrupt has ended
            warnings.simplefilter("ignore", UserWarning)
            results.close()


def connect(address: str) -> Any:
    """Connect this process to a Ray cluster, which is never started, and return the module ``ray``.

    Parameters
    ----------
    address : str
        As of a :class:`Parallel`.

    Raises
    ------
    MissingExtraError
        Ray is not installed.
    ClusterError
        There is no cluster at the address.
    """
    with extra("ray", "--ray needs Ray"):
        import ray
    none = f"--ray {address}: expected the address of a Ray cluster, as `ray start --head` prints it, found none that answers"
    if address != _OWN:
        host, _, port = address.removeprefix(_PROTOCOL).rpartition(":")
        try:
            socket.create_connection((host, int(port)), _CONNECT_S).close()
        except (OSError, ValueError, OverflowError) as error:
            msg = f"{none} ({error}); start one, or check the address."
            raise ClusterError(msg) from error
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        first = str(error).partition("\n")[0].rstrip(".")
        msg = f"{none} ({first}); this machine has to be one of its nodes, by `ray start --address=HOST:PORT`."
        raise ClusterError(msg) from error
    return ray


def _there(
    function: Callable[[Shared, Argument], Result], shared: Shared, argument: Argument, needed: str, folder: str
) -> Result | MindwireError:
    """Run a job on a node: with the version that is needed, and in the folder that relative paths begin from."""
    if (found := version("mindwire")) != needed:
        return JobError(f"The node has Mindwire {found}, and {needed} is needed; install it there.")
    try:
        os.chdir(folder)
    except OSError as error:
        return JobError(f"The node has no folder {folder} ({error.strerror}); nodes need the files at the same paths.")
    return _attempt(function, shared, argument)


def _on_cluster(
    function: Callable[[Shared, Argument], Result], shared: Shared, arguments: Sequence[Argument], address: str
) -> Generator[tuple[int, Result | MindwireError]]:
    ray = connect(address)
    try:
        task = ray.remote(num_cpus=1, max_retries=_ATTEMPTS - 1)(_there)
        everywhere = ray.put(shared)
        # As many wait as run: more would only fill the cluster's memory with results.
        n_waiting = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        left = deque(enumerate(arguments))
        running: dict[Any, int] = {}
        while left or running:
            while left and len(running) < n_waiting:
                number, argument = left.popleft()
                running[task.remote(function, everywhere, argument, version("mindwire"), str(Path.cwd()))] = number
            for done in ray.wait(list(running))[0]:
                number = running.pop(done)
                try:
                    yield number, ray.get(done)
                except ray.exceptions.RayError as error:
                    first = str(error).partition("\n")[0].rstrip(".")
                    yield number, JobError(f"The job ended without a result ({type(error).__name__}: {first}).")
    finally:
        ray.shutdown()  # and what still runs ends
