"""Time per window of the service's decoder, the plain graph and PyTorch, in turn, on one core."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from mindwire.bench.roles import windows_of
from mindwire.inference.load import load_decoder
from mindwire.inference.onnx import OnnxDecoder, open_graph
from mindwire_models.bundle import Bundle, load_bundle

Run = Callable[[], object]
_REPEAT_S = 0.004


def decoder_latency(model: Path, *, hop: int, batches: Sequence[int], rounds: int) -> dict[str, Any]:
    """Measure microseconds per window of each design that can run here, for some numbers of windows per call, each of another stream.

    In each round every design runs for a few milliseconds in turn, so that other load affects all alike; ratios are taken
    within a round. Under ``designs`` are, per batch and design, quartiles of microseconds per window and of the ratio to the
    service's decoder.
    """
    bundle = load_bundle(model)
    reason = load_decoder(bundle).reason
    found: dict[str, dict[str, dict[str, float]]] = {}
    with _one_core():
        for batch in batches:
            designs = dict(_designs(bundle, hop, batch))
            times = _interleave(designs, rounds, batch)
            found[str(batch)] = {name: _summary(values, times["service"]) for name, values in times.items()}
    return {"reason": reason, "hop": hop, "rounds": rounds, "designs": found}


def _designs(bundle: Bundle, hop: int, batch: int) -> Iterator[tuple[str, Run]]:
    """Yield what can run here, by name; the service's own decoder is always there."""
    streams = [list(windows_of(bundle.contract, hop, 400, seed=index % 8)) for index in range(batch)]

    def decoding(decoder: Any) -> Run:
        sessions = [decoder.session() for _ in range(batch)]
        turns = cycle(range(len(streams[0])))

        def run() -> object:
            turn = next(turns)
            return decoder.decode(sessions, [stream[turn] for stream in streams])

        return run

    yield "service", decoding(load_decoder(bundle))
    if bundle.graph == "folded":
        yield "folded", decoding(OnnxDecoder(bundle, "cpu", "measured"))
    try:
        import torch

        from mindwire_models.bundle import load_module
        from mindwire_models.graphs.plain_graph import plain_graph
    except ImportError:
        return
    torch.set_num_threads(1)
    network = load_module(bundle).eval()
    x = np.stack([stream[0].samples.T for stream in streams]).astype(np.float32)
    session = open_graph(plain_graph(network), "cpu", "the plain graph")  # type: ignore[arg-type]
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("logits", "cpu")
    yield "plain ONNX", lambda: session.run_with_iobinding(binding)
    window = torch.from_numpy(x)

    def eager() -> object:
        with torch.inference_mode():
            return network(window)

    yield "eager PyTorch", eager


def _interleave(designs: dict[str, Run], rounds: int, batch: int) -> dict[str, list[float]]:
    """Return microseconds per window, by design and round."""
    repeats = {}
    for name, run in designs.items():
        for _ in range(3):
            run()
        begin = time.perf_counter()
        run()
        repeats[name] = max(1, round(_REPEAT_S / max(time.perf_counter() - begin, 1e-6)))
    times: dict[str, list[float]] = {name: [] for name in designs}
    for _ in range(rounds):
        for name, run in designs.items():
            begin = time.perf_counter()
            for _ in range(repeats[name]):
                run()
            times[name].append((time.perf_counter() - begin) / repeats[name] / batch * 1e6)
    return times


def _summary(values: list[float], service: list[float]) -> dict[str, float]:
    ratios = [value / own for value, own in zip(values, service, strict=True)]
    names = ("us_q1", "us", "us_q3", "times_service_q1", "times_service", "times_service_q3")
    return dict(zip(names, statistics.quantiles(values, n=4) + statistics.quantiles(ratios, n=4), strict=True))


@contextmanager
def _one_core() -> Iterator[None]:
    """Stay on one core, where the system allows it."""
    process = psutil.Process()
    if not hasattr(process, "cpu_affinity"):
        yield
        return
    before = process.cpu_affinity()
    process.cpu_affinity([max(before)])
    try:
        yield
    finally:
        process.cpu_affinity(before)
