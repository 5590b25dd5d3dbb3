"""Evaluation of many recordings: one after the other, in processes, and on a Ray cluster of three nodes of this machine.

    python benchmarks/many_recordings.py RECORDING... --model BUNDLE [--n 200] [--jobs 2] [--out FOLDER] [--ray]

The recordings are copied until there are N, each with a boundary of its own at its end, so that no two are the same file; one more
cannot be read. Prints the time of each way, the speed-up over one job, and that the reports are equal but for their
date; then ends a run in the middle and begins it again, and prints how many recordings were not run twice.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import uuid
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from tests.support.ray_cluster import RayCluster  # noqa: E402

_BOUNDARY = 5


def copies(recordings: list[Path], n: int, folder: Path) -> list[Path]:
    """Write N recordings, all different files, and one that cannot be read."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for i in range(n):
        path = folder / f"{i:03d}-{recordings[i % len(recordings)].name}"
        shutil.copyfile(recordings[i % len(recordings)], path)
        with path.open("ab") as file:  # length of the length, length, tag, content
            file.write(struct.pack("<BBH", 1, 18, _BOUNDARY) + uuid.UUID(int=i).bytes)
        made.append(path)
    damaged = folder / "damaged.xdf"
    damaged.write_bytes(b"XDF:" + bytes(100))
    return [*made, damaged]


def evaluate(folder: Path, model: Path, out: Path, *options: str) -> tuple[float, dict]:
    """Evaluate a folder's recordings with the command; return the seconds and the report."""
    began = time.perf_counter()
    done = subprocess.run(_command(folder, model, out, *options), capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode != 1:  # for the one that cannot be read
        raise SystemExit(done.stderr)
    report = json.loads((out / "report.json").read_text())
    del report["created"]
    return seconds, report


def _command(folder: Path, model: Path, out: Path, *options: str) -> list[str]:
    words = ["evaluate", str(folder), "--model", str(model), "--out", str(out), *options]
    return [sys.executable, "-m", "mindwire", *words]


def resumed(folder: Path, model: Path, out: Path, n: int, *options: str) -> tuple[int, int]:
    """Kill a run when a third of the results are there and begin it again; return how many were there and how many were new."""
    kept = out / "results"
    command = _command(folder, model, out, "--results", str(kept), *options)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0) as process:
        while process.poll() is None and len(list(kept.glob("*.parquet"))) < n // 3:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    before = {path: path.stat().st_mtime_ns for path in kept.glob("*.parquet")}
    evaluate(folder, model, out, "--results", str(kept), *options)
    after = {path: path.stat().st_mtime_ns for path in kept.glob("*.parquet")}
    again = sum(after[path] != when for path, when in before.items())
    if again:
        raise SystemExit(f"{again} recordings were run again.")
    return len(before), len(after) - len(before)


def main() -> None:
    """Run all ways and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recordings", nargs="+", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("many-recordings"))
    given = parser.parse_args()
    shutil.rmtree(given.out, ignore_errors=True)
    folder = given.out / "recordings"
    copies(given.recordings, given.n, folder)
    serial, expected = evaluate(folder, given.model, given.out / "serial")
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"{len(expected['runs'])} recordings, 1 job: {serial:.1f} s, {memory:.0f} MB; {len(expected['failed'])} not evaluated"
    )
    seconds, report = evaluate(folder, given.model, given.out / "jobs", "--jobs", str(given.jobs))
    print(f"{given.jobs} jobs: {seconds:.1f} s, {serial / seconds:.2f} times as fast; equal: {report == expected}")
    there, new = resumed(folder, given.model, given.out / "resumed", given.n, "--jobs", str(given.jobs))
    print(f"killed with {there} results: the other {new} were run, none again")
    if given.ray:
        with RayCluster("one", "two", "three", cpus=1) as cluster:
            seconds, report = evaluate(folder, given.model, given.out / "ray", "--ray", cluster.address)
        print(f"Ray, 3 nodes: {seconds:.1f} s, {serial / seconds:.2f} times as fast; equal: {report == expected}")


if __name__ == "__main__":
    main()
