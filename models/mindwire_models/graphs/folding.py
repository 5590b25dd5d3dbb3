"""Folded graph: the network's exact computation, rearranged for speed.

Alignment, spatial filters and scales become one small matrix; the temporal filters follow on its output; the large
activation is written with the operators that ONNX Runtime computes fastest; pools are convolutions
and matrices; the last pool is part of the last layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mindwire_models.graphs.folded_attention import attend
from mindwire_models.graphs.folded_weights import FoldedWeights, fold
from mindwire_models.graphs.onnx_builder import GraphBuilder

if TYPE_CHECKING:
    from torch import nn

    from mindwire_models.network.attentionbasenet import AttentionBaseNet


def folded_graph(network: AttentionBaseNet, temperature: float = 1.0) -> bytes:
    """Build the folded ONNX graph of a network.

    Inputs ``x`` (batch, n_chans, n_times), not aligned, and ``alignment`` (batch, n_chans, n_chans), applied as
    ``alignment @ x``; outputs ``logits`` and ``probabilities`` (batch, n_outputs), the softmax of
    ``logits / temperature``.

    Parameters
    ----------
    network : AttentionBaseNet
        On the CPU, in evaluation mode.
    temperature : float

    Returns
    -------
    bytes
        The same for the same weights.

    Raises
    ------
    ExportError
        The activation cannot be expressed in ONNX.
    MissingExtraError
        The package onnx is not installed.
    """
    weights = fold(network)
    g = GraphBuilder()
    matrix = g.add("MatMul", g.constant(weights.spatial), "alignment")
    z = g.add("Unsqueeze", g.add("MatMul", matrix, "x"), g.integers(2))
    tokens = _tokens(g, weights, z)
    emit_tail(g, weights, tokens, padded=_token_padding(weights) > 0)
    scaled = "logits" if temperature == 1 else g.add("Div", "logits", g.constant(temperature))
    g.add("Softmax", scaled, axis=-1, out="probabilities")
    n = weights.n_chans
    classes = ("batch", weights.n_outputs)
    return g.build(
        {"x": ("batch", n, weights.n_times), "alignment": ("batch", n, n)},
        {"logits": classes, "probabilities": classes},
    )


def _tokens(g: GraphBuilder, weights: FoldedWeights, z: str) -> str:
    """Add the way from the spatially filtered signal to expanded tokens, padded for the attention block's filters."""
    length = weights.taps.shape[1]
    left = length // 2
    # The first pool leaves the last samples out; so do we.
    right = max(0, weights.used + length - 1 - left - weights.n_times)
    y = g.add(
        "Conv",
        z,
        g.constant(weights.taps[:, None, None, :]),
        g.constant(weights.bias),
        group=weights.width,
        kernel_shape=[1, length],
        pads=[0, left, 0, right],
    )
    n_filtered = weights.n_times + left + right - length + 1
    pool = weights.lengths.pool_length_inp
    # Where stride and length of the pool have a common part, blocks of it are pooled first, and added up later.
    coarse = weights.block > 1
    size, stride = (weights.block, weights.block) if coarse else (pool, weights.lengths.pool_stride_inp)
    blocks, offset = _emit_large_activation(g, weights, y, size, stride)
    n_blocks = (n_filtered - size) // stride + 1
    bias = weights.expansion_bias - offset * weights.expansion.sum(axis=1)
    expanded = g.add(
        "Conv", blocks, g.constant(weights.expansion[:, :, None, None]), g.constant(bias), kernel_shape=[1, 1]
    )
    return _emit_token_pool(g, weights, expanded, n_blocks if coarse else None)


def _emit_large_activation(
    g: GraphBuilder, weights: FoldedWeights, y: str, size: int, stride: int
) -> tuple[str, float]:
    """Add the first activation and the average over blocks.

    ELU is ``relu(y) + exp(min(y, 0)) - 1``; each part is pooled by itself, and the -1 is left to the caller.

    Returns
    -------
    blocks : str
        (batch, width, 1, n_blocks)
    offset : float
        Number that the caller must subtract from every value.
    """
    box = g.constant(np.full((weights.width, 1, 1, size), 1 / size))

    def pooled(x: str) -> str:
        # A depthwise convolution, which ONNX Runtime computes in its blocked layout for any width.
        return g.add("Conv", x, box, group=weights.width, kernel_shape=[1, size], strides=[1, stride])

    if not is_elu(weights.activations[0]):
        return pooled(emit_activation(g, weights.activations[0], y, weights.width)), 0.0
    positive = g.add("Relu", y)
    negative = g.add("Exp", g.add("Clip", y, "", g.constant(0.0)))
    return g.add("Add", pooled(positive), pooled(negative)), 1.0


def _token_padding(weights: FoldedWeights) -> int:
    """Return the number of zeros on each side of the tokens that the pooling adds; 0 where the convolution pads.

    An activation that maps 0 to 0 lets the pooling's matrix write the padding for free.
    """
    return weights.attention_taps.shape[1] // 2 if _keeps_zero(weights.activations[1], weights.ch_dim) else 0


def _emit_token_pool(g: GraphBuilder, weights: FoldedWeights, expanded: str, n_blocks: int | None) -> str:
    """Add the way from blocks to padded tokens (None: they are tokens already), and the second activation."""
    if n_blocks is not None:
        per_token = weights.lengths.pool_length_inp // weights.block
        stride = weights.lengths.pool_stride_inp // weights.block
    else:
        n_blocks, per_token, stride = weights.n_tokens, 1, 1
    pad = _token_padding(weights)
    matrix = np.zeros((n_blocks, weights.n_tokens + 2 * pad))
    for token in range(weights.n_tokens):
        matrix[token * stride : token * stride + per_token, pad + token] = 1 / per_token
    if not np.array_equal(matrix, np.eye(n_blocks)[:, : matrix.shape[1]]):
        expanded = g.add("MatMul", expanded, g.constant(matrix))
    return emit_activation(g, weights.activations[1], expanded, weights.ch_dim)


def emit_tail(g: GraphBuilder, weights: FoldedWeights, tokens: str, *, padded: bool) -> None:
    """Add the way from activated tokens, padded for the attention block's filters or not, to the output ``logits``."""
    length = weights.attention_taps.shape[1]
    pad = 0 if padded else length // 2
    mixed = g.add(
        "Conv",
        g.add(
            "Conv",
            tokens,
            g.constant(weights.attention_taps[:, None, None, :]),
            group=weights.ch_dim,
            kernel_shape=[1, length],
            pads=[0, pad, 0, pad],
        ),
        g.constant(weights.mixing[:, :, None, None]),
        g.constant(weights.mixing_bias),
        kernel_shape=[1, 1],
    )
    features = emit_activation(g, weights.activations[2], mixed, weights.ch_dim)
    if weights.attention_mode is not None:
        features = attend(g, weights, g.add("Squeeze", features, g.integers(2)))
    head = weights.head.reshape(weights.n_outputs, -1).T
    g.add("Gemm", g.add("Flatten", features), g.constant(head), g.constant(weights.head_bias), out="logits")


def is_elu(activation: nn.Module) -> bool:
    """Return true for the ELU that has a fast form."""
    from torch import nn

    return type(activation) is nn.ELU and activation.alpha == 1


def _keeps_zero(activation: nn.Module, channels: int) -> bool:
    """Return true if an activation maps 0 to 0."""
    import torch

    with torch.inference_mode():
        return not bool(activation(torch.zeros(1, channels, 1, 1)).any())


def emit_activation(g: GraphBuilder, activation: nn.Module, x: str, channels: int) -> str:
    """Add an activation on ``(batch, channels, 1, n)``; all but a few as PyTorch exports them."""
    if is_elu(activation):
        # exp(x) - 1 >= x, with the exponent clipped at 0 for x > 0: twice as fast as Elu from small batches on.
        negative = g.add("Exp", g.add("Clip", x, "", g.constant(0.0)))
        return g.add("Max", x, g.add("Sub", negative, g.constant(1.0)))
    import torch

    if type(activation) is torch.nn.LogSigmoid:  # PyTorch exports the logarithm of a sigmoid that underflows
        return g.add("Neg", g.add("Softplus", g.add("Neg", x)))

    from mindwire_models.graphs.plain_graph import trace

    return g.inline(trace(activation, torch.zeros(2, channels, 1, 3), "x", "y"), x)
