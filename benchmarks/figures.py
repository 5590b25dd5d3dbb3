"""Figures that the design holds, each with its goal, as a table in Markdown.

    python benchmarks/figures.py [FIGURE …] [--rounds 3]

Figures: latency, decoder, streams, replay, startup, clients. Without names all are measured, in some twenty minutes on two
cores. Each value is the median of the rounds and a ratio or count within one run; ``streams`` takes five rounds and gives
the worst. Linux only; needs PyTorch for ``decoder`` and ``replay``. Peers are compared by ``benchmarks/peers/compare.py``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.clients import many_clients  # noqa: E402
from mindwire.bench.decoders import decoder_latency  # noqa: E402
from mindwire.bench.latency import LatencyRun  # noqa: E402
from mindwire.bench.startup import start_up  # noqa: E402
from mindwire.bench.streams import many_streams  # noqa: E402
from mindwire.evaluation.tables import TextTable  # noqa: E402
from mindwire_models.zoo import zoo_bundle_path  # noqa: E402

MODEL, HOP, CHUNK = zoo_bundle_path(), 10, 10
_STREAM_ROUNDS = 5
Row = tuple[str, str, str]


def _latency_case(chunk: int) -> dict[str, Any]:
    return LatencyRun(MODEL, chunk=chunk, hop=HOP, seconds=20.0, floor_seconds=12.0).measure()


def latency(rounds: int) -> Iterator[Row]:
    """Latency against the floor of the same run, of decisions too; use of the processor and memory of one stream."""
    for chunk in (1, 10):
        found = [_latency_case(chunk) for _ in range(rounds)]
        for quantile, goal in (("p50", "≤ 1.3"), ("p99", "≤ 1.6")):
            value = median(run["ratio"][quantile] for run in found)
            ms = median(run["websocket"][quantile] for run in found)
            yield f"latency ÷ floor, chunks of {chunk}, {quantile}", goal, f"{value:.2f} ({ms:.2f} ms)"
        for part in ("decision", "decision as OSC"):
            both = [(run["decisions"][part]["p99"], run["decisions"]["prediction"]["p99"]) for run in found]
            later = median(decided - predicted for decided, predicted in both)
            yield f"{part}, p99 less the prediction's, chunks of {chunk}", "≤ 1 ms", f"{later:.2f} ms"
    idle = median(run["cpu_percent"]["waiting for a stream"] for run in found)
    busy = median(run["cpu_percent"]["one stream"] for run in found)
    yield "idle: share of a core while waiting for a stream", "≤ 3 %", f"{idle:.1f} % (with a stream {busy:.1f} %)"
    yield "memory with one stream", "≤ 130 MiB", f"{median(run['memory_mib'] for run in found):.0f} MiB"


def decoder(rounds: int) -> Iterator[Row]:
    """The service's decoder against eager PyTorch and the plain graph, batch 1."""
    found = [decoder_latency(MODEL, hop=HOP, batches=(1,), rounds=40)["designs"]["1"] for _ in range(rounds)]
    for name, goal in (("eager PyTorch", "≥ 45"), ("plain ONNX", "≥ 15")):
        yield f"{name} ÷ streaming decoder", goal, f"{median(run[name]['times_service'] for run in found):.1f}"


def streams(rounds: int) -> Iterator[Row]:
    """150 streams in two workers: the worst of five runs."""
    del rounds
    found = [many_streams(MODEL, 150, seconds=15.0, chunk=CHUNK, hop=HOP, workers=2) for _ in range(_STREAM_ROUNDS)]
    held = sum(run["age_ms"]["p99"] <= 40 for run in found)
    worst = max(run["age_ms"]["p99"] for run in found)
    lost = sum(run["gaps"] + run["skipped"] for run in found)
    yield "150 streams, --workers 2: runs with p99 ≤ 40 ms", "5 of 5", f"{held} of {len(found)} (worst {worst:.1f} ms)"
    yield "150 streams, --workers 2: gaps and skipped windows", "0", str(lost)
    asked = max(run["age_when_asked_ms"]["p99"] for run in found)
    yield "150 streams, p99 while the state of all is requested", "≤ 60 ms", f"{asked:.1f} ms"


def replay(rounds: int) -> Iterator[Row]:
    """One-hour replay by the command, against real time and the live decoder."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "replay.json"
        script = Path(__file__).with_name("replay.py")
        subprocess.run([sys.executable, script, "--rounds", str(rounds), "--json", out], check=True, stdout=sys.stderr)
        found = json.loads(out.read_text())
    yield "one-hour replay × real time", "≥ 800", f"{found['real_time']:.0f}"
    yield "one-hour replay, memory", "< 200 MB", f"{found['peak_mb'] * 1.048576:.0f} MB"
    yield "one-hour replay, largest difference from live", "≤ 1e-6", f"{found['largest_difference']:.2g}"


def startup(rounds: int) -> Iterator[Row]:
    """Time until the service listens against the bare imports."""
    found = start_up(MODEL, rounds=rounds)
    yield "start-up ÷ bare imports", "≤ 1.3", f"{found['ratio']:.2f} ({found['listening_s']:.2f} s)"
    yield "memory while waiting for a stream", "≤ 130 MiB", f"{found['waiting_memory_mib']:.0f} MiB"


def clients(rounds: int) -> Iterator[Row]:
    """500 websocket clients of one stream."""
    found = [many_clients(MODEL, [500], seconds=10.0, chunk=CHUNK, hop=HOP)[0]["others"] for _ in range(rounds)]
    p99 = median(run["age_ms"]["p99"] for run in found)
    yield "500 clients, p99", "≤ 25 ms", f"{p99:.1f} ms (lost {sum(run['lost'] for run in found)})"


FIGURES: dict[str, Callable[[int], Iterator[Row]]] = {
    measure.__name__: measure for measure in (latency, decoder, streams, replay, startup, clients)
}


def main() -> None:
    """Measure the figures named and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=", ".join(FIGURES))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    unknown = [name for name in options.figures if name not in FIGURES]
    if unknown:
        parser.error(f"expected {', '.join(FIGURES)}, found {unknown[0]!r}")
    rows = []
    for name in options.figures or FIGURES:
        for row in FIGURES[name](options.rounds):
            print(*row, sep=" | ", file=sys.stderr, flush=True)
            rows.append([*row, f"`benchmarks/figures.py {name}`"])
    print("\n".join(TextTable(["figure", "goal", "value", "command"], rows).markdown()))


if __name__ == "__main__":
    main()
