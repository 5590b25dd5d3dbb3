"""Streaming graphs, which compute the stem once per sample instead of once per window.

Away from a window's zero-padded edges, the stem's output at an instant does not depend on the window. So a window
that moved by a hop needs only the hop's new samples and its own two edges; everything between is kept
by the caller, as averages over blocks of samples and over the spans that the first pool covers (tokens).

``stem.onnx`` fills that memory from any number of samples; ``streaming.onnx`` takes one step. Which samples,
blocks and tokens go in is decided by :mod:`mindwire_models.graphs.streaming_plan`; one pair of graphs serves every hop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mindwire_models.graphs.folded_weights import FoldedWeights, Matrix, fold
from mindwire_models.graphs.folding import emit_activation, emit_tail, is_elu
from mindwire_models.graphs.onnx_builder import GraphBuilder
from mindwire_models.graphs.streaming_plan import FORMAT, FORMAT_KEY, StemGeometry

if TYPE_CHECKING:
    from mindwire_models.network.attentionbasenet import AttentionBaseNet


def streaming_geometry(network: AttentionBaseNet) -> StemGeometry:
    """Return the lengths that decide which samples, blocks and tokens a step needs."""
    lengths = network.lengths
    return StemGeometry(
        n_times=network.n_times,
        taps=lengths.temp_filter_length_inp,
        pool=lengths.pool_length_inp,
        stride=lengths.pool_stride_inp,
        n_tokens=lengths.sequence_lengths(network.n_times)[0],
    )


def stem_graph(network: AttentionBaseNet) -> bytes:
    """Build the stem over any number of contiguous samples, without edges.

    Inputs ``x`` (batch, samples, n_chans), time-major and not aligned, ``alignment`` (batch, n_chans, n_chans),
    ``box`` (block, 1), the weights with which a block of samples is averaged, and ``spread`` (n_blocks, n_tokens), which
    makes tokens of blocks; outputs ``spatial`` (batch, width, n_chans), the aligned spatial filters, ``blocks``
    (batch, ch_dim, n_blocks), expanded, before the second activation, and ``tokens`` (batch, ch_dim, n_tokens),
    after it. The number of samples less ``taps - 1`` is a multiple of the block. The network is on the CPU and in
    evaluation mode.
    """
    weights = fold(network)
    g = GraphBuilder()
    g.add("MatMul", g.constant(weights.spatial), "alignment", out="spatial")
    z = g.add("MatMul", "spatial", g.add("Transpose", "x", perm=[0, 2, 1]))
    y, bias = emit_stem_activation(g, weights, emit_filter(g, weights, g.add("Unsqueeze", z, g.integers(2))))
    y = g.add("Squeeze", y, g.integers(2))
    shape = g.add("Concat", g.add("Shape", y, start=0, end=2), g.integers(-1), g.add("Shape", "box", end=1), axis=0)
    means = g.add("Squeeze", g.add("MatMul", g.add("Reshape", y, shape), "box"), g.integers(3))
    g.add("Add", g.add("MatMul", g.constant(weights.expansion), means), g.constant(bias[:, None]), out="blocks")
    tokens = g.add("Unsqueeze", g.add("MatMul", "blocks", "spread"), g.integers(2))
    tokens = emit_activation(g, weights.activations[1], tokens, weights.ch_dim)
    g.add("Squeeze", tokens, g.integers(2), out="tokens")
    n, d = weights.n_chans, weights.ch_dim
    return g.build(
        {
            "x": ("batch", "samples", n),
            "alignment": ("batch", n, n),
            "box": ("block", 1),
            "spread": ("n_blocks", "n_tokens"),
        },
        {
            "spatial": ("batch", weights.width, n),
            "blocks": ("batch", d, "n_blocks"),
            "tokens": ("batch", d, "n_tokens"),
        },
    )


def step_graph(network: AttentionBaseNet) -> bytes:
    """Build a step of a stream: from a hop's samples, the window's edges and the memory to logits and new memory.

    Inputs
        ``spatial`` (batch, width, n_chans); ``edges`` (batch, 2 edge_samples, n_chans), the two ends of the window one
        after the other, time-major, with the zeros that pad it; ``pool`` (filtered, edge_blocks), averages over the
        blocks of an edge; ``old_blocks`` (batch, ch_dim, old) of earlier steps; ``combine`` (2 edge_blocks + old,
        fresh), which makes tokens of blocks; ``place`` (fresh, n_tokens), where they belong among the window's tokens;
        ``cached`` (batch, ch_dim, n_tokens), the tokens of earlier steps, zero where a fresh one belongs.
    Outputs
        ``logits`` (batch, n_outputs); ``blocks`` (batch, ch_dim, 2 edge_blocks), before the second activation;
        ``tokens`` (batch, ch_dim, fresh), after it.

    The network is on the CPU and in evaluation mode.
    """
    weights = fold(network)
    g = GraphBuilder()
    # The number of nodes decides the time of a step: each takes about a microsecond, whatever it computes.
    z = g.add("MatMul", "spatial", g.add("Transpose", "edges", perm=[0, 2, 1]))
    # Both edges side by side, as the two rows of an image.
    y = emit_filter(g, weights, g.add("Reshape", z, g.integers(0, 0, 2, -1)))
    y, bias = emit_stem_activation(g, weights, y)
    pooled = g.add("Reshape", g.add("MatMul", y, "pool"), g.integers(0, 0, -1))
    g.add("Add", g.add("MatMul", g.constant(weights.expansion), pooled), g.constant(bias[:, None]), out="blocks")
    fresh = g.add("MatMul", g.add("Concat", "blocks", "old_blocks", axis=2), "combine")
    if is_elu(weights.activations[1]):
        g.add("Elu", fresh, out="tokens")  # one node: of so few values it is the faster form
    else:
        fresh = g.add("Unsqueeze", fresh, g.integers(2))
        g.add("Squeeze", emit_activation(g, weights.activations[1], fresh, weights.ch_dim), g.integers(2), out="tokens")
    tokens = g.add("Unsqueeze", g.add("Add", "cached", g.add("MatMul", "tokens", "place")), g.integers(2))
    emit_tail(g, weights, tokens, padded=False)
    n, d = weights.n_chans, weights.ch_dim
    return g.build(
        {
            "spatial": ("batch", weights.width, n),
            "edges": ("batch", "edge_samples", n),
            "pool": ("filtered", "edge_blocks"),
            "old_blocks": ("batch", d, "old"),
            "combine": ("memory", "fresh"),
            "place": ("fresh", weights.n_tokens),
            "cached": ("batch", d, weights.n_tokens),
        },
        {
            "logits": ("batch", weights.n_outputs),
            "blocks": ("batch", d, "both_edges"),
            "tokens": ("batch", d, "fresh"),
        },
        streaming_geometry(network).to_metadata() | {FORMAT_KEY: FORMAT},
    )


def emit_filter(g: GraphBuilder, weights: FoldedWeights, z: str) -> str:
    """Add the temporal filters of spatially filtered samples: (batch, width, rows, samples) loses ``taps - 1`` of them."""
    return g.add(
        "Conv",
        z,
        g.constant(weights.taps[:, None, None, :]),
        g.constant(weights.bias),
        group=weights.width,
        kernel_shape=[1, weights.taps.shape[1]],
    )


def emit_stem_activation(g: GraphBuilder, weights: FoldedWeights, y: str) -> tuple[str, Matrix]:
    """Add the first activation of filtered samples (batch, width, rows, positions).

    Returns
    -------
    activated : str
        Of the same shape.
    bias : ndarray, shape (ch_dim,)
        Of the expansion after it.
    """
    if not is_elu(weights.activations[0]):
        return emit_activation(g, weights.activations[0], y, weights.width), weights.expansion_bias
    zero = g.constant(0.0)
    # Clip and not Relu: ONNX Runtime would compute a Relu in its blocked layout, and rearrange the data once more.
    activated = g.add("Add", g.add("Clip", y, zero), g.add("Exp", g.add("Clip", y, "", zero)))
    return activated, weights.expansion_bias - weights.expansion.sum(axis=1)
