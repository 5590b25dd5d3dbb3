"""Attention modules that differ in how they summarise a channel (the squeeze).

In all of them ``x`` is ``(batch, channels, 1, n_times)``, and a channel's weight follows from a summary of all
channels through a bottleneck. The references are those of Wimpff et al. 2023, arXiv 2310.11198.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def bottleneck(channels: int, reduction_rate: int, *, bias: bool) -> nn.Sequential:
    """Two pointwise convolutions across channels, by way of ``channels // reduction_rate``."""
    narrow = channels // reduction_rate
    return nn.Sequential(
        nn.Conv2d(channels, narrow, 1, bias=bias), nn.ReLU(), nn.Conv2d(narrow, channels, 1, bias=bias)
    )


class SqueezeAndExcitation(nn.Module):
    """Squeeze-and-excitation: ``x · σ(W₂ relu(W₁ mean_t x))``.

    Hu et al. 2018, "Squeeze-and-excitation networks", arXiv 1709.01507.
    """

    def __init__(self, channels: int, reduction_rate: int) -> None:
        super().__init__()
        narrow = channels // reduction_rate
        self.fc1 = nn.Conv2d(channels, narrow, 1, bias=False)
        self.fc2 = nn.Conv2d(narrow, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, 1, n_times)`` to the same shape."""
        summary = x.mean(dim=(-2, -1), keepdim=True)
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(summary))))


class GSoP(nn.Module):
    """Global second-order pooling: weights from the covariance of a few mixed channels.

    Gao et al. 2019, "Global second-order pooling convolutional networks", arXiv 1811.12006.
    """

    def __init__(self, channels: int, reduction_rate: int) -> None:
        super().__init__()
        narrow = channels // reduction_rate
        self.pw_conv1 = nn.Conv2d(channels, narrow, 1)
        self.bn = nn.BatchNorm2d(narrow)
        self.rw_conv = nn.Conv2d(narrow, narrow * 4, (narrow, 1), groups=narrow)
        self.pw_conv2 = nn.Conv2d(narrow * 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, 1, n_times)`` to the same shape."""
        mixed = self.pw_conv1(x).squeeze(-2)
        mixed = mixed - mixed.mean(dim=-1, keepdim=True)
        # A single time step has no covariance; dividing by one then gives zero where 0/0 would give NaN.
        covariance = mixed @ mixed.transpose(1, 2) / max(mixed.shape[-1] - 1, 1)
        weights: Tensor = self.pw_conv2(self.rw_conv(self.bn(covariance.unsqueeze(-1))))
        return x * weights


class FCA(nn.Module):
    """Frequency channel attention: squeeze-and-excitation on one cosine of the orthonormal DCT-II instead of the mean.

    The cosine has ``seq_len`` steps; of a longer input the first ones are summarised.

    Qin et al. 2021, "FcaNet: frequency channel attention networks", arXiv 2012.11879.
    """

    def __init__(self, channels: int, seq_len: int, reduction_rate: int, freq_idx: int) -> None:
        super().__init__()
        narrow = channels // reduction_rate
        times = torch.arange(seq_len, dtype=torch.float64) + 0.5
        cosine = torch.cos(math.pi * freq_idx * times / seq_len) * math.sqrt((2 if freq_idx else 1) / seq_len)
        # A parameter, though never trained: that is where the published weights keep it.
        self.weight = nn.Parameter(cosine.float().repeat(channels, 1), requires_grad=False)
        self.fc = nn.Sequential(
            nn.Linear(channels, narrow, bias=False),
            nn.ReLU(),
            nn.Linear(narrow, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, 1, n_times)`` to the same shape."""
        summary = (x.squeeze(-2)[..., : self.weight.shape[-1]] * self.weight).sum(dim=-1)
        weights: Tensor = self.fc(summary)
        return x * weights[:, :, None, None]


class EncNet(nn.Module):
    """Context encoding: weights from residuals to learned codewords, softly assigned.

    Zhang et al. 2018, "Context encoding for semantic segmentation", arXiv 1803.08904.
    """

    def __init__(self, channels: int, n_codewords: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(n_codewords * channels)
        self.codewords = nn.Parameter(torch.empty(n_codewords, channels).uniform_(-bound, bound))
        self.smoothing = nn.Parameter(torch.empty(n_codewords).uniform_(-1, 0))
        self.bn = nn.BatchNorm1d(n_codewords)
        self.fc = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, 1, n_times)`` to the same shape."""
        steps = x.squeeze(-2).transpose(1, 2)
        residuals = steps.unsqueeze(2) - self.codewords  # (batch, n_times, n_codewords, channels)
        assignment = torch.softmax(self.smoothing * residuals.square().sum(dim=-1), dim=-1)
        encoded = (assignment.unsqueeze(-1) * residuals).sum(dim=1)
        summary = torch.relu(self.bn(encoded)).mean(dim=1)
        weights = torch.sigmoid(self.fc(summary))
        return x * weights[:, :, None, None]
