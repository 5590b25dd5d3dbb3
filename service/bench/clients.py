"""How many websocket clients one stream carries: the age of predictions with few and with many of them."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

from models.bundle import load_bundle
from service.bench.processes import Processes, cpu_seconds, said


def many_clients(model: Path, counts: list[int], *, seconds: float, chunk: int, hop: int) -> list[dict[str, Any]]:
    """Ages of predictions for different numbers of clients of one stream.

    One client is in a process of its own, as a person's program would be; the others share a process, and their
    ages contain its congestion.

    Parameters
    ----------
    model : Path
    counts : list of int
        Numbers of clients, measured one after the other.
    seconds : float
        Measured for each.
    chunk, hop : int
        Samples that the outlet pushes together, and from one prediction to the next.

    Returns
    -------
    list of dict
        Per count: ``apart`` and ``crowd`` with ``age_ms`` since the stamp of the window's last sample, ``lost``
        predictions, and the service's ``cpu_percent``.
    """
    law = load_bundle(model).contract
    name = f"clients-{uuid.uuid4().hex[:6]}"
    found = []
    with Processes.temporary() as processes:
        outlet = processes.role("crowd", name, ",".join(law.channels), law.sfreq, chunk, 1)
        said(outlet)
        service, address = processes.serve("--model", model, "--hop", hop, "--stream", f"id=one,name={name}-0")
        port, path = address.rpartition(":")[2], "/v1/streams/one/predictions"
        apart = processes.role("audience", port, path, 1)
        said(apart)
        _write(outlet, "begin")
        time.sleep(law.window_samples / law.sfreq + 8)
        crowd: Any = None
        there = 0
        for count in sorted(counts):
            if count - 1 > there:
                crowd = processes.role("audience", port, path, count - 1 - there)
                said(crowd)
                there = count - 1
            time.sleep(1.0)
            for process in filter(None, (apart, crowd)):
                _ask(process)
            used, begin = cpu_seconds(service.pid), time.monotonic()
            time.sleep(seconds)
            cpu = 100 * (cpu_seconds(service.pid) - used) / (time.monotonic() - begin)
            told = {"clients": count, "cpu_percent": round(cpu, 1), "apart": _ask(apart)}
            found.append({**told, "crowd": _ask(crowd)} if crowd else told)
    return found


def _write(process: Any, word: str) -> None:
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def _ask(process: Any) -> dict[str, Any]:
    _write(process, "tell")
    told: dict[str, Any] = json.loads(said(process))
    return told
