"""The measurements of ``mindwire bench`` in order; their results as tables, JSON and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from mindwire.bench.decoders import decoder_latency
from mindwire.bench.latency import FLOOR, LatencyRun
from mindwire.bench.startup import start_up
from mindwire.bench.streams import many_streams
from mindwire.errors import ServiceError
from mindwire.evaluation.svg import distributions, standalone
from mindwire.evaluation.tables import TextTable
from mindwire.limits import usable_cores
from mindwire.outputs import writing
from mindwire.provenance import machine
from mindwire_models.atomic import replace_file
from mindwire_models.bundle import load_bundle

PARTS = ("startup", "decoder", "latency", "streams")
_QUANTILES = ("p50", "p99", "p99.9", "max")


@dataclass(frozen=True, slots=True)
class Plan:
    """Measurements to take.

    Parameters
    ----------
    model : Path
    hop : int
        Samples between predictions.
    parts : tuple of str
        Some of :data:`PARTS`.
    seconds : float
        Duration of each end-to-end measurement; below 30 the other parts are brief too.
    chunks : tuple of int
        Samples that the outlet of the latency measurement pushes together, one case each.
    streams : tuple of int
        Numbers of streams, rising.
    workers : int
        Processes that share many streams; 0 is one per core.
    deadline_ms : float
        Largest 99th percentile of the age with many streams.
    """

    model: Path
    hop: int
    parts: tuple[str, ...] = PARTS
    seconds: float = 60.0
    chunks: tuple[int, ...] = (1, 10)
    streams: tuple[int, ...] = (10, 50, 100, 200)
    workers: int = 0
    deadline_ms: float = 40.0

    @property
    def brief(self) -> bool:
        """True for coarse figures in seconds instead of minutes."""
        return self.seconds < 30


@dataclass(frozen=True, slots=True)
class Outcome:
    """Figures, as they are saved, and the ages of single predictions for the picture."""

    found: dict[str, Any]
    ages: dict[str, NDArray[np.float64]] = field(default_factory=dict)


def run(plan: Plan, console: Console) -> Outcome:
    """Take one measurement after the other and print each result."""
    bundle = load_bundle(plan.model)
    made = machine()
    console.print(f"{made['processor']}, {made['cores']} cores; {bundle.name}, hop {plan.hop}", highlight=False)
    outcome = Outcome(
        {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": made,
            "bundle": {"name": bundle.name, "sha256": bundle.sha256},
            "hop": plan.hop,
        }
    )
    found = outcome.found
    if "startup" in plan.parts:
        found["startup"] = start_up(plan.model, rounds=2 if plan.brief else 7)
        console.print(_startup_table(found["startup"]).terminal())
    if "decoder" in plan.parts:
        rounds = 10 if plan.brief else 60
        found["decoder"] = decoder_latency(plan.model, hop=plan.hop, batches=(1, 8, 32, 128), rounds=rounds)
        console.print(_decoder_table(found["decoder"]).terminal())
    if "latency" in plan.parts:
        found["latency"] = []
        for chunk in plan.chunks:
            floor_seconds = max(12.0, plan.seconds / 2)
            case = LatencyRun(plan.model, chunk=chunk, hop=plan.hop, seconds=plan.seconds, floor_seconds=floor_seconds)
            found["latency"].append(case.measure())
            outcome.ages.update({f"{name}, chunk {chunk}": values for name, values in case.samples.items()})
            console.print(latency_table(found["latency"][-1]).terminal())
    if "streams" in plan.parts:
        found["streams"] = _rising_streams(plan)
        console.print(_streams_table(found["streams"]).terminal())
    return outcome


def _rising_streams(plan: Plan) -> dict[str, Any]:
    """Run more and more streams until a prediction is lost or late."""
    tried: list[dict[str, Any]] = []
    carried, limit = 0, "none was found"
    for n in plan.streams:
        try:
            result = many_streams(
                plan.model, n, seconds=6.0 if plan.brief else 15.0, chunk=10, hop=plan.hop, workers=plan.workers
            )
        except ServiceError as error:
            limit = str(error)
            break
        tried.append(result)
        lost = result["predictions_per_second"] < 0.995 * result["expected_per_second"] or result["gaps"]
        if lost or result["age_ms"]["p99"] > plan.deadline_ms:
            symptom = "predictions are lost" if lost else f"p99 is above {plan.deadline_ms:g} ms"
            used = result["cpu_percent"] + result["outlets_cpu_percent"]
            limit = f"{symptom}: service and outlets take {used:.0f} of {100 * usable_cores()} % processor time"
            break
        carried = n
    return {"deadline_ms": plan.deadline_ms, "carried": carried, "limit": limit, "tried": tried}


def _startup_table(found: Mapping[str, float]) -> TextTable:
    head = ["", "listening, s", "bare imports, s", "ratio", "memory waiting, MiB"]
    names = ("listening_s", "bare_imports_s", "ratio", "waiting_memory_mib")
    return TextTable(head, [["start-up", *(f"{found[name]:.2f}" for name in names)]], title="Start-up")


def _decoder_table(found: Mapping[str, Any]) -> TextTable:
    designs = next(iter(found["designs"].values()))
    rows = [
        [f"batch {batch}", *(f"{row['us']:.0f} ({row['times_service']:.1f}×)" for row in by_design.values())]
        for batch, by_design in found["designs"].items()
    ]
    title = f"Decoder, µs per window (times the service's own); {found['reason']}"
    return TextTable(["", *designs], rows, title=title)


def latency_table(found: Mapping[str, Any]) -> TextTable:
    """Return one case as a table."""
    parts = {"to websocket client": found["websocket"], "to LSL inlet": found["lsl_inlet"]}
    parts |= {f"  {stage}": part for stage, part in found["stages"].items()}
    parts |= {f"{name}, where all decide": part for name, part in found["decisions"].items()}
    parts |= {name: found["floor"][name] for name in FLOOR}
    rows = [[name, *(f"{part[q]:.2f}" for q in _QUANTILES)] for name, part in parts.items()]
    for name, part in (("floor (their sum)", found["floor"]["sum"]), ("websocket ÷ floor", found["ratio"])):
        rows.append([name, f"{part['p50']:.2f}", f"{part['p99']:.2f}", "", ""])
    cpu = found["cpu_percent"]
    title = (
        f"Latency in ms, outlet pushes {found['chunk']} samples together; received {found['received']} of "
        f"{found['expected']} predictions; CPU {cpu['one stream']:g} % of a core with the stream, "
        f"{cpu['waiting for a stream']:g} % waiting for it; {found['memory_mib']:.0f} MiB"
    )
    return TextTable(["", *_QUANTILES], rows, title=title)


def _streams_table(found: Mapping[str, Any]) -> TextTable:
    head = ["streams", "pred/s", "of", "gaps", "skipped", "p50", "p99", "asked\np99", "CPU %", "outlets\nCPU %", "MiB"]
    rates, uses = (
        ("predictions_per_second", "expected_per_second"),
        ("cpu_percent", "outlets_cpu_percent", "memory_mib"),
    )
    rows = []
    for row in found["tried"]:
        ages = (row["age_ms"]["p50"], row["age_ms"]["p99"], row["age_when_asked_ms"]["p99"])
        cells = [str(row["streams"]), *(f"{row[name]:.0f}" for name in rates), str(row["gaps"]), str(row["skipped"])]
        rows.append([*cells, *(f"{age:.1f}" for age in ages), *(f"{row[name]:.0f}" for name in uses)])
    title = f"Streams, age in ms ('asked': while the state of all is requested); carried {found['carried']}; limit: {found['limit']}"
    return TextTable(head, rows, title=title)


def save(outcome: Outcome, folder: Path) -> list[Path]:
    """Write ``bench.json`` and, where latency was measured, ``latency.svg``; a RecordingError says that the folder cannot be written."""
    with writing(folder, "the results"):
        folder.mkdir(parents=True, exist_ok=True)
        written = [folder / "bench.json"]
        replace_file(written[0], json.dumps(outcome.found, indent=1) + "\n")
        shown = {name: values for name, values in outcome.ages.items() if len(values)}
        if shown:
            written.append(folder / "latency.svg")
            title = "From the outlet's push to the client's receipt"
            replace_file(written[1], standalone(distributions(shown, title), title))
    return written
