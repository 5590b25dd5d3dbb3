"""Independent jobs give the same wherever they run, and one that fails or ends its process ends no other."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mindwire_models.errors import ArgumentError, ClusterError, JobError, MindwireError, MissingExtraError
from mindwire_models.parallel import Parallel, run_parallel
from tests.support.ray_cluster import RayCluster


def scaled(shared: np.ndarray, factor: int) -> np.ndarray:
    return shared * factor


def sometimes(folder: Path, number: int) -> int:
    """Refuse 1, raise at 2, end the process once at 3 and always at 4."""
    if number == 1:
        msg = "One is refused."
        raise ArgumentError(msg)
    if number == 2:
        msg = "no such thing"
        raise KeyError(msg)
    with (folder / str(number)).open("a") as file:
        file.write(".")
    if number == 4 or (number == 3 and (folder / "3").stat().st_size == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return number


_KEPT: list[np.ndarray] = []


def growing(seconds: float, number: int) -> int:
    """Keep 400 MB from the second job on, as imports and caches do."""
    time.sleep(seconds)
    if number > 1 and not _KEPT:
        _KEPT.append(np.ones(50_000_000))
    return number


def check_results(results: dict[int, int | MindwireError], folder: Path) -> None:
    good = {number: result for number, result in results.items() if not isinstance(result, MindwireError)}
    assert good == {number: number for number in range(12) if number not in (1, 2, 4)}
    assert isinstance(results[1], ArgumentError)
    assert str(results[1]) == "One is refused."
    assert isinstance(results[2], JobError)
    assert "KeyError" in str(results[2])
    assert isinstance(results[4], JobError)
    assert (folder / "3").stat().st_size == 2
    assert (folder / "4").stat().st_size <= 3


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_results_do_not_depend_on_the_number_of_processes(jobs: int) -> None:
    data = np.random.default_rng(1).normal(size=200_000)
    results = dict(run_parallel(scaled, data, range(3), Parallel(jobs)))
    assert sorted(results) == [0, 1, 2]
    for number, result in results.items():
        np.testing.assert_array_equal(result, data * number)


def test_a_job_that_fails_or_dies_ends_no_other(tmp_path: Path) -> None:
    check_results(dict(run_parallel(sometimes, tmp_path, range(12), Parallel(2))), tmp_path)


def test_a_process_that_grows_is_replaced_without_a_word() -> None:
    assert dict(run_parallel(growing, 0.6, range(8), Parallel(2))) == {number: number for number in range(8)}


def test_in_this_process_refusals_are_results_and_faults_are_raised(tmp_path: Path) -> None:
    results = dict(run_parallel(sometimes, tmp_path, [0, 1], Parallel()))
    assert results[0] == 0
    assert isinstance(results[1], ArgumentError)
    with pytest.raises(KeyError):
        list(run_parallel(sometimes, tmp_path, [2], Parallel()))


def test_nothing_to_do_is_nothing_done() -> None:
    assert list(run_parallel(scaled, np.zeros(1), [], Parallel(4))) == []


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "127.0.0.1:port", "ray://127.0.0.1:1"])
def test_an_address_without_a_cluster_is_refused_in_one_sentence(address: str) -> None:
    with pytest.raises(ClusterError, match="expected the address of a Ray cluster"):
        list(run_parallel(scaled, np.zeros(1), [1], Parallel(ray=address)))


@pytest.mark.parametrize(
    ("parallel", "package", "named"), [(Parallel(2), "joblib", "jobs"), (Parallel(ray="auto"), "ray", "ray")]
)
def test_a_missing_package_is_named(
    parallel: Parallel, package: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"pip install '\.\[{named}\]'"):
        list(run_parallel(scaled, np.zeros(1), [1, 2], parallel))


@pytest.mark.ray
def test_a_cluster_gives_the_same_and_survives_jobs_that_die(tmp_path: Path) -> None:
    data = np.random.default_rng(1).normal(size=200_000)
    with RayCluster("one", "two", "three", cpus=1) as cluster:
        for number, result in run_parallel(scaled, data, range(6), Parallel(ray=cluster.address)):
            np.testing.assert_array_equal(result, data * number)
        check_results(dict(run_parallel(sometimes, tmp_path, range(12), Parallel(ray=cluster.address))), tmp_path)
