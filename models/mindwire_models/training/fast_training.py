"""Exact forward pass of AttentionBaseNet without its largest intermediate: a training step is 16 times as fast.

(22 channels, 1000 samples, batches of 64, one thread: 92 ms instead of 1469 ms; ``benchmarks/training_step.py``.)

The plain stem convolves every electrode with every temporal filter, normalises that array of
``n_temporal_filters × n_chans × n_times`` per window, and only then mixes the electrodes. All of it is linear but for
the statistics of the BatchNorm in between; and those, over windows, electrodes and time, follow from the input alone:
with ``m`` and ``V`` the mean and the covariance of the ``L`` samples under a filter ``h`` of ``L`` taps, zero padding
counted, the filtered signal has mean ``h·m`` and variance ``h·V·h``. So electrodes can be mixed first, and the rest are
matrix products. Values, gradients and running statistics are those of the plain module, up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from mindwire_models.network.attentionbasenet import AttentionBaseNet, Stem, as_window

_SMALLEST_BLOCK = 16


def fast_forward(network: AttentionBaseNet, x: Tensor) -> Tensor:
    """Compute the logits of ``network(x)``, its gradients and running statistics; hooks inside the stem are not called."""
    logits: Tensor = network.final_layer(fast_features(network, x))
    return logits


def fast_features(network: AttentionBaseNet, x: Tensor) -> Tensor:
    """Compute the features ``(batch, ch_dim, 1, T2)`` that the last layer weighs; see :func:`fast_forward`."""
    pooled = fast_stem(network.input_block, as_window(x, network.n_chans, network.n_times))
    features: Tensor = network.channel_attention_block(network.channel_expansion(pooled))
    return features


def fast_stem(stem: Stem, x: Tensor) -> Tensor:
    """Compute ``stem(x)``: ``(batch, n_chans, n_times)`` to ``(batch, width, 1, pooled)``."""
    taps = stem.temporal_conv.weight[:, 0, 0]
    mixing = stem.spatial_conv.weight[:, 0, :, 0]
    expansion = len(mixing) // len(taps)
    series = _Series(x, taps.shape[1])
    scale, shift = _normalisation(stem.intermediate_bn, taps, series)
    filters = (taps * scale[:, None]).repeat_interleave(expansion, dim=0)
    offset = shift.repeat_interleave(expansion) * mixing.sum(dim=1)
    mixed = (mixing @ series.samples.flatten(1)).view(len(mixing), -1, series.block)
    filtered = _convolve(mixed, filters, series)
    normalised = _batch_norm(stem.bn, filtered, offset)
    # The shape that the stem's modules expect; only the strides differ.
    activated = stem.nonlinearity(normalised.transpose(0, 1).unsqueeze(2))
    # Contiguous, so that dropout draws the numbers that it would draw there.
    pooled: Tensor = stem.dropout(stem.pool(activated).contiguous())
    return pooled


class _Series:
    """Windows one after another in time for each channel, between zeros, cut into blocks.

    ``samples`` is ``(n_chans, batch, padded)``, ``padded`` a multiple of ``block``: each window of ``n_times`` between at least
    ``pad`` zeros on either side, which the convolution counts. ``taps``, the length of the filters, is at most ``block + 1``.
    The convolution has ``n_filtered`` samples per window, and ``count`` per filter over all windows and channels.
    """

    def __init__(self, x: Tensor, taps: int) -> None:
        batch, n_chans, self.n_times = x.shape
        self.taps, self.pad = taps, taps // 2
        self.block = max(_SMALLEST_BLOCK, 1 << (taps - 2).bit_length())
        self.samples = x.new_zeros(n_chans, batch, -(-(self.n_times + 2 * self.pad) // self.block) * self.block)
        self.samples[:, :, self.pad : self.pad + self.n_times] = x.transpose(0, 1)
        self.n_filtered = self.n_times + 2 * self.pad - taps + 1
        self.count = n_chans * batch * self.n_filtered

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean ``(taps,)`` and covariance ``(taps, taps)`` of the samples under the taps, over all positions of the filter."""
        # In double precision: where a signal's offset is large, its variance is a small difference of large sums.
        blocks = self.samples.double().view(-1, self.block)
        within = blocks.mT @ blocks
        across = blocks[:-1].mT @ blocks[1:]
        lagged = _diagonal_sums(torch.cat([within, across], dim=1), self.taps)
        lags = torch.arange(self.taps, device=lagged.device)
        products = lagged[(lags[:, None] - lags).abs()]
        sums = self.samples.sum(dtype=torch.float64).expand(self.taps)
        # The sums include positions where the filter only reaches a window's edge from outside; subtract them.
        edge = self.taps - 1 - self.pad
        if edge:
            first = self.samples[..., self.pad : self.pad + edge]
            last = self.samples[..., self.pad + self.n_times - edge : self.pad + self.n_times]
            for touching in (functional.pad(first, (self.taps - 1, 0)), functional.pad(last, (0, self.taps - 1))):
                windows = touching.unfold(-1, self.taps, 1).flatten(0, -2).double()
                products = products - windows.mT @ windows
                sums = sums - windows.sum(dim=0)
        mean = sums / self.count
        return mean, products / self.count - mean[:, None] * mean


def _diagonal_sums(matrix: Tensor, n: int) -> Tensor:
    """Sums of the first ``n`` diagonals, from the main one to the right: ``(…, rows, columns)`` to ``(…, n)``."""
    rows = torch.arange(matrix.shape[-2], device=matrix.device)
    index = rows[:, None] + torch.arange(n, device=matrix.device)
    return matrix.gather(-1, index.expand(*matrix.shape[:-2], *index.shape)).sum(dim=-2)


def _normalisation(bn: nn.BatchNorm2d, taps: Tensor, series: _Series) -> tuple[Tensor, Tensor]:
    """Scale and shift per filter that equal BatchNorm; in training the statistics are updated."""
    running = _running(bn)
    if running is None:
        input_mean, covariance = series.moments()
        precise = taps.double()
        mean = precise @ input_mean
        var = ((precise @ covariance) * precise).sum(dim=1).clamp_min(0)
        _update_statistics(bn, mean.detach(), var.detach() * (series.count / max(series.count - 1, 1)))
    else:
        mean, var = running
    scale = (var.double() + bn.eps).rsqrt() * bn.weight
    return scale.to(taps.dtype), (bn.bias - mean * scale).to(taps.dtype)


def _batch_norm(bn: nn.BatchNorm2d, x: Tensor, offset: Tensor) -> Tensor:
    """BatchNorm over batch and time of ``x + offset``, shape (width, batch, n_times), without adding the offset."""
    running = _running(bn)
    if running is not None:
        scale = bn.weight * (running[1] + bn.eps).rsqrt()
        return x * scale[:, None, None] + (bn.bias + (offset - running[0]) * scale)[:, None, None]
    # Normalising removes the offset: it moves the running mean alone. Its gradient is zero, but there is one.
    bias = bn.bias + 0 * offset
    mean, var = x.new_zeros(len(x)), x.new_zeros(len(x))
    flat = x.flatten(1).unsqueeze(0)
    normalised = functional.batch_norm(flat, mean, var, bn.weight, bias, training=True, momentum=1.0, eps=bn.eps)
    _update_statistics(bn, mean + offset.detach(), var)
    return normalised.view_as(x)


def _running(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor] | None:
    """Stored mean and variance to normalise with; None to use those of the batch."""
    if bn.training or bn.running_mean is None or bn.running_var is None:
        return None
    return bn.running_mean, bn.running_var


def _update_statistics(bn: nn.BatchNorm2d, mean: Tensor, unbiased_var: Tensor) -> None:
    if bn.running_mean is None or bn.running_var is None or bn.num_batches_tracked is None:
        return  # a layer without running statistics
    bn.num_batches_tracked.add_(1)
    weight = 1 / float(bn.num_batches_tracked) if bn.momentum is None else bn.momentum
    bn.running_mean.lerp_(mean.to(bn.running_mean.dtype), weight)
    bn.running_var.lerp_(unbiased_var.to(bn.running_var.dtype), weight)


def _convolve(blocks: Tensor, filters: Tensor, series: _Series) -> Tensor:
    """Each row's series with its own filter: ``(width, n_blocks, block)`` to ``(width, batch, n_filtered)``."""
    filtered: Tensor = _DepthwiseConvolution.apply(blocks, filters)  # type: ignore[no-untyped-call]
    per_window = filtered.view(len(blocks), -1, series.samples.shape[2])
    return per_window[..., : series.n_filtered].contiguous()


class _DepthwiseConvolution(torch.autograd.Function):
    """Cross-correlation of blocks in succession with a filter per row, as products with banded matrices.

    With ``G[j, j + k] = g[k]`` of shape ``(block, block + taps - 1)``, a block's output is ``G`` times the block and
    the beginning of the next. Five times faster than a grouped ``conv1d`` on a CPU, forward and backward.
    """

    @staticmethod
    def forward(ctx: Any, blocks: Tensor, filters: Tensor) -> Tensor:
        band = _band(filters, blocks.shape[2])
        ctx.save_for_backward(blocks, band)
        ctx.taps = filters.shape[1]
        block, reach = blocks.shape[2], filters.shape[1] - 1
        filtered = blocks @ band[..., :block].mT
        filtered[:, :-1].baddbmm_(blocks[:, 1:, :reach], band[..., block:].mT)
        return filtered

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (gradient,) = gradients
        blocks, band = ctx.saved_tensors
        block, reach = blocks.shape[2], ctx.taps - 1
        to_blocks = to_filters = None
        if ctx.needs_input_grad[0]:
            to_blocks = gradient @ band[..., :block]
            to_blocks[:, 1:, :reach].baddbmm_(gradient[:, :-1], band[..., block:])
        if ctx.needs_input_grad[1]:
            to_band = [gradient.mT @ blocks, gradient[:, :-1].mT @ blocks[:, 1:, :reach]]
            to_filters = _diagonal_sums(torch.cat(to_band, dim=-1), ctx.taps)
        return to_blocks, to_filters


def _band(filters: Tensor, block: int) -> Tensor:
    """``(width, taps)`` to ``(width, block, block + taps - 1)``: row ``j`` holds the filter from column ``j`` on."""
    width, taps = filters.shape
    # Rows one shorter than their content shift it by one to the right each.
    spread = functional.pad(filters, (0, block)).repeat(1, block)
    return spread[:, : block * (block + taps - 1)].view(width, block, block + taps - 1)
