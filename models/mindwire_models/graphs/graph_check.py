"""Comparison of an ONNX graph with its network, before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mindwire_models.bundle_checks import GraphKind
from mindwire_models.errors import ExportError, MissingExtraError

if TYPE_CHECKING:
    from mindwire_models.network.attentionbasenet import AttentionBaseNet
    from mindwire_models.network.ensemble import Ensemble
    from mindwire_models.network.riemann_network import TangentSpaceNetwork

    Network = AttentionBaseNet | Ensemble | TangentSpaceNetwork

# Absolute difference of logits of order one. The entropies of cat and catlite are divided by their range,
# which costs a digit.
TOLERANCE = 1e-5
TOLERANCE_ENTROPY = 1e-4
_ENTROPIC = frozenset({"cat", "catlite"})
SEED = 20231011


def check_graph(graph: bytes, network: Network, kind: GraphKind, temperature: float = 1.0) -> float:
    """Compare a graph with its network on random and on edge inputs.

    The reference is the network in double precision; a graph may be off by the tolerance, relative to
    the size of the logits where they are large, and by a few times what rounding costs PyTorch itself, of the
    input and of what it computes in single precision.

    Parameters
    ----------
    graph : bytes
        The ONNX graph.
    network : AttentionBaseNet, Ensemble or TangentSpaceNetwork
        On the CPU, in evaluation mode.
    kind : {"folded", "plain"}
    temperature : float
        Softmax temperature of a folded graph's probabilities.

    Returns
    -------
    float
        The largest difference of logits on the random inputs.

    Raises
    ------
    ExportError
        The graph differs from the network.
    """
    run = runner(graph)
    allowed_here = tolerance(network)
    worst = 0.0
    for label, x, alignment in _inputs(network.n_chans, network.n_times, kind):
        aligned = np.matmul(alignment, x)
        exact = reference(network, aligned, double=True)
        single = reference(network, aligned, double=False)
        shaken = reference(network, aligned + shake(aligned), double=False)
        feeds = {"x": x, "alignment": alignment} if kind == "folded" else {"x": x}
        found = run(feeds)
        sane = np.isfinite(np.stack([exact, single, shaken])).all(axis=(0, 2))
        if label.startswith("random") and not sane.all():
            msg = f"The network's own logits are not finite on {label}; its weights are damaged, nothing was written."
            raise ExportError(msg)
        if not sane.any():
            continue
        exact, logits = exact[sane], found["logits"][sane]
        rounding = max(float(np.abs(other[sane] - exact).max()) for other in (single, shaken))
        allowed = allowed_here * max(1.0, float(np.abs(exact).max())) + 4 * rounding
        difference = float(np.abs(logits - exact).max())
        if network.attention_mode in _ENTROPIC and label == "zeros" and np.isfinite(difference):
            # The entropies of a flat signal are equal but for rounding, which the network then enlarges to 0 … 1.
            continue
        if not difference <= allowed:
            msg = (
                f"The {kind} graph differs from the network by {difference:.2g} in logits on {label} "
                f"(allowed {allowed:.2g}); nothing was written."
            )
            raise ExportError(msg)
        if kind == "folded":
            _check_probabilities(found["probabilities"][sane], logits, temperature, label)
        if label.startswith("random"):
            worst = max(worst, difference)
    return worst


def tolerance(network: Network) -> float:
    """Return the allowed difference of logits of order one."""
    return TOLERANCE_ENTROPY if network.attention_mode in _ENTROPIC else TOLERANCE


def _check_probabilities(
    found: NDArray[np.float32], logits: NDArray[np.float32], temperature: float, label: str
) -> None:
    scaled = logits.astype(np.float64) / temperature
    expected = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE:
        msg = (
            f"The graph's probabilities differ by {difference:.2g} from the softmax of its logits on {label}; "
            "nothing was written."
        )
        raise ExportError(msg)


def _inputs(n_chans: int, n_times: int, kind: GraphKind) -> list[tuple[str, NDArray[np.float32], NDArray[np.float32]]]:
    rng = np.random.default_rng(SEED)

    def matrices(batch: int, *, identity: bool) -> NDArray[np.float32]:
        eye = np.broadcast_to(np.eye(n_chans), (batch, n_chans, n_chans))
        if identity or kind == "plain":
            return np.ascontiguousarray(eye, dtype=np.float32)
        noise = rng.standard_normal((batch, n_chans, n_chans)) / n_chans
        return (eye + (noise + noise.swapaxes(1, 2)) / 2).astype(np.float32)

    shape = (n_chans, n_times)
    cases: list[tuple[str, NDArray[np.float64], bool]] = [
        ("random windows, batch 1", rng.standard_normal((1, *shape)), True),
        ("random windows, batch 3, aligned", rng.standard_normal((3, *shape)), False),
        ("random windows, batch 32, aligned", rng.standard_normal((32, *shape)), False),
        ("random windows of small amplitude, batch 1", 0.03 * rng.standard_normal((1, *shape)), False),
        ("zeros", np.zeros((1, *shape)), False),
        ("large values", 1e4 * rng.standard_normal((3, *shape)), False),
    ]
    return [(label, x.astype(np.float32), matrices(len(x), identity=identity)) for label, x, identity in cases]


def shake(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return changes of the size of single precision's rounding."""
    size = 3e-7 * max(1.0, float(np.abs(x).max()))
    return (size * np.random.default_rng(SEED).standard_normal(x.shape)).astype(np.float32)


def reference(network: Network, x: NDArray[np.float32], *, double: bool) -> NDArray[np.float64]:
    """Return the network's own logits of aligned windows (batch, n_chans, n_times), in double or in single precision."""
    import torch

    kind = torch.float64 if double else torch.float32
    try:
        with torch.inference_mode():
            logits = network.to(kind)(torch.from_numpy(x).to(kind))
    finally:
        network.to(torch.float32)
    return logits.numpy().astype(np.float64)  # type: ignore[no-any-return]


def runner(graph: bytes) -> Any:
    """Return a function from named inputs to named outputs of a graph.

    Raises
    ------
    ExportError
        ONNX Runtime does not accept the graph.
    MissingExtraError
        ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        msg = "Checking a graph needs ONNX Runtime; install it with: pip install onnxruntime."
        raise MissingExtraError(msg) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        msg = f"ONNX Runtime does not accept the exported graph ({error}); nothing was written."
        raise ExportError(msg) from error
    names = [output.name for output in session.get_outputs()]

    def run(feeds: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        return dict(zip(names, session.run(names, feeds), strict=True))

    return run
