"""Capacity model of one machine: processor time, memory and network per stream, prediction and websocket client.

    python benchmarks/capacity.py measure [--repeats 3] [--seconds 8] [--json measured.json]
    python benchmarks/capacity.py recovery
    python benchmarks/capacity.py fit measured.json [--ray ray.json] [--model benchmarks/capacity.json]

The first measures and fits, the second measures the time after which streams of a killed worker are valid again, the third fits
again and writes what ``scale_simulation.py`` reads, with the file of ``ray_control_plane.py``. Streams of 22 channels at 250 Hz in chunks of 10, a prediction every 40 ms,
no LSL outlets of the service. Everything runs in a network namespace of its own (``unshare``), so that all bytes of its
loopback device are counted and none of others. Use of the processor is its time, which other work on the machine changes little.
Some setups, among them larger ones, are in no fit and compared with what the model predicts of them. Linux only.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import select
import socket
import struct
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
from scipy.optimize import nnls

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.clients import connected  # noqa: E402
from mindwire.bench.processes import (  # noqa: E402
    CpuMeter,
    Processes,
    get_json,
    read_line,
    wait_until,
    with_children,
    write_line,
)
from mindwire.bench.roles import say  # noqa: E402
from mindwire.evaluation.tables import TextTable  # noqa: E402
from mindwire_models.bundle import load_bundle  # noqa: E402
from mindwire_models.zoo import zoo_bundle_path  # noqa: E402

RATE = 25.0  # predictions a second of a stream
_CHUNK, _HOP, _PORTS = 10, 10, 256
_SETTLE_S = 2.0
# Streams, workers and the numbers of clients, one after the other: what is fitted, and what is held back.
FITTED = ((8, 1, (0, 8, 64)), (24, 1, (0, 24, 192)), (48, 1, (0, 48)), (8, 2, (0, 8, 128)), (32, 2, (0, 64)))
HELD_BACK = ((36, 1, (90,)), (20, 2, (100,)), (70, 1, (350,)), (70, 2, (350,)))
_SEARCHED = (8, 40)


@dataclass(frozen=True, slots=True)
class Setup:
    """Streams, websocket clients spread evenly over them, and worker processes; one worker has no gateway."""

    streams: int
    clients: int
    workers: int = 1

    @property
    def gateways(self) -> int:
        """Number of gateway processes."""
        return int(self.workers > 1)

    @property
    def followed(self) -> int:
        """Streams with at least one client."""
        return min(self.streams, self.clients)


Terms = dict[str, Callable[[Setup], float]]
# What each figure is a sum of; the coefficients are per process, stream, prediction and message.
MODEL: dict[str, Terms] = {
    "decoding_cores": {
        "process": lambda s: s.workers,
        "prediction": lambda s: RATE * s.streams,
        "encoded": lambda s: RATE * s.followed,
        "message": lambda s: RATE * s.clients,
    },
    "gateway_cores": {
        "process": lambda s: s.gateways,
        "burst": lambda s: RATE * s.followed * s.gateways,
        "message": lambda s: RATE * s.clients * s.gateways,
    },
    "start_core_seconds": {"process": lambda s: s.workers + s.gateways, "stream": lambda s: s.streams},
    "decoding_mib": {"process": lambda s: s.workers, "stream": lambda s: s.streams, "client": lambda s: s.clients},
    "gateway_mib": {"process": lambda s: s.gateways, "client": lambda s: s.clients * s.gateways},
    "wire_bytes": {"stream": lambda s: s.streams, "message": lambda s: RATE * s.clients},
    "websocket_bytes": {"message": lambda s: RATE * s.clients},
}


def predict(coefficients: dict[str, dict[str, float]], figure: str, setup: Setup) -> float:
    """Return a figure of a setup by the model."""
    return sum(coefficients[figure][name] * term(setup) for name, term in MODEL[figure].items())


def fit(rows: Sequence[tuple[Setup, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Return the coefficients of each figure: least squares of relative errors, none below zero."""
    found = {}
    for figure, terms in MODEL.items():
        used = [(setup, values[figure]) for setup, values in rows if values[figure] > 0]
        design = np.array([[term(setup) for term in terms.values()] for setup, _ in used])
        values = np.array([value for _, value in used])
        solved, _ = nnls(design / values[:, None], np.ones(len(values)))
        found[figure] = dict(zip(terms, solved.tolist(), strict=True))
    return found


def medians(rows: Sequence[tuple[Setup, dict[str, float]]]) -> list[tuple[Setup, dict[str, float]]]:
    """Return the median of each figure over the repeats of each setup."""
    grouped: dict[Setup, list[dict[str, float]]] = {}
    for setup, values in rows:
        grouped.setdefault(setup, []).append(values)
    return [(s, {name: median(one[name] for one in all_of) for name in all_of[0]}) for s, all_of in grouped.items()]


# Measurements


def measured(
    streams: int, workers: int, clients: Sequence[int], seconds: float, *, ray: str | None = None
) -> Iterator[tuple[Setup, dict[str, float]]]:
    """Yield the figures of one service while more and more clients connect.

    With a Ray cluster, whose workers are no children of the service, those of its gateway alone count.
    """
    model = zoo_bundle_path()
    contract = load_bundle(model).contract
    name = f"capacity-{uuid.uuid4().hex[:6]}"
    with Processes("own" if ray is None else "real", ports=_PORTS) as processes:
        outlets = processes.role("outlets", name, ",".join(contract.channels), contract.sfreq, _CHUNK, streams)
        read_line(outlets)
        service, address = _serve(processes, name, streams, workers, *(() if ray is None else ("--ray", ray)))
        wait_until(lambda: all(s["source"] for s in _streams(address)), 60 + streams, "all streams to connect")
        started = _used_seconds(with_children(service.pid))
        write_line(outlets, "begin")
        wait_until(lambda: all(s["counters"]["predictions"] for s in _streams(address)), 60, "all streams to predict")
        receiver = processes.python(__file__, "receive", address.rpartition(":")[2], streams)
        for count in clients:
            write_line(receiver, str(count))
            read_line(receiver)
            time.sleep(_SETTLE_S)
            figures = _figures(service.pid, workers, receiver, seconds)
            yield Setup(streams, count, workers), {**figures, "start_core_seconds": started}


def _serve(processes: Processes, name: str, streams: int, workers: int, *options: str) -> Any:
    settings = processes.folder / "settings.toml"
    lines = [f'model = "{zoo_bundle_path()}"', f"hop = {_HOP}", f"workers = {workers}", "lsl_outlet = false"]
    for index in range(streams):
        lines += ["[[stream]]", f'id = "s{index}"', f'name = "{name}-{index}"']
    settings.write_text("\n".join(lines))
    return processes.serve("--config", settings, *options)


def _streams(address: str) -> list[dict[str, Any]]:
    time.sleep(0.5)  # each request takes time from the service
    found: list[dict[str, Any]] = get_json(address, "/v1/streams")
    return found


def _figures(pid: int, workers: int, receiver: Any, seconds: float) -> dict[str, float]:
    decoding = with_children(pid) if workers == 1 else with_children(pid)[1:]
    gateway = [] if workers == 1 else [pid]
    write_line(receiver, "count")
    before = json.loads(read_line(receiver))
    meters, wire, begin = (CpuMeter(*decoding), CpuMeter(*gateway)), _loopback_bytes(), time.monotonic()
    time.sleep(seconds)
    cores = [meter.percent() / 100 for meter in meters]
    wire, elapsed = _loopback_bytes() - wire, time.monotonic() - begin
    write_line(receiver, "count")
    after = json.loads(read_line(receiver))
    return {
        "decoding_cores": cores[0],
        "gateway_cores": cores[1],
        "decoding_mib": _private_mib(decoding),
        "gateway_mib": _private_mib(gateway),
        "wire_bytes": wire / elapsed,
        "websocket_bytes": (after["bytes"] - before["bytes"]) / (after["time"] - before["time"]),
        "messages": (after["messages"] - before["messages"]) / (after["time"] - before["time"]),
    }


def _used_seconds(pids: Sequence[int]) -> float:
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


def _private_mib(pids: Sequence[int]) -> float:
    """Return the memory of processes; pages that several share are divided among them."""
    return sum(psutil.Process(pid).memory_full_info().pss for pid in pids) / 2**20


def _loopback_bytes() -> int:
    return psutil.net_io_counters(pernic=True)["lo"].bytes_recv


def discovery(outlets: int, seconds: float) -> dict[str, float]:
    """Measure a service that searches for a stream that is absent, among outlets that all answer."""
    contract = load_bundle(zoo_bundle_path()).contract
    name = f"discovery-{uuid.uuid4().hex[:6]}"
    with Processes(ports=_PORTS) as processes:
        process = processes.role("outlets", name, ",".join(contract.channels), contract.sfreq, _CHUNK, outlets)
        read_line(process)
        service, _ = processes.serve("--model", zoo_bundle_path(), "--stream", "name=absent")
        time.sleep(_SETTLE_S + 2)
        meter, wire, datagrams = CpuMeter(service.pid), _loopback_bytes(), _datagrams()
        time.sleep(seconds)
        return {
            "outlets": outlets,
            "cores": meter.percent() / 100,
            "bytes": (_loopback_bytes() - wire) / seconds,
            "datagrams": (_datagrams() - datagrams) / seconds,
        }


def recovery(streams: int = 16, workers: int = 2) -> float:
    """Return the seconds from the kill of a worker process until the last of its streams is valid again."""
    contract = load_bundle(zoo_bundle_path()).contract
    name = f"recovery-{uuid.uuid4().hex[:6]}"
    with Processes(ports=_PORTS) as processes:
        outlets = processes.role("outlets", name, ",".join(contract.channels), contract.sfreq, _CHUNK, streams)
        read_line(outlets)
        service, address = _serve(processes, name, streams, workers)
        write_line(outlets, "begin")
        wait_until(lambda: all(s["counters"]["valid"] for s in _streams(address)), 60, "all streams to be valid")
        begin = time.monotonic()
        psutil.Process(service.pid).children()[-1].kill()
        wait_until(lambda: _again_valid(address) == streams // workers, 90, "all streams to be valid again")
        return time.monotonic() - begin


def _again_valid(address: str) -> int:
    found = [s["counters"] for s in get_json(address, "/v1/streams")]
    return sum(one["restarts"] > 0 and one["valid"] > 0 for one in found)


def _datagrams() -> int:
    names, values = [
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Udp:")
    ]
    return int(values[names.index("InDatagrams")])


def receive(port: int, streams: int) -> None:
    """Role of a process: at each number read, has as many clients; at ``count``, writes what they have received."""
    poll, commands = select.epoll(), sys.stdin.fileno()
    clients: dict[int, socket.socket] = {}
    found = {"bytes": 0, "messages": 0}
    poll.register(commands, select.EPOLLIN)
    while True:
        for number, _ in poll.poll():
            if number != commands:
                data = clients[number].recv(65536)
                found["bytes"] += len(data)
                found["messages"] += data.count(b'"type":"prediction"')
            elif (word := sys.stdin.readline().strip()) == "count":
                say(json.dumps({**found, "time": time.monotonic()}))
            elif word:
                while len(clients) < int(word):
                    sock = connected(port, f"/v1/streams/s{len(clients) % streams}/predictions").sock
                    clients[sock.fileno()] = sock
                    poll.register(sock.fileno(), select.EPOLLIN)
                say("ready")
            else:
                return


# Results


def report(found: dict[str, Any]) -> str:
    """Return coefficients, the comparison with what was held back, and the traffic of a search, as Markdown."""
    rows = {
        part: medians([(Setup(**one["setup"]), one["values"]) for one in found[part]])
        for part in ("fitted", "held_back")
    }
    coefficients = fit(rows["fitted"])
    lines = [[figure, name, f"{value:.3g}"] for figure, terms in coefficients.items() for name, value in terms.items()]
    out = TextTable(["figure", "per", "coefficient"], lines).markdown()
    lines = []
    for part, measurements in rows.items():
        for setup, values in measurements:
            for figure in MODEL:
                if values[figure] > 0:
                    by_model = predict(coefficients, figure, setup)
                    error = f"{by_model / values[figure] - 1:+.0%}"
                    what = f"{setup.streams} streams, {setup.clients} clients, {setup.workers} workers"
                    lines.append(
                        [part.replace("_", " "), what, figure, f"{values[figure]:.3g}", f"{by_model:.3g}", error]
                    )
    out += ["", *TextTable(["", "setup", "figure", "measured", "model", "error"], lines).markdown()]
    lines = [
        [name, *(f"{value:.3g}" for value in parts.values())] for name, parts in search(found["discovery"]).items()
    ]
    out += ["", *TextTable(["search, a second", "alone", "per outlet that answers"], lines).markdown()]
    return "\n".join(out)


def search(rows: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return what a search takes each second, alone and for each outlet that answers."""
    few, many = _SEARCHED
    found = {}
    for name in ("cores", "bytes", "datagrams"):
        less, more = (median(one[name] for one in rows if one["outlets"] == n) for n in (few, many))
        each = (more - less) / (many - few)
        found[name] = {"alone": less - few * each, "per outlet": each}
    return found


def measure(repeats: int, seconds: float) -> dict[str, Any]:
    """Measure everything, repeat after repeat, so that other work disturbs all setups alike."""
    found: dict[str, Any] = {"fitted": [], "held_back": [], "discovery": []}
    for _ in range(repeats):
        for part, setups in (("fitted", FITTED), ("held_back", HELD_BACK)):
            for streams, workers, clients in setups:
                for setup, values in measured(streams, workers, clients, seconds):
                    print(setup, values, file=sys.stderr, flush=True)
                    found[part].append({"setup": asdict(setup), "values": values})
        found["discovery"] += [discovery(n, seconds) for n in _SEARCHED]
        print(found["discovery"][-2:], file=sys.stderr, flush=True)
    return found


def alone_on_the_network() -> None:
    """Begin again in a network namespace whose only device, loopback, is up."""
    if "CAPACITY_ALONE" not in os.environ:
        os.environ["CAPACITY_ALONE"] = "yes"
        os.execvp("unshare", ["unshare", "--map-root-user", "--net", sys.executable, *sys.argv])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        up = struct.pack("16sh14x", b"lo", 1)  # struct ifreq with IFF_UP
        fcntl.ioctl(sock, 0x8914, up)  # SIOCSIFFLAGS


def main() -> None:
    """Measure or read, fit and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("action", choices=("measure", "recovery", "fit"))
    parser.add_argument("file", nargs="?", type=Path, help="with fit: what --json has written")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--ray", type=Path, help="with fit: what ray_control_plane.py has written")
    parser.add_argument("--model", type=Path, help="with fit: file to write the model to")
    options = parser.parse_args()
    if options.action != "fit":
        alone_on_the_network()
    if options.action == "recovery":
        print(f"valid again after {median(recovery() for _ in range(options.repeats)):.1f} s")
        return
    if options.action == "fit":
        found = json.loads(options.file.read_text())
    else:
        found = measure(options.repeats, options.seconds)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.model:
        rows = medians([(Setup(**one["setup"]), one["values"]) for one in found["fitted"]])
        model = {"coefficients": fit(rows), "search": search(found["discovery"])}
        options.model.write_text(json.dumps({**model, "ray": json.loads(options.ray.read_text())}, indent=1) + "\n")
    print(report(found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["receive"]:
        receive(int(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
