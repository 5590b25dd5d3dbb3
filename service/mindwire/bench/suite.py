"""The measurements of ``mindwire bench`` in order, what they found as text, JSON and a picture."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire import __version__
from mindwire.bench.clients import many_clients
from mindwire.bench.decoders import decoder_latency
from mindwire.bench.latency import FLOOR, Case, LatencyRun
from mindwire.bench.others import replay_speed, start_up
from mindwire.bench.streams import many_streams
from mindwire.cores import usable_cores
from mindwire.errors import ServiceError
from mindwire.evaluation.svg import distributions, standalone
from mindwire.outputs import writing
from mindwire_models.atomic import replace_file
from mindwire_models.bundle import load_bundle

Say = Callable[[str], None]
_PACKAGES = ("numpy", "onnxruntime", "pylsl", "fastapi", "uvicorn", "uvloop", "websockets", "torch")


class Part(StrEnum):
    """What can be measured."""

    STARTUP = "startup"
    DECODER = "decoder"
    LATENCY = "latency"
    REPLAY = "replay"
    CLIENTS = "clients"
    STREAMS = "streams"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and for how long.

    Parameters
    ----------
    model : Path
    hop : int
        Samples between predictions.
    parts : tuple of Part
    seconds : float
        Of end-to-end latency; the others follow it.
    chunks : tuple of int
        Samples that the outlet of the latency measurement pushes together, one case each.
    clients, streams : tuple of int
        Numbers of websocket clients and of streams to try.
    deadline_ms : float
        What the 99th percentile of a prediction's age must stay below for a number of streams to count.
    workers : int
        Processes that share many streams; 0 is one per core.
    """

    model: Path
    hop: int
    parts: tuple[Part, ...]
    seconds: float
    chunks: tuple[int, ...] = (1, 10)
    clients: tuple[int, ...] = (1, 100, 500)
    streams: tuple[int, ...] = (10, 50, 100, 200)
    workers: int = 0
    deadline_ms: float = 40.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found, as it is saved, and the ages of single predictions for the picture."""

    found: dict[str, Any]
    ages: dict[str, NDArray[np.float64]]


def machine() -> dict[str, Any]:
    """What the figures were measured on and with."""
    cores = usable_cores()
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": cores,
        "python": platform.python_version(),
        "mindwire": __version__,
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


def run(plan: Plan, say: Say) -> Outcome:
    """Measure one part after the other, telling each as soon as it is known."""
    bundle = load_bundle(plan.model)
    found: dict[str, Any] = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "bundle": {"name": bundle.name, "sha256": bundle.sha256},
        "hop": plan.hop,
    }
    ages: dict[str, NDArray[np.float64]] = {}
    say(f"{found['machine']['processor']}, {found['machine']['cores']} cores; {bundle.name}, hop {plan.hop}")
    brief = plan.seconds < 30
    if Part.STARTUP in plan.parts:
        found["startup"] = start_up(plan.model, rounds=2 if brief else 7)
        _tell(say, "Start-up", _startup_lines(found["startup"]))
    if Part.DECODER in plan.parts:
        rounds = 10 if brief else 60
        found["decoder"] = decoder_latency(plan.model, hop=plan.hop, batches=(1, 8, 32, 128), rounds=rounds)
        _tell(say, "Decoder, µs per window (times the service's own)", _decoder_lines(found["decoder"]))
    if Part.LATENCY in plan.parts:
        found["latency"] = []
        for chunk in plan.chunks:
            case = LatencyRun(Case(plan.model, chunk, plan.hop, plan.seconds, max(12.0, plan.seconds / 2)))
            found["latency"].append(case.measure())
            ages |= {f"{name}, chunk {chunk}": values for name, values in case.samples.items()}
            _tell(say, f"Latency, outlet pushes {chunk} samples together, ms", latency_lines(found["latency"][-1]))
    if Part.REPLAY in plan.parts:
        found["replay"] = replay_speed(plan.model, hop=plan.hop, minutes=2 if brief else 20)
        _tell(say, "Replay from memory", [f"{found['replay']['times_real_time']:.0f} times real time"])
    if Part.CLIENTS in plan.parts:
        seconds = 5.0 if brief else 15.0
        found["clients"] = many_clients(plan.model, list(plan.clients), seconds=seconds, chunk=10, hop=plan.hop)
        _tell(say, "Websocket clients of one stream, age in ms", _client_lines(found["clients"]))
    if Part.STREAMS in plan.parts:
        found["streams"] = _streams(plan, 6.0 if brief else 15.0, say)
    return Outcome(found, ages)


def _streams(plan: Plan, seconds: float, say: Say) -> dict[str, Any]:
    """More and more streams until a prediction is lost or late."""
    say("Streams, age in ms")
    tried: list[dict[str, Any]] = []
    carried, limit = 0, "more than was tried"
    for n in plan.streams:
        try:
            result = many_streams(plan.model, n, seconds=seconds, chunk=10, hop=plan.hop, workers=plan.workers)
        except ServiceError as error:
            limit = str(error)
            say(f"  {n}: {limit}")
            break
        tried.append(result)
        say(f"  {stream_line(result)}")
        lost = result["predictions_per_second"] < 0.995 * result["expected_per_second"] or result["gaps"]
        if lost or result["age_ms"]["p99"] > plan.deadline_ms:
            symptom = "predictions are lost" if lost else f"p99 is above {plan.deadline_ms:g} ms"
            used = result["cpu_percent"] + result["outlets_cpu_percent"]
            limit = f"{symptom}: service and outlets take {used:.0f} of {100 * (os.cpu_count() or 1)} % processor time"
            break
        carried = n
    say(f"  carried: {carried} ({limit} beyond)")
    return {"deadline_ms": plan.deadline_ms, "carried": carried, "limit": limit, "tried": tried}


def _tell(say: Say, title: str, lines: Iterable[str]) -> None:
    say(title)
    for line in lines:
        say(f"  {line}")


def _startup_lines(found: dict[str, float]) -> list[str]:
    beside = f"{found['ratio']:.2f} times the bare imports ({found['bare_imports_s']:.2f} s)"
    return [f"listening after {found['listening_s']:.2f} s, {beside}; {found['waiting_memory_mib']:.0f} MiB waiting"]


def _decoder_lines(found: dict[str, Any]) -> list[str]:
    lines = [f"the service's own: {found['reason']}"]
    for batch, designs in found["designs"].items():
        cells = [f"{name} {row['us']:.0f} ({row['times_service']:.1f}×)" for name, row in designs.items()]
        lines.append(f"batch {batch:>3}: {', '.join(cells)}")
    return lines


def _quantiles(part: dict[str, float]) -> str:
    return "".join(f"{part[q]:9.2f}" for q in ("p50", "p99", "p99.9", "max"))


def latency_lines(found: dict[str, Any]) -> list[str]:
    """One case as a table in text."""
    lines = [f"{'':<22}{'p50':>9}{'p99':>9}{'p99.9':>9}{'max':>9}"]
    lines.append(f"{'to websocket client':<22}{_quantiles(found['websocket'])}")
    lines.append(f"{'to LSL inlet':<22}{_quantiles(found['lsl_inlet'])}")
    lines += [f"{'  ' + stage:<22}{_quantiles(part)}" for stage, part in found["stages"].items()]
    lines += [f"{name:<22}{_quantiles(found['floor'][name])}" for name in FLOOR]
    total, ratio = found["floor"]["sum"], found["ratio"]
    lines.append(f"{'floor (their sum)':<22}{total['p50']:9.2f}{total['p99']:9.2f}")
    lines.append(f"{'websocket ÷ floor':<22}{ratio['p50']:9.2f}{ratio['p99']:9.2f}")
    cpu = found["cpu_percent"]
    lines.append(
        f"received {found['received']} of {found['expected']} predictions; CPU {cpu['one stream']:g} % of a core with "
        f"the stream, {cpu['waiting for a stream']:g} % waiting for it; {found['memory_mib']:.0f} MiB"
    )
    return lines


def _client_lines(found: Sequence[dict[str, Any]]) -> list[str]:
    lines = []
    for row in found:
        parts = [f"{row['clients']:>4} clients"]
        for who in ("apart", "crowd", "outlet", "sockets"):
            if who in row:
                age, lost = row[who]["age_ms"], row[who].get("lost")
                parts.append(
                    f"{who} p50 {age['p50']:.2f}, p99 {age['p99']:.2f}{'' if lost is None else f', lost {lost}'}"
                )
        cpu = ", ".join(f"{who} {percent:g} %" for who, percent in row["cpu_percent"].items())
        lines.append(f"{'; '.join(parts)}; CPU of {cpu}")
    return lines


def stream_line(found: dict[str, Any]) -> str:
    """One number of streams in text."""
    age, asked = found["age_ms"], found["age_when_asked_ms"]
    return (
        f"{found['streams']:>4}: {found['predictions_per_second']:.0f} of {found['expected_per_second']:.0f} "
        f"predictions/s, gaps {found['gaps']}, skipped {found['skipped']}; p50 {age['p50']:.2f}, p99 {age['p99']:.2f}, "
        f"max {age['max']:.1f} (while all are asked how they are: p99 {asked['p99']:.1f}); "
        f"service {found['cpu_percent']:g} % of a core, outlets {found['outlets_cpu_percent']:g} %, "
        f"{found['memory_mib']:.0f} MiB"
    )


def save(outcome: Outcome, folder: Path) -> list[Path]:
    """Write ``bench.json`` and, where latency was measured, ``latency.svg``.

    Raises
    ------
    RecordingError
        The folder cannot be written.
    """
    with writing(folder, "the results"):
        folder.mkdir(parents=True, exist_ok=True)
        written = [folder / "bench.json"]
        replace_file(written[0], json.dumps(outcome.found, indent=1) + "\n")
        shown = {name: values for name, values in outcome.ages.items() if len(values)}
        if shown:
            written.append(folder / "latency.svg")
            title = "From the outlet's push to the client's receive"
            replace_file(written[1], standalone(distributions(shown, title), title))
    return written
