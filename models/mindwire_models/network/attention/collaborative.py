"""Attention modules that weigh time steps and channels, and the channel half of one of them.

In all of them ``x`` is ``(batch, channels, 1, n_times)``. The references are those of Wimpff et al. 2023,
arXiv 2310.11198.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mindwire_models.network.attention.squeeze import bottleneck

# Entropies closer than this differ by float32 rounding alone; dividing by less would amplify rounding, or give 0/0.
_SMALLEST_SPREAD = 1e-6


class CBAM(nn.Module):
    """Convolutional block attention: first weigh channels, then time steps.

    Woo et al. 2018, "CBAM: convolutional block attention module", arXiv 1807.06521.
    """

    def __init__(self, channels: int, reduction_rate: int, kernel_size: int) -> None:
        super().__init__()
        self.fc = bottleneck(channels, reduction_rate, bias=False)
        self.conv = nn.Conv2d(2, 1, (1, kernel_size), padding=(0, kernel_size // 2))

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, 1, n_times)`` to the same shape."""
        average = x.mean(dim=(-2, -1), keepdim=True)
        largest = x.amax(dim=(-2, -1), keepdim=True)
        x = x * torch.sigmoid(self.fc(average) + self.fc(largest))
        over_channels = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.conv(over_channels))


class CATLite(nn.Module):
    """Collaborative attention of channels from mean, smoothed maximum and entropy.

    Wu et al. 2023, "CAT: learning to collaborate channel and spatial attention from multi-information fusion", arXiv 2212.06335.
    """

    def __init__(self, channels: int, reduction_rate: int, *, bias: bool = True) -> None:
        super().__init__()
        # Gaussian of standard deviation one; a parameter, though never trained, as in the published weights.
        taps = torch.softmax(-0.5 * torch.arange(-2.0, 3.0).square(), dim=0)
        self.gauss_filter = nn.Conv2d(1, 1, (1, 5), padding=(0, 2), bias=False)
        self.gauss_filter.weight = nn.Parameter(taps.view(1, 1, 1, 5), requires_grad=False)
        self.mlp = bottleneck(channels, reduction_rate, bias=bias)
        self.c_alpha = nn.Parameter(torch.zeros(1))
        self.c_beta = nn.Parameter(torch.zeros(1))
        self.c_gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, 1, n_times)`` to the same shape."""
        return x * self.channel_weights(x, self.smoothed_maximum(x))

    def smoothed_maximum(self, x: Tensor) -> Tensor:
        """Largest value of each channel after Gaussian smoothing, ``(batch, channels, 1, 1)``."""
        blurred: Tensor = self.gauss_filter(x.transpose(1, 2))
        return blurred.transpose(1, 2).amax(dim=(-2, -1), keepdim=True)

    def channel_weights(self, x: Tensor, maximum: Tensor) -> Tensor:
        """A weight per channel in (0, 1), ``(batch, channels, 1, 1)``."""
        mean = self.mlp(x.mean(dim=(-2, -1), keepdim=True))
        entropy = self.mlp(_relative(_entropy(x, dim=-1), dim=1))
        return torch.sigmoid(mean * self.c_alpha + self.mlp(maximum) * self.c_beta + entropy * self.c_gamma)


class CAT(CATLite):
    """Collaborative attention of channels and time steps, mixed by two learned shares.

    Wu et al. 2023, "CAT: learning to collaborate channel and spatial attention from multi-information fusion", arXiv 2212.06335.
    """

    def __init__(self, channels: int, reduction_rate: int, kernel_size: int) -> None:
        super().__init__(channels, reduction_rate, bias=False)
        self.conv = nn.Conv2d(channels, channels, (1, kernel_size), padding=(0, kernel_size // 2), bias=False)
        self.s_alpha = nn.Parameter(torch.zeros(1))
        self.s_beta = nn.Parameter(torch.zeros(1))
        self.s_gamma = nn.Parameter(torch.zeros(1))
        self.c_w = nn.Parameter(torch.zeros(1))
        self.s_w = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, 1, n_times)`` to the same shape."""
        maximum = self.smoothed_maximum(x)
        entropy = _relative(_entropy(x, dim=1), dim=-1)
        score = entropy * self.s_gamma + maximum * self.s_beta - x.mean(dim=1, keepdim=True) * self.s_alpha
        temporal = torch.sigmoid(self.conv(score))
        share = torch.sigmoid(self.c_w - self.s_w)
        return x * (share * self.channel_weights(x, maximum) + (1 - share) * temporal)


def _entropy(x: Tensor, dim: int) -> Tensor:
    """Entropy of the softmax along ``dim``, kept as one; finite where a probability underflows."""
    log_p = torch.log_softmax(x, dim=dim)
    return -(log_p.exp() * log_p).sum(dim=dim, keepdim=True)


def _relative(x: Tensor, dim: int) -> Tensor:
    """``x`` mapped to 0 … 1 along ``dim``; 0 where it does not vary."""
    lowest = x.amin(dim=dim, keepdim=True)
    spread = x.amax(dim=dim, keepdim=True) - lowest
    return (x - lowest) / spread.clamp_min(_SMALLEST_SPREAD)
