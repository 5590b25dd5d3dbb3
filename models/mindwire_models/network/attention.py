"""The eleven attention modules of AttentionBaseNet, by name, as Wimpff et al. 2023 (arXiv 2310.11198) compare them.

Each multiplies ``x``, ``(batch, channels, 1, n_times)``, by weights of the channels, and in some modes of the time steps, that
follow from a summary of ``x``. Parameters and buffers have braindecode's names, so that weights can be exchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mindwire_models.errors import ArgumentError

_GCT_EPS = 1e-5
# Entropies closer than this differ by float32 rounding alone; dividing by less would amplify rounding, or give 0/0.
SMALLEST_SPREAD = 1e-6


@dataclass(frozen=True, slots=True)
class AttentionOptions:
    """Arguments of the attention modules; each takes what it uses.

    Parameters
    ----------
    seq_len : int
        Time steps of the input, for modules with a weight per time step.
    reduction_rate : int
        Width of the input divided by that of a bottleneck.
    use_mlp : bool
        A bottleneck instead of a weight per channel (``ge``, ``srm``).
    freq_idx : int
        Index of the cosine that ``fca`` projects on.
    n_codewords : int
        Codewords of ``encnet``.
    kernel_size : int
        Taps of the convolution inside ``eca``, ``cbam`` and ``cat``; odd.
    extra_params : bool
        A learned gathering instead of the mean (``ge``).
    """

    channels: int
    seq_len: int
    reduction_rate: int = 4
    use_mlp: bool = False
    freq_idx: int = 0
    n_codewords: int = 4
    kernel_size: int = 9
    extra_params: bool = False

    @property
    def narrow(self) -> int:
        """Width of a bottleneck."""
        return self.channels // self.reduction_rate

    def bottleneck(self, *, bias: bool) -> nn.Sequential:
        """Make two pointwise convolutions across channels, by way of ``narrow``."""
        return nn.Sequential(
            nn.Conv2d(self.channels, self.narrow, 1, bias=bias),
            nn.ReLU(),
            nn.Conv2d(self.narrow, self.channels, 1, bias=bias),
        )


class _Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, 1, n_times)`` to the same shape."""
        return x * self._weights(x)

    def _weights(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class SqueezeAndExcitation(_Attention):
    """Squeeze-and-excitation (Hu et al. 2018, arXiv 1709.01507): ``x · σ(W₂ relu(W₁ mean_t x))``."""

    def __init__(self, options: AttentionOptions) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(options.channels, options.narrow, 1, bias=False)
        self.fc2 = nn.Conv2d(options.narrow, options.channels, 1, bias=False)

    def _weights(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.fc2(torch.relu(self.fc1(x.mean(dim=(-2, -1), keepdim=True)))))


class GSoP(_Attention):
    """Global second-order pooling (Gao et al. 2019, arXiv 1811.12006): weights from the covariance of a few mixed channels."""

    def __init__(self, options: AttentionOptions) -> None:
        super().__init__()
        narrow = options.narrow
        self.pw_conv1 = nn.Conv2d(options.channels, narrow, 1)
        self.bn = nn.BatchNorm2d(narrow)
        self.rw_conv = nn.Conv2d(narrow, narrow * 4, (narrow, 1), groups=narrow)
        self.pw_conv2 = nn.Conv2d(narrow * 4, options.channels, 1)

    def _weights(self, x: Tensor) -> Tensor:
        mixed = self.pw_conv1(x).squeeze(-2)
        mixed = mixed - mixed.mean(dim=-1, keepdim=True)
        # A single time step has no covariance; dividing by one then gives zero where 0/0 would give NaN.
        covariance = mixed @ mixed.transpose(1, 2) / max(mixed.shape[-1] - 1, 1)
        weights: Tensor = self.pw_conv2(self.rw_conv(self.bn(covariance.unsqueeze(-1))))
        return weights


class FCA(_Attention):
    """Frequency channel attention (Qin et al. 2021, arXiv 2012.11879): one cosine of the orthonormal DCT-II instead of the mean.

    The cosine has ``seq_len`` steps; of a longer input the first ones are summarised.
    """

    def __init__(self, options: AttentionOptions) -> None:
        super().__init__()
        channels, seq_len, freq_idx = options.channels, options.seq_len, options.freq_idx
        times = torch.arange(seq_len, dtype=torch.float64) + 0.5
        cosine = torch.cos(math.pi * freq_idx * times / seq_len) * math.sqrt((2 if freq_idx else 1) / seq_len)
        # A parameter, though never trained: that is where the published weights keep it.
        self.weight = nn.Parameter(cosine.float().repeat(channels, 1), requires_grad=False)
        self.fc = nn.Sequential(
            nn.Linear(channels, options.narrow, bias=False),
            nn.ReLU(),
            nn.Linear(options.narrow, channels, bias=False),
            nn.Sigmoid(),
        )

    def _weights(self, x: Tensor) -> Tensor:
        weights: Tensor = self.fc((x.squeeze(-2)[..., : self.weight.shape[-1]] * self.weight).sum(dim=-1))
        return weights[:, :, None, None]


class EncNet(_Attention):
    """Context encoding (Zhang et al. 2018, arXiv 1803.08904): weights from residuals to learned codewords, softly assigned."""

    def __init__(self, options: AttentionOptions) -> None:
        super().__init__()
        channels, n_codewords = options.channels, options.n_codewords
        bound = 1 / math.sqrt(n_codewords * channels)
        self.codewords = nn.Parameter(torch.empty(n_codewords, channels).uniform_(-bound, bound))
        self.smoothing = nn.Parameter(torch.empty(n_codewords).uniform_(-1, 0))
        self.bn = nn.BatchNorm1d(n_codewords)
        self.fc = nn.Linear(channels, channels)

    def _weights(self, x: Tensor) -> Tensor:
        steps = x.squeeze(-2).transpose(1, 2)
        residuals = steps.unsqueeze(2) - self.codewords  # (batch, n_times, n_codewords, channels)
        assignment = torch.softmax(self.smoothing * residuals.square().sum(dim=-1), dim=-1)
        encoded = (assignment.unsqueeze(-1) * residuals).sum(dim=1)
        summary = torch.relu(self.bn(encoded)).mean(dim=1)
        return torch.sigmoid(self.fc(summary))[:, :, None, None]


class ECA(_Attention):
    """Efficient channel attention (Wang et al. 2020, arXiv 1910.03151): a convolution along the channels of their means."""

    def __init__(self, options: AttentionOptions) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, options.kernel_size, padding=options.kernel_size // 2, bias=False)

    def _weights(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.conv(x.mean(dim=(-2, -1)).unsqueeze(1))).squeeze(1)[:, :, None, None]


class GatherExcite(_Attention):
    """Gather-excite (Hu et al. 2018, arXiv 1810.12348): gates from each channel's context, its mean or by learned taps."""

    def __init__(self, options: AttentionOptions) -> None:
        super().__init__()
        channels, self.seq_len, self.extra_params = options.channels, options.seq_len, options.extra_params
        self.gather: nn.Module = nn.AdaptiveAvgPool2d(1)
        if options.extra_params:
            self.gather = nn.Sequential(
                nn.Conv2d(channels, channels, (1, options.seq_len), groups=channels, bias=False),
                nn.BatchNorm2d(channels),
            )
        self.mlp = options.bottleneck(bias=False) if options.use_mlp else nn.Identity()

    def _weights(self, x: Tensor) -> Tensor:
        # An even temporal filter before this module lengthens the sequence by one step, which the taps do not span.
        return torch.sigmoid(self.mlp(self.gather(x[..., : self.seq_len] if self.extra_params else x)))


class GCT(_Attention):
    """Gated channel transformation (Yang et al. 2020, arXiv 1909.11519): channels compete or cooperate by their l2 norms."""

    def __init__(self, options: AttentionOptions) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, options.channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, options.channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, options.channels, 1, 1))

    def _weights(self, x: Tensor) -> Tensor:
        norm = (x.square().sum(dim=(-2, -1), keepdim=True) + _GCT_EPS).sqrt() * self.alpha
        relative = norm * self.gamma / (norm.square().mean(dim=1, keepdim=True) + _GCT_EPS).sqrt()
        return 1 + torch.tanh(relative + self.beta)


class SRM(_Attention):
    """Style-based recalibration (Lee et al. 2019, arXiv 1903.10829): weights from each channel's mean and deviation."""

    def __init__(self, options: AttentionOptions) -> None:
        super().__init__()
        channels, narrow = options.channels, 2 * options.channels // options.reduction_rate
        self.style_integration: nn.Module
        if options.use_mlp:
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

    def _weights(self, x: Tensor) -> Tensor:
        steps = x.squeeze(-2)
        # A single time step has no sample deviation: zero, not NaN.
        spread = steps.std(dim=-1, correction=min(1, steps.shape[-1] - 1))
        style = torch.stack([steps.mean(dim=-1), spread], dim=-1)
        return torch.sigmoid(self.bn(self.style_integration(style))).unsqueeze(-1)


class CBAM(_Attention):
    """Convolutional block attention (Woo et al. 2018, arXiv 1807.06521): weights of channels, then of time steps."""

    def __init__(self, options: AttentionOptions) -> None:
        super().__init__()
        self.fc = options.bottleneck(bias=False)
        self.conv = nn.Conv2d(2, 1, (1, options.kernel_size), padding=(0, options.kernel_size // 2))

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, 1, n_times)`` to the same shape."""
        average = x.mean(dim=(-2, -1), keepdim=True)
        largest = x.amax(dim=(-2, -1), keepdim=True)
        x = x * torch.sigmoid(self.fc(average) + self.fc(largest))
        over_channels = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.conv(over_channels))


class CATLite(_Attention):
    """Collaborative attention (Wu et al. 2023, arXiv 2212.06335) of channels, from mean, smoothed maximum and entropy."""

    def __init__(self, options: AttentionOptions, *, bias: bool = True) -> None:
        super().__init__()
        # Gaussian of standard deviation one; a parameter, though never trained, as in the published weights.
        taps = torch.softmax(-0.5 * torch.arange(-2.0, 3.0).square(), dim=0)
        self.gauss_filter = nn.Conv2d(1, 1, (1, 5), padding=(0, 2), bias=False)
        self.gauss_filter.weight = nn.Parameter(taps.view(1, 1, 1, 5), requires_grad=False)
        self.mlp = options.bottleneck(bias=bias)
        self.c_alpha = nn.Parameter(torch.zeros(1))
        self.c_beta = nn.Parameter(torch.zeros(1))
        self.c_gamma = nn.Parameter(torch.zeros(1))

    def _smoothed_maximum(self, x: Tensor) -> Tensor:
        """Largest value of each channel after Gaussian smoothing, ``(batch, channels, 1, 1)``."""
        blurred: Tensor = self.gauss_filter(x.transpose(1, 2))
        return blurred.transpose(1, 2).amax(dim=(-2, -1), keepdim=True)

    def _channel_weights(self, x: Tensor, maximum: Tensor) -> Tensor:
        """A weight per channel in (0, 1), ``(batch, channels, 1, 1)``."""
        mean = self.mlp(x.mean(dim=(-2, -1), keepdim=True))
        entropy = self.mlp(_relative(_entropy(x, dim=-1), dim=1))
        return torch.sigmoid(mean * self.c_alpha + self.mlp(maximum) * self.c_beta + entropy * self.c_gamma)

    def _weights(self, x: Tensor) -> Tensor:
        return self._channel_weights(x, self._smoothed_maximum(x))


class CAT(CATLite):
    """Collaborative attention (Wu et al. 2023, arXiv 2212.06335) of channels and time steps, mixed by two learned shares."""

    def __init__(self, options: AttentionOptions) -> None:
        super().__init__(options, bias=False)
        width, taps = options.channels, options.kernel_size
        self.conv = nn.Conv2d(width, width, (1, taps), padding=(0, taps // 2), bias=False)
        self.s_alpha = nn.Parameter(torch.zeros(1))
        self.s_beta = nn.Parameter(torch.zeros(1))
        self.s_gamma = nn.Parameter(torch.zeros(1))
        self.c_w = nn.Parameter(torch.zeros(1))
        self.s_w = nn.Parameter(torch.zeros(1))

    def _weights(self, x: Tensor) -> Tensor:
        maximum = self._smoothed_maximum(x)
        entropy = _relative(_entropy(x, dim=1), dim=-1)
        score = entropy * self.s_gamma + maximum * self.s_beta - x.mean(dim=1, keepdim=True) * self.s_alpha
        temporal = torch.sigmoid(self.conv(score))
        share = torch.sigmoid(self.c_w - self.s_w)
        return share * self._channel_weights(x, maximum) + (1 - share) * temporal


def _entropy(x: Tensor, dim: int) -> Tensor:
    """Entropy of the softmax along ``dim``, kept as one; finite where a probability underflows."""
    log_p = torch.log_softmax(x, dim=dim)
    return -(log_p.exp() * log_p).sum(dim=dim, keepdim=True)


def _relative(x: Tensor, dim: int) -> Tensor:
    """``x`` mapped to 0 … 1 along ``dim``; 0 where it does not vary."""
    lowest = x.amin(dim=dim, keepdim=True)
    spread = x.amax(dim=dim, keepdim=True) - lowest
    return (x - lowest) / spread.clamp_min(SMALLEST_SPREAD)


_MODULES: Mapping[str, Callable[[AttentionOptions], nn.Module]] = {
    "se": SqueezeAndExcitation,
    "gsop": GSoP,
    "fca": FCA,
    "encnet": EncNet,
    "eca": ECA,
    "ge": GatherExcite,
    "gct": GCT,
    "srm": SRM,
    "cbam": CBAM,
    "cat": CAT,
    "catlite": CATLite,
}

ATTENTION_MODES: tuple[str, ...] = tuple(_MODULES)
"""Names of the attention modes; None, beside them, means no attention."""


def build_attention(mode: str, options: AttentionOptions) -> nn.Module:
    """Make the attention module of that name, one of :data:`ATTENTION_MODES`; an ArgumentError refuses options that it cannot have."""
    if not isinstance(mode, str) or mode not in _MODULES:
        msg = f"attention_mode must be None or one of {', '.join(ATTENTION_MODES)}; found {mode!r}."
        raise ArgumentError(msg)
    narrows = mode in {"se", "gsop", "fca", "cbam", "cat", "catlite"} or (mode in {"ge", "srm"} and options.use_mlp)
    width = options.channels * (2 if mode == "srm" else 1)
    if narrows and options.reduction_rate > width:
        msg = (
            f"reduction_rate={options.reduction_rate} leaves attention mode {mode!r} without channels; "
            f"it may be at most {width} with ch_dim={options.channels}."
        )
        raise ArgumentError(msg)
    if mode in {"eca", "cbam", "cat"} and options.kernel_size % 2 == 0:
        msg = f"kernel_size must be odd for attention mode {mode!r}, so that lengths are kept; found {options.kernel_size}."
        raise ArgumentError(msg)
    if mode == "fca" and options.freq_idx >= options.seq_len:
        msg = (
            f"freq_idx={options.freq_idx} is no cosine of a sequence of {options.seq_len} time steps; "
            f"choose 0 to {options.seq_len - 1}."
        )
        raise ArgumentError(msg)
    return _MODULES[mode](options)
