"""schemathesis on the REST interface of a running service, while a client of one of its streams must not notice.

    python benchmarks/fuzz_rest.py [--seconds 600] [--workers 1] [--seed 1]

Requests are generated from the service's own ``/openapi.json``, valid and invalid ones, in sequences too. Ends with 0 if no
answer was a 5xx, the service neither ended nor logged a traceback, the bystander missed no prediction, and memory grew by
at most 3 % since a third of the time. Before, PyTorch is loaded, as the first stream that adapts its network does, and
streams are added and removed, whose LSL outlets fragment the heap. ``/health/ready`` is left out: 503 is its answer while any stream is not ready.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.fuzz_service import ROOT, Bystander, FuzzedService, fuzzed_service, verdict

# Less than one address may ask for, so that the limit is not all that is tested.
_RATE = "150/s"


def schemathesis(service: FuzzedService, seconds: float, seed: int, folder: Path) -> tuple[int, str]:
    """Generate requests for a time, and remove the streams that they add; returns the exit code and the output."""
    over = threading.Event()
    tidying = threading.Thread(target=_tidy, args=(service, over))
    tidying.start()
    try:
        return _schemathesis(service, seconds, seed, folder)
    finally:
        over.set()
        tidying.join()


def _tidy(service: FuzzedService, over: threading.Event) -> None:
    while not over.wait(2.0):
        with contextlib.suppress(OSError):
            service.tidy()


def _schemathesis(service: FuzzedService, seconds: float, seed: int, folder: Path) -> tuple[int, str]:
    words = [
        "run",
        f"http://{service.address}/openapi.json",
        "--max-time",
        str(max(1, round(seconds))),
        "--seed",
        str(seed),
    ]
    words += ["--checks", "not_a_server_error", "--rate-limit", _RATE, "--no-shrink", "--continue-on-failure"]
    words += ["--exclude-path", "/health/ready", "--request-timeout", "30", "--no-color", "--warnings", "off"]
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *words],
        cwd=folder,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "benchmarks.fuzz_hooks", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=seconds + 120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def fuzz(seconds: float, workers: int, seed: int) -> tuple[dict, list[str]]:
    """Fuzz a service; returns the figures and what went wrong."""
    with tempfile.TemporaryDirectory(prefix="mindwire-fuzz-") as name, fuzzed_service(Path(name), workers) as service:
        service.warm_up(rounds=20 if seconds > 60 else 1)
        bystander = Bystander(service.address)
        memory, requests, problems = [], 0, []
        for part, share in enumerate((1 / 3, 2 / 3)):
            code, output = schemathesis(service, seconds * share, seed + part, Path(name))
            cases = re.findall(r"(\d+) (?:test cases )?generated", output.replace(",", ""))
            requests += int(cases[-1]) if cases else 0
            print(f"part {part + 1}: {output[-2000:]}", file=sys.stderr, flush=True)
            if code:
                problems.append(f"schemathesis found something:\n{output[-6000:]}")
            memory.append(service.memory())
        figures, more = verdict(service, bystander, memory, seconds=seconds, workers=workers, cases=requests)
        bystander.close()
    return figures, [*problems, *more]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    figures, problems = fuzz(**vars(parser.parse_args()))
    print(json.dumps(figures))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
