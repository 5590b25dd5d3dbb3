"""Eager PyTorch, the plain and the folded graph side by side: one thread, interleaved rounds, medians of ratios.

    python benchmarks/folding.py [--modes none,se,…] [--batches 1,8] [--rounds 60] [--json FILE]

In each round every design runs a few times in turn, so that whatever else the machine does hits all alike;
a ratio is taken within a round, and the median over the rounds is printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

MODES = ("none", "se", "gsop", "fca", "encnet", "eca", "ge", "gct", "srm", "cbam", "cat", "catlite")
Run = Callable[[], object]


def bound(graph: bytes, feeds: dict[str, np.ndarray]) -> Run:
    """A graph on one thread, its inputs bound once."""
    from service.inference.onnx import open_graph

    session = open_graph(graph, "cpu", "graph")
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_cpu_input(name, array)
    binding.bind_output("logits", "cpu")
    return lambda: session.run_with_iobinding(binding)


def designs(mode: str, batch: int) -> dict[str, Run]:
    """What is compared, ready to run on random windows of 22 channels and 1000 samples."""
    import torch

    from models.attentionbasenet import AttentionBaseNet
    from models.folding import folded_graph
    from models.plain_graph import plain_graph

    torch.set_num_threads(1)
    torch.manual_seed(0)
    arguments = {"n_times": 1000, "n_chans": 22, "n_outputs": 4}
    network = AttentionBaseNet(**arguments, attention_mode=None if mode == "none" else mode).eval()
    x = np.random.default_rng(0).standard_normal((batch, 22, 1000)).astype(np.float32)
    alignment = np.repeat(np.eye(22, dtype=np.float32)[None], batch, axis=0)
    window = torch.from_numpy(x)

    def eager() -> object:
        with torch.inference_mode():
            return network(window)

    return {
        "eager": eager,
        "plain": bound(plain_graph(network), {"x": x}),
        "folded": bound(folded_graph(network), {"x": x, "alignment": alignment}),
    }


def interleave(runs: dict[str, Run], rounds: int, repeats: int) -> dict[str, list[float]]:
    """Seconds per call and round."""
    for run in runs.values():
        for _ in range(5):
            run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            for _ in range(repeats):
                run()
            times[name].append((time.perf_counter() - start) / repeats)
    return times


def summarise(times: dict[str, list[float]], base: str, batch: int) -> dict[str, dict[str, float]]:
    """Median microseconds per window, and how many times faster the base is, median and quartiles over rounds."""
    summary = {}
    for name, values in times.items():
        ratios = [value / own for value, own in zip(values, times[base], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        us = statistics.median(values) * 1e6 / batch
        summary[name] = {"us_per_window": us, "ratio": middle, "ratio_q1": low, "ratio_q3": high}
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    report = []
    print(f"{'mode':8} {'batch':>5} {'eager':>8} {'plain':>8} {'folded':>8}  {'plain/folded':>20} {'eager/folded':>20}")
    print(f"{'':8} {'':>5} {'us':>8} {'us':>8} {'us':>8}  {'median (quartiles)':>20} {'median (quartiles)':>20}")
    for mode in options.modes.split(","):
        for batch in map(int, options.batches.split(",")):
            times = interleave(designs(mode, batch), options.rounds, options.repeats)
            found = summarise(times, "folded", batch)
            report.append({"mode": mode, "batch": batch, **found})
            us = [found[name]["us_per_window"] for name in ("eager", "plain", "folded")]
            ratios = [
                f"{found[name]['ratio']:5.1f} ({found[name]['ratio_q1']:.1f}-{found[name]['ratio_q3']:.1f})"
                for name in ("plain", "eager")
            ]
            print(
                f"{mode:8} {batch:5} {us[0]:8.0f} {us[1]:8.0f} {us[2]:8.0f}  {ratios[0]:>20} {ratios[1]:>20}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
