"""Linear parts of the network, multiplied together once, for the fast graphs.

In evaluation mode temporal convolution, BatchNorm and depthwise spatial convolution are linear and commute, so
a spatial matrix followed by one filter per row computes exactly the same with a twelfth of the multiplications,
and never builds the intermediate of all filters times all channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mindwire_models.graphs.streaming_plan import StemGeometry, pool_matrix

if TYPE_CHECKING:
    from torch import nn

    from mindwire_models.network.attentionbasenet import AttentionBaseNet

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FoldedWeights:
    """AttentionBaseNet with every linear neighbour merged, in double precision.

    Parameters
    ----------
    geometry : StemGeometry
        Lengths of the stem.
    spatial : ndarray, shape (width, n_chans)
        Applied to the aligned input.
    taps : ndarray, shape (width, geometry.taps)
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
        Last pool and last layer in one; ``n_steps`` is the length of the sequence that attention sees, one more than the
        tokens when its filters have an even length.
    head_bias : ndarray, shape (n_outputs,)
    attention_mode : str or None
    attention : dict of str to ndarray
        Parameters and buffers of the attention module, by name.
    activations : tuple of torch.nn.Module
        After the stem, the expansion and the attention block's convolutions.
    """

    geometry: StemGeometry
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
    def ch_dim(self) -> int:
        """Channels after the expansion."""
        return len(self.expansion)

    @property
    def n_steps(self) -> int:
        """Time steps that attention sees."""
        return int(self.head.shape[2])


def fold(network: AttentionBaseNet) -> FoldedWeights:
    """Merge the linear neighbours of a network on the CPU, as it computes in evaluation mode."""
    state = {key: tensor.detach().double().numpy() for key, tensor in network.state_dict().items()}
    stem, block, lengths = network.input_block, network.channel_attention_block, network.lengths

    def norm(prefix: str) -> tuple[Matrix, Matrix]:
        return norm_affine(state, prefix, network.get_submodule(prefix).eps)

    expansion_factor = stem.spatial_conv.out_channels // stem.temporal_conv.out_channels
    spatial = state["input_block.spatial_conv.weight"][:, 0, :, 0]
    taps = np.repeat(state["input_block.temporal_conv.weight"][:, 0, 0], expansion_factor, axis=0)
    scale, shift = norm("input_block.intermediate_bn")
    # The shift between the two convolutions is constant in time, at the padded edges too.
    shift = np.repeat(shift, expansion_factor) * spatial.sum(axis=1)
    outer, bias = norm("input_block.bn")

    expansion_scale, expansion_bias = norm("channel_expansion.1")
    mixing_scale, mixing_bias = norm("channel_attention_block.conv.2")
    n_tokens, pooled = lengths.sequence_lengths(network.n_times)
    n_steps = n_tokens + (lengths.temp_filter_length + 1) % 2
    last = state["final_layer.1.weight"].reshape(network.n_outputs, -1, pooled)
    prefix = "channel_attention_block.attention_block."
    return FoldedWeights(
        geometry=StemGeometry(
            n_times=network.n_times,
            taps=lengths.temp_filter_length_inp,
            pool=lengths.pool_length_inp,
            stride=lengths.pool_stride_inp,
            n_tokens=n_tokens,
        ),
        spatial=spatial,
        taps=taps * (np.repeat(scale, expansion_factor) * outer)[:, None],
        bias=bias + outer * shift,
        expansion=state["channel_expansion.0.weight"][:, :, 0, 0] * expansion_scale[:, None],
        expansion_bias=expansion_bias,
        attention_taps=state["channel_attention_block.conv.0.weight"][:, 0, 0],
        mixing=state["channel_attention_block.conv.1.weight"][:, :, 0, 0] * mixing_scale[:, None],
        mixing_bias=mixing_bias,
        head=last @ pool_matrix(n_steps, pooled, lengths.pool_length, lengths.pool_stride).T,
        head_bias=state["final_layer.1.bias"],
        attention_mode=network.attention_mode,
        attention={key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)},
        activations=(stem.nonlinearity, network.channel_expansion[2], block.conv[3]),
    )


def norm_affine(weights: dict[str, Matrix], prefix: str, eps: Any = 1e-5) -> tuple[Matrix, Matrix]:
    """Return scale and shift of a BatchNorm in evaluation mode, from its named parameters and buffers."""
    scale = weights[f"{prefix}.weight"] / np.sqrt(weights[f"{prefix}.running_var"] + eps)
    return scale, weights[f"{prefix}.bias"] - scale * weights[f"{prefix}.running_mean"]
