"""Folded graph: the network's exact computation, rearranged for speed.

Alignment, spatial filters and scales become one small matrix; the temporal filters follow on its output; the large
activation is written with the operators that ONNX Runtime computes fastest; pools are convolutions
and matrices; the last pool is part of the last layer.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from mindwire_models.graphs.folded_attention import attend
from mindwire_models.graphs.folded_weights import FoldedWeights, Matrix, fold
from mindwire_models.graphs.interfaces import folded_interface
from mindwire_models.graphs.onnx_builder import GraphBuilder
from mindwire_models.graphs.plain_graph import trace
from mindwire_models.graphs.streaming_plan import pool_matrix
from mindwire_models.network.attentionbasenet import AttentionBaseNet
from mindwire_models.network.ensemble import Ensemble


def folded_graph(network: AttentionBaseNet | Ensemble, temperature: float = 1.0) -> bytes:
    """Build the ONNX graph of a network, or of the mean of several; see :func:`folded_interface`.

    The network is on the CPU, in evaluation mode. The bytes are the same for the same weights.

    Raises
    ------
    ExportError
        The activation cannot be expressed in ONNX.
    MissingExtraError
        The package onnx is not installed.
    """
    g = GraphBuilder()
    members: list[AttentionBaseNet] = list(network.members) if isinstance(network, Ensemble) else [network]  # type: ignore[arg-type]
    if len(members) == 1:
        _add_logits(g, fold(members[0]), "logits")
    else:
        g.Mean(*(_add_logits(g, fold(member)) for member in members), out="logits")
    g.Softmax("logits" if temperature == 1 else g.Div("logits", temperature), axis=-1, out="probabilities")
    return g.build(folded_interface(network.n_chans, network.n_times, network.n_outputs))


def _add_logits(g: GraphBuilder, weights: FoldedWeights, out: str | None = None) -> str:
    z = g.Unsqueeze(g.MatMul(g.MatMul(weights.spatial, "alignment"), "x"), [2])
    # An activation that maps 0 to 0 lets the pooling's matrix write the padding of the attention block's filters for free.
    pad = weights.attention_taps.shape[1] // 2 if _keeps_zero(weights.activations[1], weights.ch_dim) else 0
    return add_tail(g, weights, _add_tokens(g, weights, z, pad), padded=pad > 0, out=out)


def _add_tokens(g: GraphBuilder, weights: FoldedWeights, z: str, pad: int) -> str:
    """Add the way from the spatially filtered signal to activated tokens, with ``pad`` zeros on each side."""
    stem = weights.geometry
    # The first pool leaves the last samples out; so do we.
    right = max(0, stem.used + stem.taps - 1 - stem.left - stem.n_times)
    y = depthwise(g, z, weights.taps, weights.bias, pads=(stem.left, right))
    # Where stride and length of the pool have a common part, blocks of it are pooled first, and added up later.
    block = math.gcd(stem.pool, stem.stride)
    size, stride = (block, block) if block > 1 else (stem.pool, stem.stride)
    blocks, offset = _add_large_activation(g, weights, y, size, stride)
    n_blocks = (stem.n_times + stem.left + right - stem.taps + 1 - size) // stride + 1
    expanded = pointwise(g, blocks, weights.expansion, weights.expansion_bias - offset * weights.expansion.sum(axis=1))
    matrix = pool_matrix(n_blocks, stem.n_tokens, stem.pool // size, stem.stride // stride)
    matrix = np.pad(matrix, ((0, 0), (pad, pad)))
    if not np.array_equal(matrix, np.eye(n_blocks)):
        expanded = g.MatMul(expanded, matrix)
    return add_activation(g, weights.activations[1], expanded, weights.ch_dim)


def _add_large_activation(g: GraphBuilder, weights: FoldedWeights, y: str, size: int, stride: int) -> tuple[str, float]:
    """Add the first activation and the average over blocks, (batch, width, 1, n_blocks).

    Also returns a number that the caller must subtract from every value: ELU is ``relu(y) + exp(min(y, 0)) - 1``; each part
    is pooled by itself, and the -1 is left to the caller.
    """
    width = len(weights.taps)
    # A depthwise convolution, which ONNX Runtime computes in its blocked layout for any width.
    box = np.full((width, size), 1 / size)
    if not is_elu(weights.activations[0]):
        return depthwise(g, add_activation(g, weights.activations[0], y, width), box, stride=stride), 0.0
    positive, negative = g.Relu(y), g.Exp(g.Clip(y, "", 0.0))
    return g.Add(depthwise(g, positive, box, stride=stride), depthwise(g, negative, box, stride=stride)), 1.0


def add_tail(g: GraphBuilder, weights: FoldedWeights, tokens: str, *, padded: bool, out: str | None) -> str:
    """Add the way from activated tokens, padded for the attention block's filters or not, to logits."""
    pad = 0 if padded else weights.attention_taps.shape[1] // 2
    filtered = depthwise(g, tokens, weights.attention_taps, pads=(pad, pad))
    mixed = pointwise(g, filtered, weights.mixing, weights.mixing_bias)
    features = add_activation(g, weights.activations[2], mixed, weights.ch_dim)
    if weights.attention_mode is not None:
        features = attend(g, weights, g.Squeeze(features, [2]))
    head = weights.head.reshape(len(weights.head), -1).T
    return g.Gemm(g.Flatten(features), head, weights.head_bias, out=out)


def depthwise(
    g: GraphBuilder, x: str, taps: Matrix, *bias: Matrix, pads: tuple[int, int] = (0, 0), stride: int = 1
) -> str:
    """Add a filter of its own, ``(rows, n_taps)``, for each row of ``(batch, rows, 1 or more, n)``."""
    return g.Conv(
        x,
        taps[:, None, None, :],
        *bias,
        group=len(taps),
        kernel_shape=[1, taps.shape[1]],
        pads=[0, pads[0], 0, pads[1]],
        strides=[1, stride],
    )


def pointwise(g: GraphBuilder, x: str, matrix: Matrix, bias: Matrix) -> str:
    """Add a matrix over the rows of ``(batch, rows, 1, n)``."""
    return g.Conv(x, matrix[:, :, None, None], bias, kernel_shape=[1, 1])


def is_elu(activation: nn.Module) -> bool:
    """Return true for the ELU that has a fast form."""
    return type(activation) is nn.ELU and activation.alpha == 1


def _keeps_zero(activation: nn.Module, channels: int) -> bool:
    with torch.inference_mode():
        return not bool(activation(torch.zeros(1, channels, 1, 1)).any())


def add_activation(g: GraphBuilder, activation: nn.Module, x: str, channels: int) -> str:
    """Add an activation on ``(batch, channels, 1, n)``; all but a few as PyTorch exports them."""
    if is_elu(activation):
        # exp(x) - 1 >= x, with the exponent clipped at 0 for x > 0: twice as fast as Elu from small batches on.
        return g.Max(x, g.Sub(g.Exp(g.Clip(x, "", 0.0)), 1.0))
    if type(activation) is nn.LogSigmoid:  # PyTorch exports the logarithm of a sigmoid that underflows
        return g.Neg(g.Softplus(g.Neg(x)))
    return g.inline(trace(activation, torch.zeros(2, channels, 1, 3), "x", "y"), x)
