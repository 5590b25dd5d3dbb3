"""Simulation of many machines: where gateways, networks, LSL's discovery and Ray's control plane saturate, and times of recovery.

    python benchmarks/scale_simulation.py [--svg docs/pictures/scale.svg] [--model benchmarks/capacity.json]

Its parameters are those that ``benchmarks/capacity.py`` and ``benchmarks/ray_control_plane.py`` have measured on one machine,
from the file of ``--model``; links and latency are those of a usual network and stand below. The seed is fixed: the same
parameters give the same figures. What is simulated is each prediction of each stream on its way through the worker's core,
links and the gateway's core, each of which serves what comes first, and each start of a worker.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import random
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import simpy

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from mindwire.evaluation.svg import Axis, Figure, Line, standalone  # noqa: E402
from mindwire.evaluation.tables import TextTable  # noqa: E402

MODEL = Path(__file__).with_name("capacity.json")
PERIOD_S = 0.04
CLIENTS = 5  # of each stream
STREAMS_PER_NODE, WORKERS_PER_NODE = 100, 2
LINK_BYTES, LATENCY_S = 10e9 / 8, 0.0002
# What a worker goes through after its start: two questions of the search, the settling of the filters, and a window.
_SEARCH_S, _SETTLE_S, _WINDOW_S = 1.2, 2.1, 4.0
# Times of mindwire.serve.gateway: until an end is noticed, on this machine and on another, and the first pause.
_HUNG_S, _RAY_HUNG_S, _PAUSE_S, _RESTARTED_BY_SYSTEMD_S = 15.0, 6.0, 0.5, 1.0
_WARM_S, _SECONDS = 0.2, 0.6
_SEED = 7
Process = Generator[simpy.Event, None, None]


@dataclass(frozen=True, slots=True)
class Costs:
    """Measured costs, in seconds of a core, bytes, and MiB."""

    prediction: float
    encoded: float
    message: float  # to a client, in the worker
    burst: float  # in the gateway, for a prediction that has clients
    relayed: float  # in the gateway, for each client
    message_bytes: float
    start: float
    start_stream: float
    search: float  # of a core, while a process searches
    search_outlet: float  # the same for each outlet that answers
    search_outlet_bytes: float  # a second
    actor: float
    actor_head: float
    node_head: float  # of a core of the head, for each node
    actor_head_mib: float

    @classmethod
    def of(cls, measured: dict[str, Any]) -> Self:
        """Return the costs that the two benchmarks have written."""
        c, search, ray = measured["coefficients"], measured["search"], measured["ray"]
        (few, idle_few), (many, idle_many) = ((int(n), share) for n, share in ray["idle_cores"].items())
        return cls(
            prediction=c["decoding_cores"]["prediction"],
            encoded=c["decoding_cores"]["encoded"],
            message=c["decoding_cores"]["message"],
            burst=c["gateway_cores"]["burst"],
            relayed=c["gateway_cores"]["message"],
            message_bytes=c["wire_bytes"]["message"],
            start=c["start_core_seconds"]["process"],
            start_stream=c["start_core_seconds"]["stream"],
            search=search["cores"]["alone"],
            search_outlet=search["cores"]["per outlet"],
            search_outlet_bytes=search["bytes"]["per outlet"],
            actor=ray["actor"]["process_core_seconds"],
            actor_head=ray["actor"]["head_core_seconds"],
            node_head=max(0.0, idle_many - idle_few) / (many - few),
            actor_head_mib=ray["actor"]["head_mib"],
        )


class Server:
    """A core or a link: serves what comes first."""

    def __init__(self, env: simpy.Environment) -> None:
        self._env = env
        self._free_at = 0.0
        self.busy = 0.0

    def serve(self, seconds: float) -> simpy.Event:
        """Return the event at which a piece of work is done."""
        self._free_at = max(self._env.now, self._free_at) + seconds
        self.busy += seconds
        return self._env.timeout(self._free_at - self._env.now)


def rendezvous(stream: str, gateways: int) -> int:
    """Return the gateway with the highest hash of its number and the stream's name: another gateway moves only its share."""
    return max(range(gateways), key=lambda number: hashlib.sha256(f"{number} {stream}".encode()).digest())


@dataclass(frozen=True, slots=True)
class Outcome:
    """Ages of predictions at their last client in milliseconds, the share that was delivered, and the busiest parts."""

    p50: float
    p99: float
    delivered: float
    worker: float  # load that is offered to the busiest, of a core
    gateway: float
    link: float


def predictions(costs: Costs, streams: int, gateways: int, gateway_of: Callable[[int], int]) -> Outcome:
    """Simulate every prediction of all streams for a moment; each gateway is on a machine of its own.

    Without a gateway, clients connect to the services that decode.
    """
    env, rng = simpy.Environment(), random.Random(_SEED)
    workers = [Server(env) for _ in range(math.ceil(streams / STREAMS_PER_NODE) * WORKERS_PER_NODE)]
    cores, incoming, outgoing = ([Server(env) for _ in range(gateways)] for _ in range(3))
    ages: list[float] = []
    made = itertools.count()
    sent = CLIENTS * costs.message_bytes / LINK_BYTES

    def prediction(worker: Server, gateway: int) -> Process:
        born = env.now
        yield worker.serve(costs.prediction + costs.encoded + CLIENTS * costs.message)
        if gateways:
            yield env.timeout(LATENCY_S)
            yield incoming[gateway].serve(sent)
            yield cores[gateway].serve(costs.burst + CLIENTS * costs.relayed)
            yield outgoing[gateway].serve(sent)
        if born >= _WARM_S:
            ages.append(env.now + LATENCY_S - born)

    def stream(number: int) -> Process:
        worker, gateway = workers[number % len(workers)], gateway_of(number)
        yield env.timeout(rng.uniform(0, PERIOD_S))
        while True:
            if env.now >= _WARM_S:
                next(made)
            env.process(prediction(worker, gateway))
            yield env.timeout(PERIOD_S)

    for number in range(streams):
        env.process(stream(number))
    env.run(_WARM_S + _SECONDS)
    spent = [1e3 * age for age in ages] or [math.inf]
    elapsed = _WARM_S + _SECONDS
    return Outcome(
        float(np.quantile(spent, 0.5)),
        float(np.quantile(spent, 0.99)),
        len(ages) / next(made),
        max(core.busy for core in workers) / elapsed,
        max((core.busy for core in cores), default=0.0) / elapsed,
        max((link.busy for link in outgoing), default=0.0) / elapsed,
    )


@dataclass(frozen=True, slots=True)
class Failure:
    """An end of something, and how soon it is noticed; its workers start again on a number of nodes."""

    name: str
    noticed_s: float
    workers: int
    nodes: int
    outlets: int  # that answer each search
    by_ray: bool = False


def recovery(costs: Costs, failure: Failure, streams_per_worker: int) -> tuple[float, float]:
    """Return the seconds until the first and the last stream that is concerned is valid again."""
    env = simpy.Environment()
    head = Server(env)
    cores = [[Server(env) for _ in range(WORKERS_PER_NODE)] for _ in range(failure.nodes)]
    valid: list[float] = []

    def worker(number: int) -> Process:
        core = cores[number % failure.nodes][number // failure.nodes % WORKERS_PER_NODE]
        yield env.timeout(failure.noticed_s + _PAUSE_S)
        if failure.by_ray:
            yield head.serve(costs.actor_head)
            yield core.serve(costs.actor)
        yield core.serve(costs.start)
        # while it searches it also reads the answers of all outlets, which may take longer than the search
        answers = _SEARCH_S * (costs.search + costs.search_outlet * failure.outlets)
        yield env.all_of([env.timeout(_SEARCH_S), core.serve(answers)])
        yield core.serve(costs.start_stream * streams_per_worker)
        yield env.timeout(_SETTLE_S + _WINDOW_S)
        valid.append(env.now)

    for number in range(failure.workers):
        env.process(worker(number))
    env.run()
    return min(valid), max(valid)


def failures(costs: Costs) -> list[Failure]:
    """Return what may end in a cluster of 100 nodes with 10,000 streams; a room is one node's."""
    again = _RESTARTED_BY_SYSTEMD_S + costs.start - _PAUSE_S  # its workers start at once then
    room, every = STREAMS_PER_NODE, 100 * WORKERS_PER_NODE
    return [
        Failure("a worker process is killed", 0.0, 1, 1, room),
        Failure("a worker process hangs, on the gateway's machine", _HUNG_S, 1, 1, room),
        Failure("a worker process hangs, on another machine", _RAY_HUNG_S, 1, 1, room, by_ray=True),
        Failure("a node is switched off", _RAY_HUNG_S, WORKERS_PER_NODE, 1, room, by_ray=True),
        Failure("a gateway is killed, and with it its workers", again, WORKERS_PER_NODE, 1, room),
        Failure("all is switched on at once, one LSL session a room", 0.0, every, 100, room, by_ray=True),
        Failure("the same, one LSL session for all", 0.0, every, 100, 100 * room, by_ray=True),
    ]


# Results

SIZES = (25, 50, 100, 125, 150, 200, 400, 1000, 3000, 10_000)
# Streams of each gateway, and whether they are shared by the hash of their names instead of by room.
LAYOUTS = {
    "one": (None, False),
    "one for 50 streams, by room": (50, False),
    "one for 50 streams, by hash": (50, True),
    "one for 100 streams, by hash": (100, True),
    "none": (0, False),
}
_TOO_LATE = 0.5


def sweep(costs: Costs, sizes: Sequence[int] = SIZES) -> dict[str, dict[int, Outcome]]:
    """Simulate rising numbers of streams in each layout, until most predictions do not arrive in time."""
    found: dict[str, dict[int, Outcome]] = {}
    for name, (per_gateway, hashed) in LAYOUTS.items():
        by_size = found[name] = {}
        for streams in sizes:
            gateways = 1 if per_gateway is None else math.ceil(streams / per_gateway) if per_gateway else 0
            if hashed:
                shares = [rendezvous(f"s{number}", gateways) for number in range(streams)]
            else:
                shares = [number * gateways // streams for number in range(streams)]
            by_size[streams] = predictions(costs, streams, gateways, shares.__getitem__)
            if by_size[streams].delivered < _TOO_LATE:
                break
    return found


def picture(found: dict[str, dict[int, Outcome]]) -> str:
    """Return the ages as an SVG document."""
    title = "Age of a prediction at the last of five clients, 99th percentile"
    colours = ("#c2571a", "#2563a8", "#8b3fb5", "#9a7d0a", "#2f855a")
    lines = [
        Line(list(by_size), [one.p99 for one in by_size.values()], "curve", name=(f"gateways: {name}",), colour=colour)
        for (name, by_size), colour in zip(found.items(), colours, strict=True)
    ]
    x = Axis(SIZES[0], SIZES[-1], (25, 100, 400, 1600, 10_000), "streams", logarithmic=True, form=",")
    y = Axis(1, 1000, (1, 3, 10, 30, 100, 300, 1000), "milliseconds", logarithmic=True)
    return standalone(Figure(x, y, title, lines, width=830, height=400, right=300).svg(), title)


def report(costs: Costs, found: dict[str, dict[int, Outcome]]) -> str:
    """Return the tables as Markdown."""
    lines = [
        [name, f"{size:,}", *(f"{value:.1f}" for value in (one.p50, one.p99)), f"{one.delivered:.0%}", f"{one.worker:.0%}", f"{one.gateway:.0%}", f"{one.link:.1%}"]
        for name, by_size in found.items()
        for size, one in by_size.items()
    ]  # fmt: skip
    head = ["gateways", "streams", "p50, ms", "p99, ms", "delivered", "busiest worker's core", "gateway's", "its link"]
    out = TextTable(head, lines).markdown()
    lines = [
        [failure.name, *(f"{value:.1f}" for value in recovery(costs, failure, STREAMS_PER_NODE // WORKERS_PER_NODE))]
        for failure in failures(costs)
    ]
    out += ["", *TextTable(["what ends", "first stream valid, s", "last, s"], lines).markdown()]
    actors, nodes = 100 * WORKERS_PER_NODE, 100
    rows = [
        ["head, idle, with 100 nodes: of a core", f"{costs.node_head * nodes:.2f}"],
        [f"head, {actors} actors started at once: seconds of a core", f"{costs.actor_head * actors:.2f}"],
        [f"head, memory of {actors} actors: MiB", f"{costs.actor_head_mib * actors:.1f}"],
    ]
    for outlets in (100, 1_000, 10_000):
        searching = f"{costs.search + costs.search_outlet * outlets:.2f}"
        rows.append([f"one process that searches among {outlets:,} outlets: of a core", searching])
        traffic = costs.search_outlet_bytes * outlets * 8e-6 * math.ceil(outlets / STREAMS_PER_NODE) * WORKERS_PER_NODE
        rows.append([f"all workers search, one session of {outlets:,} outlets: Mbit/s", f"{traffic:,.0f}"])
    return "\n".join([*out, "", *TextTable(["part", "load"], rows).markdown()])


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--svg", type=Path)
    options = parser.parse_args()
    costs = Costs.of(json.loads(options.model.read_text()))
    found = sweep(costs)
    if options.svg:
        options.svg.write_text(picture(found))
    print(report(costs, found))


if __name__ == "__main__":
    main()
