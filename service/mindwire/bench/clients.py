"""How many websocket clients one stream carries: the age of predictions with few and with many of them."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from mindwire.bench.processes import Processes, ask, cpu_seconds, eventually, said, summarise
from mindwire_models.bundle import load_bundle

_WARM_PREDICTIONS = 50


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
        predictions, ``outlet`` with the age of the same predictions over LSL, ``sockets`` with the age of messages
        that a bare loop sends as often to as many clients, and ``cpu_percent`` of the service and of the crowd.
    """
    law = load_bundle(model).contract
    name = f"clients-{uuid.uuid4().hex[:6]}"
    found: list[dict[str, Any]] = []
    with Processes.temporary() as processes:
        outlet = processes.role("crowd", name, ",".join(law.channels), law.sfreq, chunk, 1)
        said(outlet)
        service, address = processes.serve("--model", model, "--hop", hop, "--stream", f"id=one,name={name}-0")
        port, path = address.rpartition(":")[2], "/v1/streams/one/predictions"
        apart = processes.role("audience", port, path, 1)
        said(apart)
        _write(outlet, "begin")
        filled = law.window_samples / law.sfreq
        eventually(lambda: _predictions(address) > _WARM_PREDICTIONS, 60 + filled, "the stream to predict")
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
            told: dict[str, Any] = {"clients": count, "cpu_percent": cpu, "apart": _ask(apart)}
            if crowd:
                told["crowd"] = _ask(crowd)
            inlet.wait(30)
            pulled = np.load(left)
            found.append({**told, "outlet": {"age_ms": summarise((pulled["received"] - pulled["times"]) * 1e3)}})
    for row in found:
        row["sockets"] = _floor(row["clients"], hop / law.sfreq, seconds)
    return found


def _floor(count: int, period: float, seconds: float) -> dict[str, Any]:
    """Ages of messages that nothing but sockets carry."""
    with Processes.temporary() as processes:
        sender = processes.role("fan", count, period)
        crowd = processes.role("audience", said(sender).strip(), "/", count)
        said(crowd)
        _ask(crowd)
        time.sleep(seconds)
        told = _ask(crowd)
        crowd.communicate()
        return told


def _predictions(address: str) -> int:
    (stream,) = ask(f"http://{address}/v1/streams")
    return int(stream["counters"]["predictions"])


def _write(process: Any, word: str) -> None:
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def _ask(process: Any) -> dict[str, Any]:
    _write(process, "tell")
    told: dict[str, Any] = json.loads(said(process))
    return told
