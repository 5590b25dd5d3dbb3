"""Inputs and outputs of a bundle's graphs, as they are written and as they are verified.

Names of dimensions stand for dynamic ones. All tensors are float32.
"""

from __future__ import annotations

Dims = tuple[int | str, ...]
Shapes = dict[str, Dims]
Interface = tuple[Shapes, Shapes]


def folded_interface(n_chans: int, n_times: int, n_outputs: int) -> Interface:
    """Of ``model.onnx``: windows ``x``, not aligned, and the ``alignment`` of each, to ``logits`` and ``probabilities``.

    The alignment is applied as ``alignment @ x``; the probabilities are the softmax of ``logits / temperature``.
    """
    return (
        {"x": ("batch", n_chans, n_times), "alignment": ("batch", n_chans, n_chans)},
        {"logits": ("batch", n_outputs), "probabilities": ("batch", n_outputs)},
    )


def stem_interface(n_chans: int, width: int | str, ch_dim: int | str) -> Interface:
    """Of ``stem.onnx``, from any number of contiguous samples to a stream's memory.

    Inputs: the samples ``x``, time-major and not aligned, ``taps - 1`` more than a multiple of the block; the weights ``box``
    with which a block of samples is averaged; ``spread``, which makes tokens of blocks. Outputs: the aligned filters
    ``spatial``; expanded ``blocks``, before the second activation; ``tokens``, after it.
    """
    return (
        {
            "x": ("batch", "samples", n_chans),
            "alignment": ("batch", n_chans, n_chans),
            "box": ("block", 1),
            "spread": ("n_blocks", "n_tokens"),
        },
        {
            "spatial": ("batch", width, n_chans),
            "blocks": ("batch", ch_dim, "n_blocks"),
            "tokens": ("batch", ch_dim, "n_tokens"),
        },
    )


def step_interface(n_chans: int, n_outputs: int, n_tokens: int, width: int | str, ch_dim: int | str) -> Interface:
    """Of ``streaming.onnx``, from a hop's samples, the window's edges and the memory to logits and new memory.

    Inputs: ``spatial`` from the stem; ``edges``, the two ends of the window one after the other, time-major, with the zeros
    that pad it; ``pool``, averages over the blocks of an edge; ``old_blocks`` of earlier steps; ``combine``, which makes
    tokens of the edges' blocks and the old ones; ``place``, where they belong among the window's tokens; ``cached``, the tokens
    of earlier steps, zero where a fresh one belongs. Outputs: ``logits``; ``blocks`` of both edges, before the second
    activation; fresh ``tokens``, after it.
    """
    return (
        {
            "spatial": ("batch", width, n_chans),
            "edges": ("batch", "edge_samples", n_chans),
            "pool": ("filtered", "edge_blocks"),
            "old_blocks": ("batch", ch_dim, "old"),
            "combine": ("memory", "fresh"),
            "place": ("fresh", n_tokens),
            "cached": ("batch", ch_dim, n_tokens),
        },
        {
            "logits": ("batch", n_outputs),
            "blocks": ("batch", ch_dim, "both_edges"),
            "tokens": ("batch", ch_dim, "fresh"),
        },
    )
