"""Comparison of ONNX graphs with their network, before anything is written.

The reference is the network in double precision; a graph may be off by the tolerance, relative to the size of the logits where
they are large, and by a few times what rounding costs PyTorch itself, of the input and of what it computes in single precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from mindwire_models.bundle_checks import GraphKind
from mindwire_models.errors import ExportError
from mindwire_models.graphs.external_check import SEED
from mindwire_models.graphs.streaming_memory import StepRows, StreamMemory, step_arrays
from mindwire_models.graphs.streaming_plan import StreamingPlan
from mindwire_models.network.attentionbasenet import AttentionBaseNet
from mindwire_models.network.ensemble import Ensemble
from mindwire_models.network.riemann import TangentSpaceNetwork

Array = NDArray[np.float32]
Network = AttentionBaseNet | Ensemble | TangentSpaceNetwork

# Absolute difference of logits of order one. The entropies of cat and catlite are divided by their range,
# which costs a digit.
TOLERANCE = 1e-5
TOLERANCE_ENTROPY = 1e-4
_ENTROPIC = frozenset({"cat", "catlite"})
_HOPS = 12


def check_graph(graph: bytes, network: Network, kind: GraphKind, temperature: float = 1.0) -> None:
    """Compare a graph with its network, on the CPU and in evaluation mode, on random and on edge inputs.

    ``temperature`` is that of a folded graph's probabilities.

    Raises
    ------
    ExportError
        The graph differs from the network.
    """
    run = _runner(graph)
    rng = np.random.default_rng(SEED)
    for label, batch, size in (
        ("random windows, batch 1", 1, 1.0),
        ("random windows, batch 3", 3, 1.0),
        ("random windows, batch 32", 32, 1.0),
        ("random windows of small amplitude, batch 1", 1, 0.03),
        ("zeros", 1, 0.0),
        ("large values", 3, 1e4),
    ):
        x = (size * rng.standard_normal((batch, network.n_chans, network.n_times))).astype(np.float32)
        alignment = _alignment(rng, batch, network.n_chans)
        feeds, aligned = ({"x": x, "alignment": alignment}, alignment @ x) if kind == "folded" else ({"x": x}, x)
        found = run(feeds)
        sane = _compare(found["logits"], network, aligned, kind, label)
        if kind == "plain" or not sane.any():
            continue
        expected = softmax(found["logits"][sane].astype(np.float64) / temperature, axis=1)
        difference = float(np.abs(found["probabilities"][sane] - expected).max())
        if not difference <= TOLERANCE:
            msg = (
                f"The graph's probabilities differ by {difference:.2g} from the softmax of its logits on {label}; "
                "nothing was written."
            )
            raise ExportError(msg)


def check_streaming(stem: bytes, step: bytes, network: AttentionBaseNet, plan: StreamingPlan) -> None:
    """Compare the streaming graphs with their network over some hops of random signal; errors as of :func:`check_graph`.

    Raises
    ------
    ExportError
        The graphs differ from the network, or do not stream with this hop.
    """
    run_stem, run_step = _runner(stem), _runner(step)
    rng = np.random.default_rng(SEED)
    signal = rng.standard_normal((network.n_times + _HOPS * plan.hop, network.n_chans)).astype(np.float32)
    alignment = _alignment(rng, 1, network.n_chans)
    filled = run_stem(
        {"x": signal[None, plan.stem_span()], "alignment": alignment, "box": plan.box, "spread": plan.spread()}
    )
    blocks, tokens = filled["blocks"][0], filled["tokens"][0]
    memory = StreamMemory.empty(plan, len(blocks))
    memory.fill(blocks, tokens)
    inputs, outputs = step_arrays(plan, 1, network.n_chans, len(blocks))
    row = StepRows.of(plan, inputs, outputs).row(0)
    for number in range(_HOPS):
        window = signal[number * plan.hop :][: network.n_times]
        memory.gather(row, window)
        made = run_step(inputs | {"spatial": filled["spatial"]})
        for name, array in outputs.items():
            array[...] = made[name]
        memory.append(row)
        aligned = alignment @ window.T
        _compare(made["logits"], network, aligned, "streaming", f"random windows after {number} hops")


def _alignment(rng: np.random.Generator, batch: int, n_chans: int) -> Array:
    """Symmetric matrices near the identity, ``(batch, n_chans, n_chans)``."""
    noise = rng.standard_normal((batch, n_chans, n_chans)) / n_chans
    return (np.eye(n_chans) + (noise + noise.swapaxes(1, 2)) / 2).astype(np.float32)


def _compare(logits: Array, network: Network, aligned: Array, kind: str, label: str) -> NDArray[np.bool_]:
    """Refuse logits that differ from the network's own; return the windows for which it has finite ones."""
    rounding_of_input = 3e-7 * max(1.0, float(np.abs(aligned).max()))
    shake = (rounding_of_input * np.random.default_rng(SEED).standard_normal(aligned.shape)).astype(np.float32)
    exact = _reference(network, aligned, torch.float64)
    others = np.stack([_reference(network, x, torch.float32) for x in (aligned, aligned + shake)])
    sane: NDArray[np.bool_] = np.isfinite(np.stack([exact, *others])).all(axis=(0, 2))
    if label.startswith("random") and not sane.all():
        msg = f"The network's own logits are not finite on {label}; its weights are damaged, nothing was written."
        raise ExportError(msg)
    if not sane.any():
        return sane
    exact, others = exact[sane], others[:, sane]
    difference = float(np.abs(logits[sane] - exact).max())
    entropic = network.attention_mode in _ENTROPIC
    if entropic and label == "zeros" and np.isfinite(difference):
        # The entropies of a flat signal are equal but for rounding, which the network then enlarges to 0 … 1.
        return sane
    tolerance = TOLERANCE_ENTROPY if entropic else TOLERANCE
    allowed = tolerance * max(1.0, float(np.abs(exact).max())) + 4 * float(np.abs(others - exact).max())
    if not difference <= allowed:
        msg = (
            f"The {kind} graph differs from the network by {difference:.2g} in logits on {label} "
            f"(allowed {allowed:.2g}); nothing was written."
        )
        raise ExportError(msg)
    return sane


def _reference(network: Network, x: Array, dtype: torch.dtype) -> NDArray[np.float64]:
    """Return the network's own logits of aligned windows (batch, n_chans, n_times), computed in a precision."""
    try:
        with torch.inference_mode():
            return network.to(dtype)(torch.from_numpy(x).to(dtype)).double().numpy()  # type: ignore[no-any-return]
    finally:
        network.to(torch.float32)


def _runner(graph: bytes) -> Any:
    """Return a function from named inputs to named outputs of a graph."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        msg = f"ONNX Runtime does not accept the exported graph ({error}); nothing was written."
        raise ExportError(msg) from error
    names = [output.name for output in session.get_outputs()]

    def run(feeds: dict[str, Array]) -> dict[str, Array]:
        return dict(zip(names, session.run(names, feeds), strict=True))

    return run
