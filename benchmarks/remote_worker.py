"""Cost of a worker on a Ray cluster: age of a prediction at a client of the gateway, by a worker of this machine and by one on a node.

Both kinds of worker run by turns in one run, with the same bundle and the same outlet in chunks of 1; node, gateway and client are
on this machine, so that the network costs nothing. Prints the 50th and 99th percentile of every turn, and the difference of the medians.

python benchmarks/remote_worker.py [--seconds 30] [--turns 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from mindwire.bench.processes import Processes, read_line, summarise
from mindwire_models.bundle import load_bundle
from mindwire_models.zoo import zoo_bundle_path
from tests.support.ray_cluster import RayCluster

_WARM_S = 3.0


def turn(model: Path, seconds: float, ray: tuple[object, ...]) -> dict[str, float]:
    """Return the ages in milliseconds, by a local worker if there is nothing of Ray."""
    contract = load_bundle(model).contract
    name, seconds = f"bench-{uuid.uuid4().hex[:6]}", seconds + contract.window_samples / contract.sfreq + _WARM_S
    with Processes("real") as processes:  # its LSL is that of the environment, which is the cluster's
        pushed, received = processes.folder / "pushed.npz", processes.folder / "received.npz"
        kind = ray or ("--workers", 2)
        _, address = processes.serve("--model", model, "--stream", f"id={name},name={name}", "--no-lsl-outlet", *kind)
        client = processes.role("client", f"ws://{address}/v1/streams/{name}/predictions", 2 * seconds, received)
        read_line(client)
        pusher = processes.role("push", name, ",".join(contract.channels), contract.sfreq, 1, seconds, pushed)
        read_line(pusher)
        pusher.wait(seconds + 90)
        client.wait(60)
        sent, got = np.load(pushed), np.load(received)
    last = np.rint((got["times"] - sent["epoch"]) * sent["sfreq"]).astype(int)
    ages = (got["received"] - sent["pushed"][last]) * 1e3
    return summarise(ages[round(_WARM_S * contract.sfreq / contract.hop_samples) :])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=zoo_bundle_path())
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"local": [], "node": []}
    with Processes(), RayCluster("a") as cluster:
        for _ in range(args.turns):
            for kind, flags in (("local", ()), ("node", ("--ray", cluster.address))):
                found[kind].append(one := turn(args.model, args.seconds, flags))
                print(
                    f"{kind:>5}: p50 {one['p50']:.2f} ms, p99 {one['p99']:.2f} ms, {one['n']} predictions", flush=True
                )
    more: dict[str, Any] = {
        q: median(one[q] for one in found["node"]) - median(one[q] for one in found["local"]) for q in ("p50", "p99")
    }
    print(
        f"A worker on a node costs {more['p50']:+.2f} ms at p50 (goal: at most 0.5 ms), {more['p99']:+.2f} ms at p99."
    )
    if args.json:
        args.json.write_text(json.dumps(found | {"difference_ms": more}), encoding="utf-8")


if __name__ == "__main__":
    main()
