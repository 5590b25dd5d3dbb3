"""How many streams one machine carries: outlets in a process of their own, the service in its own, no loss."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from mindwire.bench.processes import Processes, ask, children, cpu_seconds, eventually, memory_mib, said, summarise
from mindwire_models.bundle import load_bundle

_WARM_S = 3.0
# So long after a question to all streams their predictions are not counted among the ages: it is work for the
# service that its users seldom ask of it, and is told apart.
_ASKED_S = 1.0
_LISTENED = 8


def many_streams(model: Path, n: int, *, seconds: float, chunk: int, hop: int, workers: int = 1) -> dict[str, Any]:
    """Run streams for a while and look for lost predictions and their age.

    Parameters
    ----------
    model : Path
        The bundle that decodes all of them.
    n : int
        Streams.
    seconds : float
        Measured, after everything has settled.
    chunk : int
        Samples that an outlet pushes together.
    hop : int
        Samples between predictions.
    workers : int
        Processes that share the streams; 0 is one per core.

    Returns
    -------
    dict
        ``lost`` (predictions), ``gaps`` and ``skipped`` over all streams; ``age_ms``, from the stamp of a
        window's last sample to its arrival at a websocket client, of some streams, and ``age_when_asked_ms``,
        the same while all streams are asked how they are; processor and memory.
    """
    contract = load_bundle(model).contract
    name = f"many-{uuid.uuid4().hex[:6]}"
    with Processes.temporary() as processes:
        outlets = processes.role("crowd", name, ",".join(contract.channels), contract.sfreq, chunk, n)
        said(outlets)
        settings = processes.folder / "settings.toml"
        lines = [f'model = "{model}"', f"hop = {hop}", f"workers = {workers}", "lsl_outlet = false"]
        for index in range(n):
            lines += ["[[stream]]", f'id = "s{index}"', f'name = "{name}-{index}"']
        settings.write_text("\n".join(lines))
        begun = time.monotonic()
        service, address = processes.serve("--config", settings)
        eventually(lambda: _connected(address) == n, 60 + 0.6 * n, f"all of {n} streams to connect")
        connecting = time.monotonic() - begun
        _tell(outlets, "begin")
        warm = contract.window_samples / contract.sfreq + _WARM_S
        eventually(lambda: _live(address) == n, 30 + warm, f"all of {n} streams to predict")
        time.sleep(_WARM_S)
        listened = [round(i * (n - 1) / max(1, _LISTENED - 1)) for i in range(min(n, _LISTENED))]
        urls = ",".join(f"ws://{address}/v1/streams/s{i}/predictions" for i in listened)
        heard = processes.folder / "heard.npz"
        listener = processes.role("client", urls, seconds + _WARM_S + 5, heard)
        said(listener)
        time.sleep(_WARM_S)  # starting processes takes the machine from the service
        pids = [service.pid, *children(service.pid)]
        # Each stream is asked at its own moment of an answer that takes a while, and both times as late.
        begin = time.monotonic()
        before, cpu = _counters(address), sum(map(cpu_seconds, pids))
        pushing = cpu_seconds(outlets.pid)
        time.sleep(max(0.0, begin + seconds - time.monotonic()))
        elapsed = time.monotonic() - begin
        asked = time.monotonic()
        after = _counters(address)
        used = (sum(map(cpu_seconds, pids)) - cpu) / elapsed
        pushing = (cpu_seconds(outlets.pid) - pushing) / elapsed
        memory = sum(map(memory_mib, pids))
        listener.wait(30)
        _tell(outlets, "end")
        pushed = json.loads(said(outlets))
        got = np.load(heard)
        received = got["received"]
        ages = (received - got["times"]) * 1e3
        measured, undisturbed = received >= begin, (received >= begin + _ASKED_S) & (received < asked)
    made = np.array([after[i]["predictions"] - before[i]["predictions"] for i in after])
    expected = contract.sfreq / hop * elapsed
    return {
        "streams": n,
        "seconds": round(elapsed, 2),
        "predictions_per_second": float(made.sum() / elapsed),
        "expected_per_second": n * contract.sfreq / hop,
        "fewest_of_a_stream": int(made.min()),
        "expected_of_a_stream": round(expected, 1),
        "gaps": sum(after[i]["gaps"] - before[i]["gaps"] for i in after),
        "skipped": sum(after[i]["skipped"] - before[i]["skipped"] for i in after),
        "age_ms": summarise(ages[undisturbed]),
        "age_when_asked_ms": summarise(ages[measured & ~undisturbed]),
        "cpu_percent": round(100 * used, 1),
        "outlets_cpu_percent": round(100 * pushing, 1),
        "outlets_late_ms": pushed["late_ms"],
        "memory_mib": round(memory, 1),
        "connecting_s": round(connecting, 1),
    }


def _tell(process: Any, word: str) -> None:
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def _streams(address: str) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = ask(f"http://{address}/v1/streams")
    return told


def _connected(address: str) -> int:
    time.sleep(0.5)  # asking is work for the service too
    return sum(stream["source"] is not None for stream in _streams(address))


def _live(address: str) -> int:
    return sum(stream["counters"]["predictions"] > 0 for stream in _streams(address))


def _counters(address: str) -> dict[str, dict[str, int]]:
    return {stream["name"]: stream["counters"] for stream in _streams(address)}
