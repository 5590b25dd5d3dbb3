"""A report on one bundle and one stream, live for some minutes, that a laboratory can attach to a paper."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mindwire.bench.processes import CpuMeter, Processes, get_json, memory_mib, read_line, summarise, wait_until
from mindwire.errors import ServiceError, UsageError
from mindwire.evaluation.page import render
from mindwire.evaluation.svg import distributions
from mindwire.evaluation.tables import TextTable
from mindwire.outputs import writing
from mindwire.provenance import machine
from mindwire.types import STAGES
from mindwire_models.atomic import replace_file
from mindwire_models.bundle import load_bundle

_FIND_S = 60.0


def certify(
    model: Path, stream: str, out: Path, say: Callable[[str], None], *, minutes: float, hop: int | None = None
) -> dict[str, Any]:
    """Run the service on a stream, receive its predictions as a client, and write the report.

    Parameters
    ----------
    model : Path
    stream : str
        The LSL stream, as for ``mindwire serve --stream``.
    out : Path
        An HTML file; a JSON file of the same name is written to the same folder.
    say : callable
        Called with lines for the terminal.
    minutes : float
        Duration after the first prediction.
    hop : int or None

    Returns
    -------
    dict
        Content of the JSON file.

    Raises
    ------
    UsageError
        The length is not positive.
    ServiceError
        The stream is not found or gives no prediction.
    RecordingError
        The report cannot be written.
    """
    if not minutes > 0:
        msg = f"--minutes must be above 0, found {minutes:g}."
        raise UsageError(msg)
    bundle = load_bundle(model)
    hop = hop or bundle.contract.hop_samples
    spec = stream if stream.startswith("id=") else f"id=certified,{stream}"
    name = spec.split(",", 1)[0].removeprefix("id=")
    with Processes("real") as processes:
        service, address = processes.serve("--model", model, "--stream", spec, "--hop", hop)
        path = f"/v1/streams/{name}"
        wait_until(lambda: get_json(address, path)["source"] is not None, _FIND_S, f"the stream {stream}")
        whole = bundle.contract.window_samples / bundle.contract.sfreq
        wait_until(
            lambda: get_json(address, path)["counters"]["predictions"] > 0, _FIND_S + whole, "the first prediction"
        )
        say(f"Measuring for {minutes:g} min …")
        saved = processes.folder / "client.npz"
        client = processes.role("client", f"ws://{address}{path}/predictions", 60 * minutes, saved)
        read_line(client)
        before, meter, begin = get_json(address, path), CpuMeter(service.pid), time.monotonic()
        time.sleep(60 * minutes)
        elapsed = time.monotonic() - begin
        after, cpu, memory = get_json(address, path), meter.percent(), memory_mib(service.pid)
        client.wait(60)
        got = np.load(saved)
    ages = (got["received"] - got["times"]) * 1e3
    if not len(ages):
        msg = f"The stream gave no prediction within {minutes:g} min; see `mindwire doctor`."
        raise ServiceError(msg)
    stages = {n: summarise(v) for n, v in zip(STAGES, got["stages"].T, strict=True) if v.any()}
    found = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "minutes": round(elapsed / 60, 3),
        "machine": machine(),
        "bundle": {"name": bundle.name, "sha256": bundle.sha256},
        "model": after["model"],
        "source": after["source"],
        "hop": hop,
        "window": bundle.contract.window_samples,
        "age_ms": summarise(ages),
        "stages_ms": stages,
        "interval_ms": summarise(np.diff(got["times"]) * 1e3),
        "counters": {
            key: after["counters"][key] - count for key, count in before["counters"].items() if isinstance(count, int)
        },
        "drift_ppm": after["drift_ppm"],
        "effective_rate": after["effective_rate"],
        "clock_offset_s": after["clock_offset_s"],
        "cpu_percent": cpu,
        "memory_mib": round(memory, 1),
    }
    page = _page(found, distributions({"sample to client": ages}, "Age of a prediction when the client has it"))
    with writing(out, "the report"):
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_file(out, page)
        replace_file(out.with_suffix(".json"), json.dumps(found, indent=1) + "\n")
    return found


def _page(found: dict[str, Any], plot: str) -> str:
    age, source, made = found["age_ms"], found["source"] or {}, found["machine"]
    counted = found["counters"]
    quantiles = ("p50", "p99", "p99.9", "max")
    stages = {f"– {name}": stage for name, stage in found["stages_ms"].items()}
    parts = {"sample to client": age, **stages, "from one prediction to the next": found["interval_ms"]}
    packages = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    facts = {
        "Bundle": f"{found['bundle']['name']}, SHA-256 {found['bundle']['sha256']}",
        "Engine": f"{found['model']['engine']} on {found['model']['device']}: {found['model']['engine_reason']}",
        "Stream": f"{source.get('name')} ({source.get('type')}), {source.get('n_channels')} channels at "
        f"{source.get('sfreq')} Hz, from {source.get('hostname')}",
        "Window and hop": f"{found['window']} and {found['hop']} samples",
        "Clock": f"offset {found['clock_offset_s']} s, drift {found['drift_ppm']} ppm, measured rate "
        f"{found['effective_rate']} Hz",
        "Service": f"{found['cpu_percent']:g} % of a core, {found['memory_mib']:g} MiB",
        "Machine": f"{made['processor']}, {made['cores']} cores, {made['system']}",
        "Software": f"Mindwire {made['mindwire']}, Python {made['python']}, {packages}",
    }
    return render(
        "certificate.html",
        title="Latency of a decoded stream",
        sentence=(
            f"In {found['minutes']:g} min, {counted['predictions']} predictions were made from "
            f"{source.get('name', 'the stream')!r}; half of them reached a client within {age['p50']:.2f} ms of the time "
            f"stamp of their last sample, 99 % within {age['p99']:.2f} ms, all within {age['max']:.1f} ms. "
            f"{counted['gaps']} gaps in the signal, {counted['skipped']} predictions skipped, "
            f"{counted['reconnects']} reconnections."
        ),
        plot=plot,
        figures_ms=TextTable(
            ["part", *quantiles], [[name, *(f"{part[q]:.2f}" for q in quantiles)] for name, part in parts.items()]
        ),
        facts=TextTable(["", ""], [list(fact) for fact in facts.items()]),
        created=found["created"],
    )
