"""AttentionBaseNet (Wimpff et al. 2023, arXiv 2310.11198), the network that decodes a window of EEG.

Constructor, configuration and the names of parameters and buffers are those of braindecode 1.8, so that weights and folders
can be exchanged. The stem's linear parts are attributes of their own, because folding and fast training rearrange them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mindwire_models.errors import ArgumentError
from mindwire_models.network.attention import AttentionOptions, build_attention
from mindwire_models.network.hub import Pretrained
from mindwire_models.network.signature import (
    TemporalLengths,
    check_activation,
    check_flag,
    check_integer,
    check_probability,
    infer_signal,
)


class Stem(nn.Module):
    """Temporal filter bank, BatchNorm, spatial filters per temporal filter, BatchNorm, activation, average pool, dropout."""

    def __init__(
        self,
        n_chans: int,
        n_temporal_filters: int,
        spatial_expansion: int,
        *,
        lengths: TemporalLengths,
        drop_prob: float,
        activation: type[nn.Module],
    ) -> None:
        super().__init__()
        taps = lengths.temp_filter_length_inp
        width = n_temporal_filters * spatial_expansion
        self.temporal_conv = nn.Conv2d(1, n_temporal_filters, (1, taps), padding=(0, taps // 2), bias=False)
        self.intermediate_bn = nn.BatchNorm2d(n_temporal_filters)
        self.spatial_conv = nn.Conv2d(n_temporal_filters, width, (n_chans, 1), groups=n_temporal_filters, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.nonlinearity = activation()
        self.pool = nn.AvgPool2d((1, lengths.pool_length_inp), stride=(1, lengths.pool_stride_inp))
        self.dropout = nn.Dropout(drop_prob)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, n_chans, n_times)`` to ``(batch, width, 1, pooled)``."""
        mixed = self.spatial_conv(self.intermediate_bn(self.temporal_conv(x.unsqueeze(1))))
        pooled: Tensor = self.dropout(self.pool(self.nonlinearity(self.bn(mixed))))
        return pooled


class ChannelAttentionBlock(nn.Module):
    """Depthwise temporal and pointwise convolution, attention over channels, and pooling."""

    def __init__(
        self,
        attention_mode: str | None,
        options: AttentionOptions,
        lengths: TemporalLengths,
        drop_prob: float,
        activation: type[nn.Module],
    ) -> None:
        super().__init__()
        width = options.channels
        taps = lengths.temp_filter_length
        self.conv = nn.Sequential(
            nn.Conv2d(width, width, (1, taps), padding=(0, taps // 2), groups=width, bias=False),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            activation(),
        )
        self.attention_block = None if attention_mode is None else build_attention(attention_mode, options)
        self.pool = nn.AvgPool2d((1, lengths.pool_length), stride=(1, lengths.pool_stride))
        self.dropout = nn.Dropout(drop_prob)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, ch_dim, 1, n_times)`` to ``(batch, ch_dim, 1, pooled)``."""
        x = self.conv(x)
        if self.attention_block is not None:
            x = self.attention_block(x)
        pooled: Tensor = self.dropout(self.pool(x))
        return pooled


def as_window(x: Tensor, n_chans: int, n_times: int) -> Tensor:
    """Return the input as ``(batch, n_chans, n_times)``; refuse another shape with an ArgumentError.

    A function and no method, so that TorchScript can compile it.
    """
    window = x.squeeze(-1) if x.ndim == 4 and x.shape[-1] == 1 else x
    if window.ndim != 3 or window.shape[1] != n_chans or window.shape[2] != n_times:
        msg = f"Expected input of shape (batch, {n_chans}, {n_times}), optionally with a trailing 1; found {list(x.shape)}."
        raise ArgumentError(msg)
    return window


class AttentionBaseNet(Pretrained):
    """Convolutional network with channel attention for motor imagery from EEG.

    Wimpff, Gizzi, Zerfowski & Yang 2023, "EEG motor imagery decoding: a framework for comparative analysis with channel
    attention mechanisms", arXiv 2310.11198.

    Of ``n_times``, ``sfreq`` and ``input_window_seconds``, and of ``n_chans`` and ``chs_info``, those are needed
    that do not follow from the others. For a window too short for kernels and pools, their temporal lengths
    and strides are scaled down, with a warning. An ArgumentError refuses arguments that are wrong, missing or contradict
    each other.

    Parameters
    ----------
    n_times, n_chans, n_outputs : int or None
        Samples per window, EEG channels, classes.
    chs_info : list of dict or None
        One dictionary per channel, as in ``mne.Info["chs"]``; kept with the configuration.
    sfreq, input_window_seconds : float or None
        Sampling rate in hertz; window length in seconds.
    n_temporal_filters, temp_filter_length_inp : int
        Temporal filters of the stem, and their taps.
    spatial_expansion : int
        Spatial filters per temporal filter.
    pool_length_inp, pool_stride_inp : int
        Average pool of the stem, in samples.
    drop_prob_inp : float
        Dropout after the stem.
    ch_dim : int
        Channels after the 1×1 expansion.
    temp_filter_length : int
        Taps of the attention block's temporal filters.
    pool_length, pool_stride : int
        Average pool after the attention, in pooled samples.
    drop_prob_attn : float
        Dropout after the attention block.
    attention_mode : str or None
        One of :data:`mindwire_models.network.attention.ATTENTION_MODES`; None for no attention.
    reduction_rate, use_mlp, freq_idx, n_codewords, kernel_size, extra_params
        See :class:`mindwire_models.network.attention.AttentionOptions`.
    activation : type of torch.nn.Module
        The class, not an instance.

    Attributes
    ----------
    n_times, n_chans, n_outputs, sfreq, input_window_seconds
        As given or as they follow from the others; None where unknown.
    lengths : TemporalLengths
        The temporal lengths and strides in use.
    """

    def __init__(  # noqa: PLR0917 – the published signature
        self,
        n_times: int | None = None,
        n_chans: int | None = None,
        n_outputs: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        sfreq: float | None = None,
        input_window_seconds: float | None = None,
        n_temporal_filters: int = 40,
        temp_filter_length_inp: int = 25,
        spatial_expansion: int = 1,
        pool_length_inp: int = 75,
        pool_stride_inp: int = 15,
        drop_prob_inp: float = 0.5,
        ch_dim: int = 16,
        temp_filter_length: int = 15,
        pool_length: int = 8,
        pool_stride: int = 8,
        drop_prob_attn: float = 0.5,
        attention_mode: str | None = None,
        reduction_rate: int = 4,
        use_mlp: bool = False,  # noqa: FBT001, FBT002 – the published signature
        freq_idx: int = 0,
        n_codewords: int = 4,
        kernel_size: int = 9,
        activation: type[nn.Module] = nn.ELU,
        extra_params: bool = False,  # noqa: FBT001, FBT002 – the published signature
    ) -> None:
        super().__init__()
        self.n_times, self.n_chans, self.n_outputs, self.sfreq, self.input_window_seconds = infer_signal(
            n_times=n_times,
            n_chans=n_chans,
            n_outputs=n_outputs,
            chs_info=chs_info,
            sfreq=sfreq,
            input_window_seconds=input_window_seconds,
        )
        self.chs_info = chs_info
        self.attention_mode = attention_mode
        n_temporal_filters = check_integer("n_temporal_filters", n_temporal_filters)
        spatial_expansion = check_integer("spatial_expansion", spatial_expansion)
        check_activation(activation)
        wanted = TemporalLengths(
            temp_filter_length_inp=check_integer("temp_filter_length_inp", temp_filter_length_inp),
            pool_length_inp=check_integer("pool_length_inp", pool_length_inp),
            pool_stride_inp=check_integer("pool_stride_inp", pool_stride_inp),
            temp_filter_length=check_integer("temp_filter_length", temp_filter_length),
            pool_length=check_integer("pool_length", pool_length),
            pool_stride=check_integer("pool_stride", pool_stride),
        )
        self.lengths = wanted.scaled_to(self.n_times)
        if self.lengths != wanted:
            warnings.warn(wanted.describe_scaling(self.n_times), UserWarning, stacklevel=2)
        seq_len, self._pooled = self.lengths.sequence_lengths(self.n_times)
        options = AttentionOptions(
            channels=check_integer("ch_dim", ch_dim),
            seq_len=seq_len,
            reduction_rate=check_integer("reduction_rate", reduction_rate),
            use_mlp=check_flag("use_mlp", use_mlp),
            freq_idx=check_integer("freq_idx", freq_idx, least=0),
            n_codewords=check_integer("n_codewords", n_codewords),
            kernel_size=check_integer("kernel_size", kernel_size),
            extra_params=check_flag("extra_params", extra_params),
        )
        self.input_block = Stem(
            self.n_chans,
            n_temporal_filters,
            spatial_expansion,
            lengths=self.lengths,
            drop_prob=check_probability("drop_prob_inp", drop_prob_inp),
            activation=activation,
        )
        self.channel_expansion = nn.Sequential(
            nn.Conv2d(n_temporal_filters * spatial_expansion, ch_dim, 1, bias=False),
            nn.BatchNorm2d(ch_dim),
            activation(),
        )
        self.channel_attention_block = ChannelAttentionBlock(
            attention_mode, options, self.lengths, check_probability("drop_prob_attn", drop_prob_attn), activation
        )
        self.final_layer = nn.Sequential(nn.Flatten(), nn.Linear(self._pooled * ch_dim, self.n_outputs))

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor | dict[str, Tensor | None]:  # noqa: FBT001, FBT002 – the published signature
        """Windows ``(batch, n_chans, n_times)``, optionally with a trailing 1, to logits ``(batch, n_outputs)``.

        With ``return_features``, to ``{"features": (batch, ch_dim, 1, T2), "cls_token": None}``, T2 steps after the last pool.
        """
        features = self.channel_attention_block(
            self.channel_expansion(self.input_block(as_window(x, self.n_chans, self.n_times)))
        )
        if return_features:
            return {"features": features, "cls_token": None}
        logits: Tensor = self.final_layer(features)
        return logits

    def reset_head(self, n_outputs: int) -> None:
        """Replace the last layer by an untrained one for another number of classes."""
        self.n_outputs = check_integer("n_outputs", n_outputs)
        self._config["n_outputs"] = self.n_outputs
        old = self.final_layer[1]
        if not isinstance(old, nn.Linear):
            msg = f"reset_head replaces a linear last layer; found {type(old).__name__}."
            raise ArgumentError(msg)
        head = nn.Linear(old.in_features, self.n_outputs, device=old.weight.device, dtype=old.weight.dtype)
        self.final_layer = nn.Sequential(nn.Flatten(), head)

    def keep_outputs(self, outputs: Sequence[int]) -> None:
        """Keep some outputs with their weights, in this order."""
        old = self.final_layer[1]
        self.reset_head(len(outputs))
        self.final_layer[1].load_state_dict({name: value[list(outputs)] for name, value in old.state_dict().items()})
