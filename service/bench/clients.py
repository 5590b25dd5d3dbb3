"""How many websocket clients one stream carries: the age of predictions with few and with many of them."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle import load_bundle
from service.bench.processes import Processes, cpu_seconds, said, summarise


def many_clients(model: Path, counts: list[int], *, seconds: float, chunk: int, hop: int) -> list[dict[str, Any]]:
    """Ages of predictions for different numbers of clients of one stream.

    One client is in a process of its own, as a person's program would be; the others share a process, whose own
    processor time is told beside the service's. An LSL inlet on the stream's outlet shows what the clients cost the
    stream itself.

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
        Per count: ``apart`` and ``crowd`` with ``age_ms`` since the stamp of the window's last sample and ``lost``
        predictions, ``outlet`` with the age of the same predictions over LSL, and ``cpu_percent`` of the service and
        of the crowd.
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
        for count in sorted(counts):
            if count > 1:
                if crowd:
                    crowd.communicate()  # the end of its input is the end of it
                crowd = processes.role("audience", port, path, count - 1)
                said(crowd)
            time.sleep(1.0)
            left = processes.folder / f"{count}.npz"
            inlet = processes.role("pull", "Mindwire-one", seconds, 1, left)
            said(inlet)
            watched = {"service": service.pid, **({"crowd": crowd.pid} if crowd else {})}
            for process in filter(None, (apart, crowd)):
                _ask(process)
            before, begin = {who: cpu_seconds(pid) for who, pid in watched.items()}, time.monotonic()
            time.sleep(seconds)
            elapsed = time.monotonic() - begin
            cpu = {who: round(100 * (cpu_seconds(pid) - before[who]) / elapsed, 1) for who, pid in watched.items()}
            told = {"clients": count, "cpu_percent": cpu, "apart": _ask(apart)}
            if crowd:
                told["crowd"] = _ask(crowd)
            inlet.wait(30)
            pulled = np.load(left)
            found.append({**told, "outlet": {"age_ms": summarise((pulled["received"] - pulled["times"]) * 1e3)}})
    return found


def _write(process: Any, word: str) -> None:
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def _ask(process: Any) -> dict[str, Any]:
    _write(process, "tell")
    told: dict[str, Any] = json.loads(said(process))
    return told
