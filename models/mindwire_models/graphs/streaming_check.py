"""Comparison of the streaming graphs with their network, before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mindwire_models.errors import ExportError
from mindwire_models.graphs.graph_check import SEED, reference, runner, shake, tolerance
from mindwire_models.graphs.onnx_file import read_onnx_facts
from mindwire_models.graphs.streaming_memory import StepRows, StreamMemory
from mindwire_models.graphs.streaming_plan import StemGeometry, plan_streaming

if TYPE_CHECKING:
    from mindwire_models.network.attentionbasenet import AttentionBaseNet

_HOPS = 12


def check_streaming(stem: bytes, step: bytes, network: AttentionBaseNet, hop: int) -> None:
    """Compare the streaming graphs with their network over some hops of random signal.

    Parameters
    ----------
    stem, step : bytes
        The ONNX graphs.
    network : AttentionBaseNet
        On the CPU, in evaluation mode.
    hop : int
        Samples between two windows.

    Raises
    ------
    ExportError
        The graphs differ from the network, or do not stream with this hop.
    """
    geometry = StemGeometry.from_metadata(read_onnx_facts(step).metadata, "streaming.onnx")
    plan = plan_streaming(geometry, hop)
    if plan is None:
        msg = f"The streaming graphs do not stream with a hop of {hop} samples; nothing was written."
        raise ExportError(msg)
    run_stem, run_step = runner(stem), runner(step)
    signal, matrix = _signal(network, network.n_times + _HOPS * hop)
    alignment = matrix[None]
    ch_dim = int(network.channel_expansion[0].out_channels)  # type: ignore[arg-type]
    memory = StreamMemory.empty(plan, ch_dim)
    matrices = {"pool": plan.pool, "combine": plan.combine, "place": plan.place}
    filled = run_stem(
        {"x": signal[None, plan.stem_span()], "alignment": alignment, "box": plan.box, "spread": plan.spread()}
    )
    memory.fill(filled["blocks"][0], filled["tokens"][0])
    edges = np.zeros((1, 2 * plan.edge_samples, network.n_chans), np.float32)
    old = np.zeros((1, ch_dim, plan.n_old), np.float32)
    cached = np.zeros((1, ch_dim, geometry.n_tokens), np.float32)
    blocks = np.zeros((1, ch_dim, 2 * plan.edge_blocks), np.float32)
    tokens = np.zeros((1, ch_dim, plan.combine.shape[1]), np.float32)
    row = StepRows.of(plan, edges=edges, old=old, cached=cached, blocks=blocks, tokens=tokens).row(0)
    for number in range(_HOPS):
        window = signal[number * hop : number * hop + network.n_times]
        memory.gather(row, window)
        made = run_step({"spatial": filled["spatial"], "edges": edges, "old_blocks": old, "cached": cached, **matrices})
        blocks[...], tokens[...] = made["blocks"], made["tokens"]
        memory.append(row)
        difference, allowed = _off(made["logits"][0], network, window, alignment[0])
        if not difference <= allowed:
            msg = (
                f"The streaming graph differs from the network by {difference:.2g} in logits after {number} hops "
                f"(allowed {allowed:.2g}); nothing was written."
            )
            raise ExportError(msg)


def _signal(network: AttentionBaseNet, n_samples: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return random samples, time-major, and an alignment near the identity."""
    rng = np.random.default_rng(SEED)
    signal = rng.standard_normal((n_samples, network.n_chans)).astype(np.float32)
    noise = rng.standard_normal((network.n_chans, network.n_chans)) / network.n_chans
    return signal, (np.eye(network.n_chans) + (noise + noise.T) / 2).astype(np.float32)


def _off(
    logits: NDArray[np.float32],
    network: AttentionBaseNet,
    window: NDArray[np.float32],
    alignment: NDArray[np.float32],
) -> tuple[float, float]:
    """Return the distance of logits from the network's own in double precision, and the allowed distance."""
    aligned = np.matmul(alignment, window.T)[None]
    exact = reference(network, aligned, double=True)
    rounding = max(
        float(np.abs(reference(network, x, double=False) - exact).max()) for x in (aligned, aligned + shake(aligned))
    )
    allowed = tolerance(network) * max(1.0, float(np.abs(exact).max())) + 4 * rounding
    return float(np.abs(logits - exact).max()), allowed
