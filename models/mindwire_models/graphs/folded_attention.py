"""Attention modules in few ONNX nodes.

Each takes the features ``(batch, ch_dim, n_steps)`` and returns them reweighted. Biases, BatchNorms, pools
and convolutions along channels become parts of the matrices next to them: at these sizes a node costs more than
what it computes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mindwire_models.graphs.folded_weights import FoldedWeights, Matrix, norm_affine
from mindwire_models.graphs.onnx_builder import GraphBuilder
from mindwire_models.network.attention.collaborative import _SMALLEST_SPREAD

# BatchNorm's and gct's, as PyTorch and the paper have them.
_NORM_EPS = 1e-5
_GCT_EPS = 1e-5


def attend(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    """Reweight features, ``(batch, ch_dim, n_steps)``, by the network's attention mode."""
    return _MODES[str(weights.attention_mode)](g, weights, x)


def _mean(g: GraphBuilder, x: str) -> str:
    """Over time: (batch, ch_dim, 1)."""
    return g.add("ReduceMean", x, axes=[2], keepdims=1)


def _bottleneck(
    g: GraphBuilder, x: str, first: Matrix, second: Matrix, biases: tuple[Matrix, Matrix] | None = None
) -> str:
    """Two layers over channels with ReLU between, on ``(batch, ch_dim, n)``."""
    x = g.add("MatMul", g.constant(first), x)
    if biases is not None:
        x = g.add("Add", x, g.constant(biases[0][:, None]))
    x = g.add("MatMul", g.constant(second), g.add("Relu", x))
    return x if biases is None else g.add("Add", x, g.constant(biases[1][:, None]))


def _gate(g: GraphBuilder, x: str, gate: str) -> str:
    return g.add("Mul", x, g.add("Sigmoid", gate))


def _pointwise(weight: Matrix) -> Matrix:
    return weight[:, :, 0, 0]


def _se(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    p = weights.attention
    return _gate(g, x, _bottleneck(g, _mean(g, x), _pointwise(p["fc1.weight"]), _pointwise(p["fc2.weight"])))


def _gsop(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    p = weights.attention
    steps = weights.n_steps
    mixed = g.add("MatMul", g.constant(_pointwise(p["pw_conv1.weight"])), x)
    # Centring removes the mixtures' biases. BatchNorm and both convolutions of the covariance are one matrix.
    centred = g.add("MatMul", mixed, g.constant(np.eye(steps) - 1 / steps))
    covariance = g.add("MatMul", centred, g.add("Transpose", centred, perm=[0, 2, 1]))
    narrow = len(p["bn.weight"])
    scale, shift = norm_affine(p, "bn", _NORM_EPS)
    rows = p["rw_conv.weight"][:, 0, :, 0]  # (4 * narrow, narrow)
    matrix = np.zeros((len(rows), narrow, narrow))
    bias = p["rw_conv.bias"].copy()
    for index, row in enumerate(rows):
        own = index // (len(rows) // narrow)
        matrix[index, own] = row * scale[own]
        bias[index] += shift[own] * row.sum()
    second = _pointwise(p["pw_conv2.weight"])
    matrix = second @ matrix.reshape(len(rows), -1) / max(steps - 1, 1)
    bias = second @ bias + p["pw_conv2.bias"]
    gate = g.add("Gemm", g.add("Flatten", covariance), g.constant(matrix.T), g.constant(bias))
    return g.add("Mul", x, g.add("Unsqueeze", gate, g.integers(2)))


def _fca(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    p = weights.attention
    cosine = np.zeros((weights.ch_dim, weights.n_steps))
    cosine[:, : p["weight"].shape[1]] = p["weight"]
    summary = _weighted_sum(g, x, cosine)
    return _gate(g, x, _bottleneck(g, summary, p["fc.0.weight"], p["fc.2.weight"]))


def _weighted_sum(g: GraphBuilder, x: str, taps: Matrix) -> str:
    """Sum over time, weighted by ``(ch_dim, n_steps)``: (batch, ch_dim, 1)."""
    if (taps == taps[0]).all():
        return g.add("MatMul", x, g.constant(taps[0][:, None]))
    product = g.add("Mul", x, g.constant(taps))
    return g.add("ReduceSum", product, g.integers(2), keepdims=1)


def _encnet(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    p = weights.attention
    codewords, smoothing = p["codewords"], p["smoothing"]
    # smoothing * |x - codeword|², expanded, so that residuals of every step to every codeword are never built.
    cross = g.add("MatMul", g.constant(-2 * smoothing[:, None] * codewords), x)
    square = g.add("MatMul", g.constant(np.repeat(smoothing[:, None], weights.ch_dim, axis=1)), g.add("Mul", x, x))
    own = g.constant((smoothing * (codewords**2).sum(axis=1))[:, None])
    assignment = g.add("Softmax", g.add("Add", g.add("Add", cross, square), own), axis=1)
    gathered = g.add("MatMul", assignment, g.add("Transpose", x, perm=[0, 2, 1]))
    total = g.add("ReduceSum", assignment, g.integers(2), keepdims=1)
    scale, shift = norm_affine(p, "bn", _NORM_EPS)
    encoded = g.add("Sub", gathered, g.add("Mul", total, g.constant(codewords)))
    normed = g.add("Add", g.add("Mul", encoded, g.constant(scale[:, None])), g.constant(shift[:, None]))
    summary = g.add("ReduceMean", g.add("Relu", normed), axes=[1], keepdims=0)
    gate = g.add("Gemm", summary, g.constant(p["fc.weight"].T), g.constant(p["fc.bias"]))
    return _gate(g, x, g.add("Unsqueeze", gate, g.integers(2)))


def _eca(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    kernel = weights.attention["conv.weight"][0, 0]
    half = len(kernel) // 2
    band = np.zeros((weights.ch_dim, weights.ch_dim))
    for row in range(weights.ch_dim):
        for column in range(max(0, row - half), min(weights.ch_dim, row + half + 1)):
            band[row, column] = kernel[column - row + half]
    return _gate(g, x, g.add("MatMul", g.constant(band), _mean(g, x)))


def _ge(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    p = weights.attention
    if "gather.0.weight" in p:
        scale, shift = norm_affine(p, "gather.1", _NORM_EPS)
        taps = np.zeros((weights.ch_dim, weights.n_steps))
        learned = p["gather.0.weight"][:, 0, 0]
        taps[:, : learned.shape[1]] = learned * scale[:, None]
        context = g.add("Add", _weighted_sum(g, x, taps), g.constant(shift[:, None]))
    else:
        context = _mean(g, x)
    if "mlp.0.weight" in p:
        context = _bottleneck(g, context, _pointwise(p["mlp.0.weight"]), _pointwise(p["mlp.2.weight"]))
    return _gate(g, x, context)


def _gct(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    p = {name: value[0, :, :, 0] for name, value in weights.attention.items()}  # (ch_dim, 1)
    eps = g.constant(_GCT_EPS)
    norm = g.add("Sqrt", g.add("Add", g.add("ReduceSumSquare", x, axes=[2], keepdims=1), eps))
    norm = g.add("Mul", norm, g.constant(p["alpha"]))
    mean = g.add("ReduceSumSquare", norm, axes=[1], keepdims=1)
    mean = g.add("Mul", mean, g.constant(1 / weights.ch_dim))
    root = g.add("Sqrt", g.add("Add", mean, eps))
    relative = g.add("Div", g.add("Mul", norm, g.constant(p["gamma"])), root)
    gate = g.add("Tanh", g.add("Add", relative, g.constant(p["beta"])))
    return g.add("Mul", x, g.add("Add", gate, g.constant(1.0)))


def _srm(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    p = weights.attention
    mean = _mean(g, x)
    squares = g.add("ReduceSumSquare", g.add("Sub", x, mean), axes=[2], keepdims=1)
    # The sum of squares becomes the sample deviation by a factor, which the weights take over.
    spread = g.add("Sqrt", squares)
    factor = 1 / np.sqrt(max(weights.n_steps - 1, 1))
    scale, shift = norm_affine(p, "bn", _NORM_EPS)
    if "style_integration.1.weight" in p:
        first, second = p["style_integration.1.weight"], p["style_integration.3.weight"]
        of_mean = g.add("MatMul", g.constant(first[:, 0::2]), mean)
        of_spread = g.add("MatMul", g.constant(first[:, 1::2] * factor), spread)
        hidden = g.add("Relu", g.add("Add", of_mean, of_spread))
        style = g.add("MatMul", g.constant(second * scale[:, None]), hidden)
    else:
        pair = p["style_integration.weight"][:, 0]  # (ch_dim, 2)
        of_mean = g.add("Mul", mean, g.constant((pair[:, 0] * scale)[:, None]))
        of_spread = g.add("Mul", spread, g.constant((pair[:, 1] * scale * factor)[:, None]))
        style = g.add("Add", of_mean, of_spread)
    return _gate(g, x, g.add("Add", style, g.constant(shift[:, None])))


def _cbam(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    p = weights.attention
    both = g.add("Concat", _mean(g, x), g.add("ReduceMax", x, axes=[2], keepdims=1), axis=2)
    both = _bottleneck(g, both, _pointwise(p["fc.0.weight"]), _pointwise(p["fc.2.weight"]))
    x = _gate(g, x, g.add("ReduceSum", both, g.integers(2), keepdims=1))
    mean = g.add("ReduceMean", x, axes=[1], keepdims=1)
    largest = g.add("ReduceMax", x, axes=[1], keepdims=1)
    kernel = p["conv.weight"][:, :, 0]
    half = kernel.shape[2] // 2
    over_channels = g.add("Concat", mean, largest, axis=1)
    return _gate(g, x, g.add("Conv", over_channels, g.constant(kernel), g.constant(p["conv.bias"]), pads=[half, half]))


def _entropy(g: GraphBuilder, x: str, axis: int) -> str:
    """Minus the entropy of the softmax along an axis, kept as one."""
    log_p = g.add("LogSoftmax", x, axis=axis)
    return g.add("ReduceSum", g.add("Mul", g.add("Exp", log_p), log_p), g.integers(axis), keepdims=1)


def _relative_entropy(g: GraphBuilder, x: str, axis: int, along: int) -> str:
    """Entropies mapped to 0 … 1 along an axis, from their negatives."""
    negative = _entropy(g, x, axis)
    highest = g.add("ReduceMax", negative, axes=[along], keepdims=1)
    spread = g.add("Sub", highest, g.add("ReduceMin", negative, axes=[along], keepdims=1))
    spread = g.add("Max", spread, g.constant(_SMALLEST_SPREAD))
    return g.add("Div", g.add("Sub", highest, negative), spread)


def _smoothed_maximum(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    kernel = weights.attention["gauss_filter.weight"][0, 0, 0]
    half = len(kernel) // 2
    steps = weights.n_steps
    band = np.zeros((steps, steps))
    for step in range(steps):
        for source in range(max(0, step - half), min(steps, step + half + 1)):
            band[source, step] = kernel[source - step + half]
    return g.add("ReduceMax", g.add("MatMul", x, g.constant(band)), axes=[2], keepdims=1)


def _channel_gate(g: GraphBuilder, weights: FoldedWeights, x: str, maximum: str) -> str:
    p = weights.attention
    three = g.add("Concat", _mean(g, x), maximum, _relative_entropy(g, x, 2, 1), axis=2)
    biases = (p["mlp.0.bias"], p["mlp.2.bias"]) if "mlp.0.bias" in p else None
    three = _bottleneck(g, three, _pointwise(p["mlp.0.weight"]), _pointwise(p["mlp.2.weight"]), biases)
    shares = np.concatenate([p["c_alpha"], p["c_beta"], p["c_gamma"]])[:, None]
    return g.add("Sigmoid", g.add("MatMul", three, g.constant(shares)))


def _catlite(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    return g.add("Mul", x, _channel_gate(g, weights, x, _smoothed_maximum(g, weights, x)))


def _cat(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    p = weights.attention
    maximum = _smoothed_maximum(g, weights, x)
    entropy = g.add("Mul", _relative_entropy(g, x, 1, 2), g.constant(p["s_gamma"]))
    mean = g.add("MatMul", g.constant(np.full((1, weights.ch_dim), -p["s_alpha"][0] / weights.ch_dim)), x)
    score = g.add("Add", g.add("Add", entropy, mean), g.add("Mul", maximum, g.constant(p["s_beta"])))
    kernel = p["conv.weight"][:, :, 0]
    half = kernel.shape[2] // 2
    temporal = g.add("Sigmoid", g.add("Conv", score, g.constant(kernel), pads=[half, half]))
    share = 1 / (1 + np.exp(p["s_w"] - p["c_w"]))
    channel = g.add("Mul", _channel_gate(g, weights, x, maximum), g.constant(share))
    return g.add("Mul", x, g.add("Add", channel, g.add("Mul", temporal, g.constant(1 - share))))


_MODES: dict[str, Callable[[GraphBuilder, FoldedWeights, str], str]] = {
    "se": _se,
    "gsop": _gsop,
    "fca": _fca,
    "encnet": _encnet,
    "eca": _eca,
    "ge": _ge,
    "gct": _gct,
    "srm": _srm,
    "cbam": _cbam,
    "cat": _cat,
    "catlite": _catlite,
}
