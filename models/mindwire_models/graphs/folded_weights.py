"""Linear parts of the network, multiplied together once, for the fast graphs.

In evaluation mode temporal convolution, BatchNorm and depthwise spatial convolution are linear and commute, so
a spatial matrix followed by one filter per row computes exactly the same with a twelfth of the multiplications,
and never builds the intermediate of all filters times all channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

    from mindwire_models.network.attentionbasenet import AttentionBaseNet
    from mindwire_models.network.signature import TemporalLengths

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FoldedWeights:
    """AttentionBaseNet with every linear neighbour merged, in double precision.

    Parameters
    ----------
    n_times, n_chans, n_outputs : int
    lengths : TemporalLengths
        Kernels, pools and strides in use.
    spatial : ndarray, shape (width, n_chans)
        Applied to the aligned input.
    taps : ndarray, shape (width, temp_filter_length_inp)
        One temporal filter per row of ``spatial``, with both BatchNorms' scale.
    bias : ndarray, shape (width,)
        Added before the first activation.
    expansion : ndarray, shape (ch_dim, width)
    expansion_bias : ndarray, shape (ch_dim,)
        Added before the second activation.
    attention_taps : ndarray, shape (ch_dim, temp_filter_length)
        Depthwise filters of the attention block.
    mixing : ndarray, shape (ch_dim, ch_dim)
    mixing_bias : ndarray, shape (ch_dim,)
        Added before the third activation.
    head : ndarray, shape (n_outputs, ch_dim, n_steps)
        Last pool and last layer in one; ``n_steps`` is the length of the sequence that attention sees.
    head_bias : ndarray, shape (n_outputs,)
    attention_mode : str or None
    attention : dict of str to ndarray
        Parameters and buffers of the attention module, by name.
    activations : tuple of torch.nn.Module
        After the stem, the expansion and the attention block's convolutions.
    """

    n_times: int
    n_chans: int
    n_outputs: int
    lengths: TemporalLengths
    spatial: Matrix
    taps: Matrix
    bias: Matrix
    expansion: Matrix
    expansion_bias: Matrix
    attention_taps: Matrix
    mixing: Matrix
    mixing_bias: Matrix
    head: Matrix
    head_bias: Matrix
    attention_mode: str | None
    attention: dict[str, Matrix]
    activations: tuple[nn.Module, nn.Module, nn.Module]

    @property
    def width(self) -> int:
        """Rows of the spatial matrix."""
        return len(self.spatial)

    @property
    def ch_dim(self) -> int:
        """Channels after the expansion."""
        return len(self.expansion)

    @property
    def n_tokens(self) -> int:
        """Time steps after the first pool."""
        return self.lengths.sequence_lengths(self.n_times)[0]

    @property
    def n_steps(self) -> int:
        """Time steps that attention sees; one more than tokens when its filters have an even length."""
        return int(self.head.shape[2])

    @property
    def used(self) -> int:
        """Filtered samples that the first pool reads, from the first."""
        return (self.n_tokens - 1) * self.lengths.pool_stride_inp + self.lengths.pool_length_inp

    @property
    def block(self) -> int:
        """The longest block of samples of which all first-pool windows are made."""
        return math.gcd(self.lengths.pool_length_inp, self.lengths.pool_stride_inp)


def fold(network: AttentionBaseNet) -> FoldedWeights:
    """Merge the linear neighbours of a network on the CPU, as it computes in evaluation mode."""
    state = {key: tensor.detach().double().numpy() for key, tensor in network.state_dict().items()}
    stem, block = network.input_block, network.channel_attention_block
    lengths = network.lengths
    n_filters = stem.temporal_conv.out_channels
    expansion_factor = stem.spatial_conv.out_channels // n_filters

    spatial = state["input_block.spatial_conv.weight"][:, 0, :, 0]
    taps = np.repeat(state["input_block.temporal_conv.weight"][:, 0, 0], expansion_factor, axis=0)
    scale, shift = _norm(state, "input_block.intermediate_bn", stem.intermediate_bn)
    # The shift between the two convolutions is constant in time, at the padded edges too.
    shift = np.repeat(shift, expansion_factor) * spatial.sum(axis=1)
    outer, bias = _norm(state, "input_block.bn", stem.bn)
    taps = taps * (np.repeat(scale, expansion_factor) * outer)[:, None]
    bias = bias + outer * shift

    scale, expansion_bias = _norm(state, "channel_expansion.1", network.channel_expansion[1])
    expansion = state["channel_expansion.0.weight"][:, :, 0, 0] * scale[:, None]
    scale, mixing_bias = _norm(state, "channel_attention_block.conv.2", block.conv[2])
    mixing = state["channel_attention_block.conv.1.weight"][:, :, 0, 0] * scale[:, None]

    tokens, pooled = lengths.sequence_lengths(network.n_times)
    steps = tokens + (lengths.temp_filter_length + 1) % 2
    pool = pool_matrix(steps, pooled, lengths.pool_length, lengths.pool_stride)
    last = state["final_layer.1.weight"].reshape(network.n_outputs, len(expansion), pooled)
    prefix = "channel_attention_block.attention_block."
    return FoldedWeights(
        n_times=network.n_times,
        n_chans=network.n_chans,
        n_outputs=network.n_outputs,
        lengths=lengths,
        spatial=spatial,
        taps=taps,
        bias=bias,
        expansion=expansion,
        expansion_bias=expansion_bias,
        attention_taps=state["channel_attention_block.conv.0.weight"][:, 0, 0],
        mixing=mixing,
        mixing_bias=mixing_bias,
        head=last @ pool.T,
        head_bias=state["final_layer.1.bias"],
        attention_mode=network.attention_mode,
        attention={key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)},
        activations=(stem.nonlinearity, network.channel_expansion[2], block.conv[3]),
    )


def pool_matrix(n_in: int, n_out: int, length: int, stride: int) -> Matrix:
    """Return an average pool as a matrix, ``(n_in, n_out)``: ``pooled = x @ matrix``."""
    matrix = np.zeros((n_in, n_out))
    for step in range(n_out):
        matrix[step * stride : step * stride + length, step] = 1 / length
    return matrix


def norm_affine(weights: dict[str, Matrix], prefix: str, eps: float) -> tuple[Matrix, Matrix]:
    """Return scale and shift of a BatchNorm in evaluation mode, from its named parameters and buffers."""
    scale = weights[f"{prefix}.weight"] / np.sqrt(weights[f"{prefix}.running_var"] + eps)
    return scale, weights[f"{prefix}.bias"] - scale * weights[f"{prefix}.running_mean"]


def _norm(state: dict[str, Any], prefix: str, module: nn.Module) -> tuple[Matrix, Matrix]:
    return norm_affine(state, prefix, float(module.eps))  # type: ignore[arg-type]  # a BatchNorm's eps
