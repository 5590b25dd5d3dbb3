"""The recording graph: many windows of one stretch of signal at once, the stem computed once for all of them.

What of the streaming graphs is memory is here the stretch itself. Which samples go in, and by what matrices
blocks become tokens and tokens windows, is decided by :mod:`mindwire_models.graphs.recording_plan`; one graph serves every hop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mindwire_models.graphs.folded_weights import fold
from mindwire_models.graphs.folding import emit_activation, emit_features, emit_head
from mindwire_models.graphs.onnx_builder import GraphBuilder
from mindwire_models.graphs.streaming_graph import emit_filter, emit_stem_activation, streaming_geometry
from mindwire_models.graphs.streaming_plan import FORMAT, FORMAT_KEY

if TYPE_CHECKING:
    from mindwire_models.network.attentionbasenet import AttentionBaseNet

_END = 2**31 - 1


def recording_graph(network: AttentionBaseNet) -> bytes:
    """Logits of a run of windows under one alignment.

    Inputs
        ``x`` (samples, n_chans), the stretch that the windows share, time-major and not aligned; ``alignment`` (n_chans,
        n_chans); ``edges`` (edge_samples, n_chans), the left edges of all windows and then the right ones, one behind
        the other; ``pool``, ``spread``, ``own`` and ``places`` as :class:`mindwire_models.graphs.recording_plan.RecordingPlan` has them.
    Outputs
        ``logits`` (windows, n_outputs).

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
    n, d, width = weights.n_chans, weights.ch_dim, weights.width
    spatial = g.add("MatMul", g.constant(weights.spatial), "alignment")

    def filtered(samples: str, row: str) -> str:
        """Samples, cut into rows of a length, filtered: (1, width, rows, positions)."""
        z = g.add("MatMul", spatial, g.add("Transpose", samples, perm=[1, 0]))
        return emit_filter(g, weights, g.add("Reshape", z, in_rows(row)))

    def in_rows(length: str) -> str:
        return g.add("Concat", g.integers(1, width, -1), length, axis=0)

    # The stretch is filtered whole and then laid in rows as long as those of the edges, so that all go on together.
    row = g.add("Shape", "pool", start=0, end=1)
    shared = g.add("Reshape", filtered("x", g.add("Shape", "x", start=0, end=1)), in_rows(row))
    edges = filtered("edges", g.add("Add", row, g.integers(weights.taps.shape[1] - 1)))
    y, bias = emit_stem_activation(g, weights, g.add("Concat", shared, edges, axis=2))
    pooled = g.add("Reshape", g.add("MatMul", y, "pool"), g.integers(width, -1))
    blocks = g.add("Add", g.add("MatMul", g.constant(weights.expansion), pooled), g.constant(bias[:, None]))

    n_blocks = g.add("Shape", "spread", start=0, end=1)
    made = g.add("MatMul", g.add("Slice", blocks, g.integers(0), n_blocks, g.integers(1)), "spread")
    edges = g.add("Slice", blocks, n_blocks, g.integers(_END), g.integers(1))
    by_side = g.add("Concat", g.integers(d, 2, -1), g.add("Shape", "own", start=1, end=2), axis=0)
    rest = g.add("MatMul", g.add("Reshape", edges, by_side), "own")
    rest = g.add("Reshape", rest, g.integers(d, -1))
    n_shared = g.add("Sub", g.add("Shape", made, start=1), g.add("Shape", rest, start=1))
    own = g.add("Add", g.add("Slice", made, n_shared, g.integers(_END), g.integers(1)), rest)
    made = g.add("Concat", g.add("Slice", made, g.integers(0), n_shared, g.integers(1)), own, axis=1)
    tokens = emit_activation(g, weights.activations[1], g.add("Unsqueeze", made, g.integers(0, 2)), d)

    # By rows, because a row is copied at once.
    tokens = g.add("Transpose", g.add("Squeeze", tokens, g.integers(0, 2)), perm=[1, 0])
    tokens = g.add("Gather", tokens, g.add("Cast", "places", to=7), axis=0)
    tokens = g.add("Reshape", g.add("Transpose", tokens, perm=[1, 0]), g.integers(1, d, -1, weights.n_tokens))
    features = emit_features(g, weights, tokens, padded=False)
    emit_head(g, weights, g.add("Transpose", features, perm=[2, 1, 0, 3]))
    return g.build(
        {
            "x": ("samples", n),
            "alignment": (n, n),
            "edges": ("edge_samples", n),
            "pool": ("positions", "edge_blocks"),
            "spread": ("n_blocks", "all_tokens"),
            "own": (2, "edge_blocks", "special"),
            "places": ("all_places",),
        },
        {"logits": ("windows", weights.n_outputs)},
        streaming_geometry(network).to_metadata() | {FORMAT_KEY: FORMAT},
    )
