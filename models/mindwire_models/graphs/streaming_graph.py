"""Streaming graphs, which compute the stem once per sample instead of once per window.

Away from a window's zero-padded edges, the stem's output at an instant does not depend on the window. So a window
that moved by a hop needs only the hop's new samples and its own two edges; everything between is kept
by the caller, as averages over blocks of samples and over the spans that the first pool covers (tokens).

``stem.onnx`` fills that memory from any number of samples; ``streaming.onnx`` takes one step. Which samples,
blocks and tokens go in is decided by :mod:`mindwire_models.graphs.streaming_plan`; one pair of graphs serves every hop.
"""

from __future__ import annotations

from mindwire_models.graphs.folded_weights import FoldedWeights, Matrix
from mindwire_models.graphs.folding import add_activation, add_tail, depthwise, is_elu
from mindwire_models.graphs.interfaces import stem_interface, step_interface
from mindwire_models.graphs.onnx_builder import GraphBuilder
from mindwire_models.graphs.streaming_plan import FORMAT, FORMAT_KEY


def stem_graph(weights: FoldedWeights) -> bytes:
    """Build the stem over any number of contiguous samples, without edges; see :func:`stem_interface`."""
    g = GraphBuilder()
    g.MatMul(weights.spatial, "alignment", out="spatial")
    z = g.MatMul("spatial", g.Transpose("x", perm=[0, 2, 1]))
    y, bias = _add_stem_activation(g, weights, depthwise(g, g.Unsqueeze(z, [2]), weights.taps, weights.bias))
    y = g.Squeeze(y, [2])
    shape = g.Concat(g.Shape(y, start=0, end=2), [-1], g.Shape("box", end=1), axis=0)
    means = g.Squeeze(g.MatMul(g.Reshape(y, shape), "box"), [3])
    g.Add(g.MatMul(weights.expansion, means), bias[:, None], out="blocks")
    tokens = g.Unsqueeze(g.MatMul("blocks", "spread"), [2])
    g.Squeeze(add_activation(g, weights.activations[1], tokens, weights.ch_dim), [2], out="tokens")
    return g.build(stem_interface(weights.spatial.shape[1], len(weights.spatial), weights.ch_dim))


def step_graph(weights: FoldedWeights) -> bytes:
    """Build a step of a stream; see :func:`step_interface`."""
    g = GraphBuilder()
    # The number of nodes decides the time of a step: each takes about a microsecond, whatever it computes.
    z = g.MatMul("spatial", g.Transpose("edges", perm=[0, 2, 1]))
    # Both edges side by side, as the two rows of an image.
    y, bias = _add_stem_activation(g, weights, depthwise(g, g.Reshape(z, [0, 0, 2, -1]), weights.taps, weights.bias))
    pooled = g.Reshape(g.MatMul(y, "pool"), [0, 0, -1])
    g.Add(g.MatMul(weights.expansion, pooled), bias[:, None], out="blocks")
    fresh = g.MatMul(g.Concat("blocks", "old_blocks", axis=2), "combine")
    if is_elu(weights.activations[1]):
        g.Elu(fresh, out="tokens")  # one node: of so few values it is the faster form
    else:
        fresh = add_activation(g, weights.activations[1], g.Unsqueeze(fresh, [2]), weights.ch_dim)
        g.Squeeze(fresh, [2], out="tokens")
    tokens = g.Unsqueeze(g.Add("cached", g.MatMul("tokens", "place")), [2])
    add_tail(g, weights, tokens, padded=False, out="logits")
    (width, n_chans), stem = weights.spatial.shape, weights.geometry
    return g.build(
        step_interface(n_chans, len(weights.head), stem.n_tokens, width, weights.ch_dim),
        stem.to_metadata() | {FORMAT_KEY: FORMAT},
    )


def _add_stem_activation(g: GraphBuilder, weights: FoldedWeights, y: str) -> tuple[str, Matrix]:
    """Add the first activation of filtered samples (batch, width, rows, positions); also return the bias ``(ch_dim,)`` after it."""
    if not is_elu(weights.activations[0]):
        return add_activation(g, weights.activations[0], y, len(weights.taps)), weights.expansion_bias
    # Clip and not Relu: ONNX Runtime would compute a Relu in its blocked layout, and rearrange the data once more.
    activated = g.Add(g.Clip(y, 0.0), g.Exp(g.Clip(y, "", 0.0)))
    return activated, weights.expansion_bias - weights.expansion.sum(axis=1)
