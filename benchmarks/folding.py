"""Eager PyTorch, plain graph, folded graph and streaming side by side: one thread, interleaved, medians of ratios.

    python benchmarks/folding.py [--modes none,se,…] [--batches 1,8] [--rounds 30] [--turn 0.02] [--json FILE]

Everything runs in one thread, whose processor time is taken: what else the machine does is not counted. In each
round every design runs for a few milliseconds in turn, so that what the machine does hits all alike;
a ratio is taken within a round, and the median over the rounds is printed. Eager, plain and folded run bare, on
inputs that lie ready; streaming is the whole decoder of the service at a hop of 10 samples, with as many streams as the
batch says, everything in Python included.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mindwire_models.network.attentionbasenet import AttentionBaseNet

HOP = 10
SECONDS = 60
MODES = ("none", "se", "gsop", "fca", "encnet", "eca", "ge", "gct", "srm", "cbam", "cat", "catlite")
Run = Callable[[], object]


def bound(graph: bytes, feeds: dict[str, np.ndarray]) -> Run:
    """A graph on one thread, its inputs bound once."""
    from mindwire.inference.onnx import open_graph

    session = open_graph(graph, "cpu", "graph")
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_cpu_input(name, array)
    binding.bind_output("logits", "cpu")
    return lambda: session.run_with_iobinding(binding)


def streaming(network: AttentionBaseNet, batch: int) -> Run:
    """The service's decoder on streams that go on for ever."""
    from safetensors.torch import save

    from mindwire.inference.load import load_decoder
    from mindwire.types import Reason, Window
    from mindwire_models.bundle import write_bundle
    from mindwire_models.bundle_checks import GRAPH, STEM, STREAMING
    from mindwire_models.contract import Contract
    from mindwire_models.graphs.folded_weights import fold
    from mindwire_models.graphs.folding import folded_graph
    from mindwire_models.graphs.streaming_graph import stem_graph, step_graph

    contract = Contract(
        channels=tuple(f"C{index}" for index in range(22)),
        sfreq=250.0,
        window_samples=1000,
        hop_samples=HOP,
        classes=("a", "b", "c", "d"),
    )
    weights = fold(network)
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(
            f"{folder}/bundle",
            name="benchmark",
            contract=contract,
            config=network.get_config(),
            weights=save(network.state_dict()),
            graph="folded",
            graphs={GRAPH: folded_graph(network), STEM: stem_graph(weights), STREAMING: step_graph(weights)},
            card="",
        )
        decoder = load_decoder(bundle, "onnxruntime", "cpu")
    signal = np.random.default_rng(0).standard_normal((1000 + 250 * SECONDS, 22)).astype(np.float32)
    identity = np.eye(22, dtype=np.float32)
    sessions = [decoder.session() for _ in range(batch)]
    ends = range(1000, len(signal) + 1, HOP)
    turns = [
        [Window(0, 0.0, signal[end - 1000 : end], identity, 0, turn, end, Reason.NONE) for end in ends]
        for turn in (0, 1)
    ]
    windows = itertools.cycle(window for turn in turns for window in turn)
    return lambda: decoder.decode(sessions, [next(windows)] * batch)


def designs(mode: str, batch: int) -> dict[str, Run]:
    """Return the designs to compare, ready to run on random windows of 22 channels and 1000 samples."""
    import torch

    from mindwire_models.graphs.folding import folded_graph
    from mindwire_models.graphs.plain_graph import plain_graph
    from mindwire_models.network.attentionbasenet import AttentionBaseNet

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
        "streaming": streaming(network, batch),
    }


def interleave(runs: dict[str, Run], rounds: int, turn: float) -> dict[str, list[float]]:
    """Seconds per call and round, in which each runs for ``turn`` seconds, however long a call takes."""
    calls: dict[str, int] = {}
    for name, run in runs.items():
        for _ in range(5):
            run()
        start = time.thread_time()
        for _ in range(5):
            run()
        calls[name] = max(3, round(5 * turn / (time.thread_time() - start)))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.thread_time()
            for _ in range(calls[name]):
                run()
            times[name].append((time.thread_time() - start) / calls[name])
    return times


def quartiles(slow: list[float], fast: list[float]) -> list[float]:
    """Speed-up within each round: lower quartile, median, upper quartile."""
    return statistics.quantiles([a / b for a, b in zip(slow, fast, strict=True)], n=4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--turn", type=float, default=0.02, help="seconds that each runs in a round")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    report = []
    pairs = (("plain", "folded"), ("eager", "folded"), ("plain", "streaming"), ("eager", "streaming"))
    names = ("eager", "plain", "folded", "streaming")
    print("us per window, medians; ratios: median (quartiles) over the rounds")
    print(f"{'mode':8} {'batch':>5}", *(f"{name:>9}" for name in names), *(f"{f'{a}/{b}':>18}" for a, b in pairs))
    for mode in options.modes.split(","):
        for batch in map(int, options.batches.split(",")):
            times = interleave(designs(mode, batch), options.rounds, options.turn)
            us = {name: statistics.median(values) * 1e6 / batch for name, values in times.items()}
            ratios = {f"{a}/{b}": quartiles(times[a], times[b]) for a, b in pairs}
            report.append({"mode": mode, "batch": batch, "us_per_window": us, "ratios": ratios})
            shown = (f"{middle:.1f} ({low:.1f}-{high:.1f})" for low, middle, high in ratios.values())
            print(
                f"{mode:8} {batch:5}",
                *(f"{us[name]:9.0f}" for name in names),
                *(f"{text:>18}" for text in shown),
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
