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
from mindwire_models.network.attention import SMALLEST_SPREAD

_GCT_EPS = 1e-5  # as the paper has it


def attend(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    """Reweight features, ``(batch, ch_dim, n_steps)``, by the network's attention mode."""
    return _MODES[str(weights.attention_mode)](g, weights, x)


def _mean(g: GraphBuilder, x: str) -> str:
    """Over time: (batch, ch_dim, 1)."""
    return g.ReduceMean(x, axes=[2], keepdims=1)


def _bottleneck(
    g: GraphBuilder, x: str, first: Matrix, second: Matrix, biases: tuple[Matrix, Matrix] | None = None
) -> str:
    """Two layers over channels with ReLU between, on ``(batch, ch_dim, n)``; those of 1×1 convolutions as they are."""
    x = g.MatMul(first.reshape(first.shape[:2]), x)
    if biases is not None:
        x = g.Add(x, biases[0][:, None])
    x = g.MatMul(second.reshape(second.shape[:2]), g.Relu(x))
    return x if biases is None else g.Add(x, biases[1][:, None])


def _gate(g: GraphBuilder, x: str, gate: str) -> str:
    return g.Mul(x, g.Sigmoid(gate))


def _band(n: int, kernel: Matrix) -> Matrix:
    """Matrix ``(n, n)`` that correlates with a kernel of odd length, with zeros around."""
    bands = [np.eye(n, k=offset) * tap for offset, tap in enumerate(kernel, -(len(kernel) // 2))]
    return np.asarray(np.sum(bands, axis=0))


def _se(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    p = weights.attention
    return _gate(g, x, _bottleneck(g, _mean(g, x), p["fc1.weight"], p["fc2.weight"]))


def _gsop(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    p = weights.attention
    steps = weights.n_steps
    mixed = g.MatMul(p["pw_conv1.weight"][:, :, 0, 0], x)
    # Centring removes the mixtures' biases. BatchNorm and both convolutions of the covariance are one matrix.
    centred = g.MatMul(mixed, np.eye(steps) - 1 / steps)
    covariance = g.MatMul(centred, g.Transpose(centred, perm=[0, 2, 1]))
    scale, shift = norm_affine(p, "bn")
    rows = p["rw_conv.weight"][:, 0, :, 0]  # (4 * narrow, narrow)
    own = np.arange(len(rows)) // (len(rows) // len(scale))
    matrix = np.zeros((len(rows), len(scale), len(scale)))
    matrix[np.arange(len(rows)), own] = rows * scale[own, None]
    bias = p["rw_conv.bias"] + shift[own] * rows.sum(axis=1)
    second = p["pw_conv2.weight"][:, :, 0, 0]
    matrix = second @ matrix.reshape(len(rows), -1) / max(steps - 1, 1)
    gate = g.Gemm(g.Flatten(covariance), matrix.T, second @ bias + p["pw_conv2.bias"])
    return g.Mul(x, g.Unsqueeze(gate, [2]))


def _fca(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    p = weights.attention
    return _gate(g, x, _bottleneck(g, _weighted_sum(g, weights, x, p["weight"]), p["fc.0.weight"], p["fc.2.weight"]))


def _weighted_sum(g: GraphBuilder, weights: FoldedWeights, x: str, taps: Matrix) -> str:
    """Sum over time, weighted by ``(ch_dim, up to n_steps)``: (batch, ch_dim, 1)."""
    taps = np.pad(taps, ((0, 0), (0, weights.n_steps - taps.shape[1])))
    if (taps == taps[0]).all():
        return g.MatMul(x, taps[0][:, None])
    return g.ReduceSum(g.Mul(x, taps), [2], keepdims=1)


def _encnet(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    p = weights.attention
    codewords, smoothing = p["codewords"], p["smoothing"][:, None]
    # smoothing * |x - codeword|², expanded, so that residuals of every step to every codeword are never built.
    cross = g.MatMul(-2 * smoothing * codewords, x)
    square = g.MatMul(np.repeat(smoothing, weights.ch_dim, axis=1), g.Mul(x, x))
    own = smoothing * (codewords**2).sum(axis=1, keepdims=True)
    assignment = g.Softmax(g.Add(g.Add(cross, square), own), axis=1)
    gathered = g.MatMul(assignment, g.Transpose(x, perm=[0, 2, 1]))
    total = g.ReduceSum(assignment, [2], keepdims=1)
    scale, shift = norm_affine(p, "bn")
    encoded = g.Sub(gathered, g.Mul(total, codewords))
    normed = g.Add(g.Mul(encoded, scale[:, None]), shift[:, None])
    summary = g.ReduceMean(g.Relu(normed), axes=[1], keepdims=0)
    return _gate(g, x, g.Unsqueeze(g.Gemm(summary, p["fc.weight"].T, p["fc.bias"]), [2]))


def _eca(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    return _gate(g, x, g.MatMul(_band(weights.ch_dim, weights.attention["conv.weight"][0, 0]), _mean(g, x)))


def _ge(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    p = weights.attention
    if "gather.0.weight" in p:
        scale, shift = norm_affine(p, "gather.1")
        taps = p["gather.0.weight"][:, 0, 0] * scale[:, None]
        context = g.Add(_weighted_sum(g, weights, x, taps), shift[:, None])
    else:
        context = _mean(g, x)
    if "mlp.0.weight" in p:
        context = _bottleneck(g, context, p["mlp.0.weight"], p["mlp.2.weight"])
    return _gate(g, x, context)


def _gct(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    p = {name: value[0, :, :, 0] for name, value in weights.attention.items()}  # (ch_dim, 1)
    norm = g.Sqrt(g.Add(g.ReduceSumSquare(x, axes=[2], keepdims=1), _GCT_EPS))
    norm = g.Mul(norm, p["alpha"])
    mean = g.Mul(g.ReduceSumSquare(norm, axes=[1], keepdims=1), 1 / weights.ch_dim)
    root = g.Sqrt(g.Add(mean, _GCT_EPS))
    gate = g.Tanh(g.Add(g.Div(g.Mul(norm, p["gamma"]), root), p["beta"]))
    return g.Mul(x, g.Add(gate, 1.0))


def _srm(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    p = weights.attention
    mean = _mean(g, x)
    # The sum of squares becomes the sample deviation by a factor, which the weights take over.
    spread = g.Sqrt(g.ReduceSumSquare(g.Sub(x, mean), axes=[2], keepdims=1))
    factor = 1 / np.sqrt(max(weights.n_steps - 1, 1))
    scale, shift = norm_affine(p, "bn")
    if "style_integration.1.weight" in p:
        first, second = p["style_integration.1.weight"], p["style_integration.3.weight"]
        hidden = g.Relu(g.Add(g.MatMul(first[:, 0::2], mean), g.MatMul(first[:, 1::2] * factor, spread)))
        style = g.MatMul(second * scale[:, None], hidden)
    else:
        pair = p["style_integration.weight"][:, 0] * scale[:, None]  # (ch_dim, 2)
        style = g.Add(g.Mul(mean, pair[:, :1]), g.Mul(spread, pair[:, 1:] * factor))
    return _gate(g, x, g.Add(style, shift[:, None]))


def _cbam(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    p = weights.attention
    both = g.Concat(_mean(g, x), g.ReduceMax(x, axes=[2], keepdims=1), axis=2)
    both = _bottleneck(g, both, p["fc.0.weight"], p["fc.2.weight"])
    x = _gate(g, x, g.ReduceSum(both, [2], keepdims=1))
    mean, largest = g.ReduceMean(x, axes=[1], keepdims=1), g.ReduceMax(x, axes=[1], keepdims=1)
    return _gate(g, x, _convolve(g, g.Concat(mean, largest, axis=1), p["conv.weight"], p["conv.bias"]))


def _convolve(g: GraphBuilder, x: str, kernel: Matrix, *bias: Matrix) -> str:
    """Over time, with zeros around, by the kernel ``(out, in, 1, n)`` of odd length."""
    half = kernel.shape[3] // 2
    return g.Conv(x, kernel[:, :, 0], *bias, pads=[half, half])


def _relative_entropy(g: GraphBuilder, x: str, axis: int, along: int) -> str:
    """Entropies of the softmax along one axis, mapped to 0 … 1 along another."""
    log_p = g.LogSoftmax(x, axis=axis)
    negative = g.ReduceSum(g.Mul(g.Exp(log_p), log_p), [axis], keepdims=1)
    highest = g.ReduceMax(negative, axes=[along], keepdims=1)
    spread = g.Max(g.Sub(highest, g.ReduceMin(negative, axes=[along], keepdims=1)), SMALLEST_SPREAD)
    return g.Div(g.Sub(highest, negative), spread)


def _smoothed_maximum(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    band = _band(weights.n_steps, weights.attention["gauss_filter.weight"][0, 0, 0])
    return g.ReduceMax(g.MatMul(x, band.T), axes=[2], keepdims=1)


def _channel_gate(g: GraphBuilder, weights: FoldedWeights, x: str, maximum: str) -> str:
    p = weights.attention
    three = g.Concat(_mean(g, x), maximum, _relative_entropy(g, x, 2, 1), axis=2)
    biases = (p["mlp.0.bias"], p["mlp.2.bias"]) if "mlp.0.bias" in p else None
    three = _bottleneck(g, three, p["mlp.0.weight"], p["mlp.2.weight"], biases)
    shares = np.concatenate([p["c_alpha"], p["c_beta"], p["c_gamma"]])[:, None]
    return g.Sigmoid(g.MatMul(three, shares))


def _catlite(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    return g.Mul(x, _channel_gate(g, weights, x, _smoothed_maximum(g, weights, x)))


def _cat(g: GraphBuilder, weights: FoldedWeights, x: str) -> str:
    p = weights.attention
    maximum = _smoothed_maximum(g, weights, x)
    entropy = g.Mul(_relative_entropy(g, x, 1, 2), p["s_gamma"])
    mean = g.MatMul(np.full((1, weights.ch_dim), -p["s_alpha"][0] / weights.ch_dim), x)
    score = g.Add(g.Add(entropy, mean), g.Mul(maximum, p["s_beta"]))
    temporal = g.Sigmoid(_convolve(g, score, p["conv.weight"]))
    share = 1 / (1 + np.exp(p["s_w"] - p["c_w"]))
    channel = g.Mul(_channel_gate(g, weights, x, maximum), share)
    return g.Mul(x, g.Add(channel, g.Mul(temporal, 1 - share)))


_MODES: dict[str, Callable[[GraphBuilder, FoldedWeights, str], str]] = {
    mode.__name__.removeprefix("_"): mode
    for mode in (_se, _gsop, _fca, _encnet, _eca, _ge, _gct, _srm, _cbam, _cat, _catlite)
}
