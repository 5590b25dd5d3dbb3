"""The streaming graphs: the stem computed once per sample instead of once per window.

Away from a window's zero-padded edges, the stem's output at an instant does not depend on the window. So a window
that moved by a hop needs only the hop's new samples and its own two edges; everything between is kept
by the caller, as averages over blocks of samples and over the spans that the first pool covers (tokens).

``stem.onnx`` fills that memory from any number of samples; ``streaming.onnx`` takes one step. Which samples,
blocks and tokens go in is decided by :mod:`models.streaming_plan`; one pair of graphs serves every hop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.folded_weights import FoldedWeights, Matrix, fold
from models.folding import emit_activation, emit_tail, is_elu
from models.onnx_builder import GraphBuilder
from models.streaming_plan import StemGeometry

if TYPE_CHECKING:
    from models.attentionbasenet import AttentionBaseNet


def streaming_geometry(network: AttentionBaseNet) -> StemGeometry:
    """The lengths that decide which samples, blocks and tokens a step needs."""
    lengths = network.lengths
    return StemGeometry(
        n_times=network.n_times,
        taps=lengths.temp_filter_length_inp,
        pool=lengths.pool_length_inp,
        stride=lengths.pool_stride_inp,
        n_tokens=lengths.sequence_lengths(network.n_times)[0],
    )


def stem_graph(network: AttentionBaseNet) -> bytes:
    """The stem over any number of contiguous samples, without edges and pools.

    Inputs ``x`` (batch, samples, n_chans), time-major and not aligned, ``alignment`` (batch, n_chans, n_chans), and
    ``box`` (block, 1), the weights with which a block of samples is averaged; outputs ``spatial`` (batch, width,
    n_chans), the aligned spatial filters, and ``blocks`` (batch, ch_dim, n_blocks), expanded, before the second
    activation. The number of samples less ``taps - 1`` is a multiple of the block.

    Parameters
    ----------
    network : AttentionBaseNet
        On the CPU, in evaluation mode.

    Returns
    -------
    bytes
    """
    weights = fold(network)
    g = GraphBuilder()
    g.add("MatMul", g.constant(weights.spatial), "alignment", out="spatial")
    y, bias = _activated(g, weights, "spatial", "x")
    y = g.add("Squeeze", y, g.integers(2))
    shape = g.add("Concat", g.add("Shape", y, start=0, end=2), g.integers(-1), g.add("Shape", "box", end=1), axis=0)
    means = g.add("Squeeze", g.add("MatMul", g.add("Reshape", y, shape), "box"), g.integers(3))
    g.add("Add", g.add("MatMul", g.constant(weights.expansion), means), g.constant(bias[:, None]), out="blocks")
    n = weights.n_chans
    return g.build(
        {"x": ("batch", "samples", n), "alignment": ("batch", n, n), "box": ("block", 1)},
        {"spatial": ("batch", weights.width, n), "blocks": ("batch", weights.ch_dim, "n_blocks")},
    )


def step_graph(network: AttentionBaseNet) -> bytes:
    """One step of the stream: from a hop's samples, the window's edges and the memory to logits and new memory.

    Inputs
        ``spatial`` (batch, width, n_chans); ``edges`` (batch, edge_samples, n_chans), time-major, with the zeros that
        pad the window; ``pool`` (filtered, new_blocks), averages over the blocks of the edges; ``state`` (batch,
        kept, ch_dim), blocks and tokens of earlier steps; ``combine`` (new_blocks + kept, n_tokens) and ``extend``
        (new_blocks + kept, new_tokens), which make the window's tokens and the memory's new ones.
    Outputs
        ``logits`` (batch, n_outputs); ``blocks`` (batch, new_blocks, ch_dim); ``tokens`` (batch, new_tokens, ch_dim).

    Parameters
    ----------
    network : AttentionBaseNet
        On the CPU, in evaluation mode.

    Returns
    -------
    bytes
    """
    weights = fold(network)
    g = GraphBuilder()
    y, bias = _activated(g, weights, "spatial", "edges")
    y = g.add("Transpose", g.add("Squeeze", y, g.integers(2)), perm=[0, 2, 1])
    pooled = g.add("MatMul", g.add("Transpose", "pool", perm=[1, 0]), y)
    expanded = g.add("MatMul", pooled, g.constant(weights.expansion.T))
    g.add("Add", expanded, g.constant(bias), out="blocks")
    memory = g.add("Concat", "blocks", "state", axis=1)
    tokens = g.add("MatMul", g.add("Transpose", memory, perm=[0, 2, 1]), "combine")
    g.add("MatMul", g.add("Transpose", "extend", perm=[1, 0]), memory, out="tokens")
    tokens = emit_activation(g, weights.activations[1], g.add("Unsqueeze", tokens, g.integers(2)), weights.ch_dim)
    emit_tail(g, weights, tokens, padded=False)
    n, d = weights.n_chans, weights.ch_dim
    return g.build(
        {
            "spatial": ("batch", weights.width, n),
            "edges": ("batch", "edge_samples", n),
            "pool": ("filtered", "new_blocks"),
            "state": ("batch", "kept", d),
            "combine": ("memory", weights.n_tokens),
            "extend": ("memory", "new_tokens"),
        },
        {
            "logits": ("batch", weights.n_outputs),
            "blocks": ("batch", "new_blocks", d),
            "tokens": ("batch", "new_tokens", d),
        },
        streaming_geometry(network).to_metadata(),
    )


def _activated(g: GraphBuilder, weights: FoldedWeights, spatial: str, x: str) -> tuple[str, Matrix]:
    """Filtered and activated samples (batch, width, 1, filtered), and the bias of the expansion after them."""
    z = g.add("MatMul", spatial, g.add("Transpose", x, perm=[0, 2, 1]))
    y = g.add(
        "Conv",
        g.add("Unsqueeze", z, g.integers(2)),
        g.constant(weights.taps[:, None, None, :]),
        g.constant(weights.bias),
        group=weights.width,
        kernel_shape=[1, weights.taps.shape[1]],
    )
    if not is_elu(weights.activations[0]):
        return emit_activation(g, weights.activations[0], y, weights.width), weights.expansion_bias
    zero = g.constant(0.0)
    # Clip and not Relu: ONNX Runtime would compute a Relu in its blocked layout, and rearrange the data once more.
    activated = g.add("Add", g.add("Clip", y, zero), g.add("Exp", g.add("Clip", y, "", zero)))
    return activated, weights.expansion_bias - weights.expansion.sum(axis=1)
