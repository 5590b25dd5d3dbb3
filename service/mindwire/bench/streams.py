"""Number of streams that one machine carries without loss, outlets and service in processes of their own."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from mindwire.bench.processes import (
    CpuMeter,
    Processes,
    get_json,
    memory_mib,
    read_line,
    summarise,
    wait_until,
    with_children,
    write_line,
)
from mindwire_models.bundle import load_bundle

_WARM_S = 3.0
# Predictions within this time after a request for the state of all streams are summarised apart.
_REQUEST_S = 1.0
_CLIENTS = 8


def many_streams(model: Path, n: int, *, seconds: float, chunk: int, hop: int, workers: int = 1) -> dict[str, Any]:
    """Run ``n`` streams of one bundle for a while, after everything has settled, and measure lost predictions and their age.

    ``chunk`` samples are pushed together, ``hop`` samples lie between predictions, and ``workers`` processes share the streams
    (0 is one per core). ``age_ms`` is from the stamp of a window's last sample to its arrival at a websocket client, of some
    streams; ``age_when_asked_ms`` the same while the state of all streams is requested.
    """
    contract = load_bundle(model).contract
    name = f"many-{uuid.uuid4().hex[:6]}"
    with Processes(ports=1024) as processes:
        outlets = processes.role("outlets", name, ",".join(contract.channels), contract.sfreq, chunk, n)
        read_line(outlets)
        settings = processes.folder / "settings.toml"
        lines = [f'model = "{model}"', f"hop = {hop}", f"workers = {workers}", "lsl_outlet = false"]
        for index in range(n):
            lines += ["[[stream]]", f'id = "s{index}"', f'name = "{name}-{index}"']
        settings.write_text("\n".join(lines))
        begun = time.monotonic()
        service, address = processes.serve("--config", settings)
        wait_until(lambda: _connected(address) == n, 60 + 0.6 * n, f"all of {n} streams to connect")
        connecting = time.monotonic() - begun
        write_line(outlets, "begin")
        warm = contract.window_samples / contract.sfreq + _WARM_S
        wait_until(lambda: _predicting(address) == n, 30 + warm, f"all of {n} streams to predict")
        time.sleep(_WARM_S)
        some = [round(i * (n - 1) / max(1, _CLIENTS - 1)) for i in range(min(n, _CLIENTS))]
        urls = ",".join(f"ws://{address}/v1/streams/s{i}/predictions" for i in some)
        saved = processes.folder / "received.npz"
        client = processes.role("client", urls, seconds + _WARM_S + 5, saved)
        read_line(client)
        time.sleep(_WARM_S)  # starting a process takes time from the service
        pids = with_children(service.pid)
        begin = time.monotonic()
        before = _counters(address)
        ours, theirs = CpuMeter(*pids), CpuMeter(outlets.pid)
        time.sleep(max(0.0, begin + seconds - time.monotonic()))
        asked = time.monotonic()
        after = _counters(address)
        cpu, outlets_cpu, memory = ours.percent(), theirs.percent(), memory_mib(*pids)
        client.wait(30)
        write_line(outlets, "end")
        pushed = json.loads(read_line(outlets))
        received, times = (np.load(saved)[name] for name in ("received", "times"))
    elapsed, ages = asked - begin, (received - times) * 1e3
    measured, undisturbed = received >= begin, (received >= begin + _REQUEST_S) & (received < asked)
    made = np.array([after[i]["predictions"] - before[i]["predictions"] for i in after])
    return {
        "streams": n,
        "seconds": round(elapsed, 2),
        "predictions_per_second": float(made.sum() / elapsed),
        "expected_per_second": n * contract.sfreq / hop,
        "fewest_of_a_stream": int(made.min()),
        "expected_of_a_stream": round(contract.sfreq / hop * elapsed, 1),
        "gaps": sum(after[i]["gaps"] - before[i]["gaps"] for i in after),
        "skipped": sum(after[i]["skipped"] - before[i]["skipped"] for i in after),
        "age_ms": summarise(ages[undisturbed]),
        "age_when_asked_ms": summarise(ages[measured & ~undisturbed]),
        "cpu_percent": cpu,
        "outlets_cpu_percent": outlets_cpu,
        "outlets_late_ms": pushed["late_ms"],
        "memory_mib": round(memory, 1),
        "connecting_s": round(connecting, 1),
    }


def _connected(address: str) -> int:
    time.sleep(0.5)  # each request takes time from the service
    return sum(stream["source"] is not None for stream in get_json(address, "/v1/streams"))


def _predicting(address: str) -> int:
    return sum(stream["counters"]["predictions"] > 0 for stream in get_json(address, "/v1/streams"))


def _counters(address: str) -> dict[str, dict[str, int]]:
    return {stream["name"]: stream["counters"] for stream in get_json(address, "/v1/streams")}
