"""Attention modules that differ in how a channel's weight follows from its summary (the excitation).

In all of them ``x`` is ``(batch, channels, 1, n_times)``. The references are those of Wimpff et al. 2023,
arXiv 2310.11198.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mindwire_models.network.attention.squeeze import bottleneck

_EPS = 1e-5


class ECA(nn.Module):
    """Efficient channel attention: weights by a convolution along the channels of their means.

    Wang et al. 2020, "ECA-Net: efficient channel attention for deep CNNs", arXiv 1910.03151.
    """

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, 1, n_times)`` to the same shape."""
        weights = torch.sigmoid(self.conv(x.mean(dim=(-2, -1)).unsqueeze(1)))
        return x * weights.squeeze(1)[:, :, None, None]


class GatherExcite(nn.Module):
    """Gather-excite: gather each channel's context, by its mean or by learned taps, and gate with it.

    Hu et al. 2018, "Gather-excite: exploiting feature context in CNNs", arXiv 1810.12348.
    """

    def __init__(self, channels: int, seq_len: int, reduction_rate: int, *, extra_params: bool, use_mlp: bool) -> None:
        super().__init__()
        self.seq_len = seq_len
        self.gather: nn.Module = nn.AdaptiveAvgPool2d(1)
        if extra_params:
            self.gather = nn.Sequential(
                nn.Conv2d(channels, channels, (1, seq_len), groups=channels, bias=False),
                nn.BatchNorm2d(channels),
            )
        self.extra_params = extra_params
        self.mlp: nn.Module = nn.Identity()
        if use_mlp:
            self.mlp = bottleneck(channels, reduction_rate, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, 1, n_times)`` to the same shape."""
        # An even temporal filter before this module lengthens the sequence by one step, which the taps do not span.
        context = self.gather(x[..., : self.seq_len] if self.extra_params else x)
        return x * torch.sigmoid(self.mlp(context))


class GCT(nn.Module):
    """Gated channel transformation: channels compete or cooperate by their l2 norms.

    Yang et al. 2020, "Gated channel transformation for visual recognition", arXiv 1909.11519.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, 1, n_times)`` to the same shape."""
        norm = (x.square().sum(dim=(-2, -1), keepdim=True) + _EPS).sqrt() * self.alpha
        relative = norm * self.gamma / (norm.square().mean(dim=1, keepdim=True) + _EPS).sqrt()
        return x * (1 + torch.tanh(relative + self.beta))


class SRM(nn.Module):
    """Style-based recalibration: weights from each channel's mean and standard deviation.

    Lee et al. 2019, "SRM: a style-based recalibration module for CNNs", arXiv 1903.10829.
    """

    def __init__(self, channels: int, reduction_rate: int, *, use_mlp: bool) -> None:
        super().__init__()
        self.style_integration: nn.Module
        if use_mlp:
            narrow = 2 * channels // reduction_rate
            self.style_integration = nn.Sequential(
                nn.Flatten(),
                nn.Linear(2 * channels, narrow, bias=False),
                nn.ReLU(),
                nn.Linear(narrow, channels, bias=False),
                nn.Unflatten(1, (channels, 1)),
            )
        else:
            self.style_integration = nn.Conv1d(channels, channels, 2, groups=channels, bias=False)
        self.bn = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, 1, n_times)`` to the same shape."""
        steps = x.squeeze(-2)
        # A single time step has no sample deviation: zero, not NaN.
        spread = steps.std(dim=-1, correction=min(1, steps.shape[-1] - 1))
        style = torch.stack([steps.mean(dim=-1), spread], dim=-1)
        weights = torch.sigmoid(self.bn(self.style_integration(style)))
        return x * weights.unsqueeze(-1)
