"""Augmentation of training windows that respects physiology.

It follows the whitening, after which channels have unit variance and are uncorrelated on average. Time shifts are not among
it: they come from the windows slid over each trial.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Augmentations and their strengths; the default is none besides sliding windows.

    Parameters
    ----------
    covariance_jitter : float
        Each window's channels are mixed by ``I + covariance_jitter · N / sqrt(n_chans)`` with a symmetric
        Gaussian ``N``: the alignment of another minute.
    recombination : int
        Number of segments that windows are cut into to be exchanged within a class, in half of all windows
        (Lotte 2015); none below 2.
    mixup : float
        Parameter of the Beta distribution by which two windows and their labels are mixed (Zhang et al. 2018);
        none at 0.
    channel_dropout : float
        Probability that a channel of a window is set to 0.
    """

    covariance_jitter: float = 0.0
    recombination: int = 0
    mixup: float = 0.0
    channel_dropout: float = 0.0


def augment(x: Tensor, target: Tensor, how: Augmentation) -> tuple[Tensor, Tensor]:
    """Return an augmented batch: windows ``(batch, n_chans, n_times)`` and one-hot labels ``(batch, n_classes)``."""
    if how.recombination > 1:
        x = _recombined(x, target.argmax(dim=1), how.recombination)
    if how.covariance_jitter:
        x = _jittered(x, how.covariance_jitter)
    if how.channel_dropout:
        x = x * (torch.rand(*x.shape[:2], 1) >= how.channel_dropout)
    if how.mixup:
        x, target = _mixed(x, target, how.mixup)
    return x, target


def _recombined(x: Tensor, labels: Tensor, n_segments: int) -> Tensor:
    """Replace each segment of a chosen window by the same segment of a window of the same class."""
    x, source = x.clone(), x
    chosen = torch.rand(len(x)) < 0.5
    edges = torch.linspace(0, x.shape[-1], n_segments + 1).round().long().tolist()
    for label in torch.unique(labels):
        members = (labels == label).nonzero()[:, 0]
        changed = members[chosen[members]]
        for start, stop in pairwise(edges):
            donors = members[torch.randint(len(members), (len(changed),))]
            x[changed, :, start:stop] = source[donors, :, start:stop]
    return x


def _jittered(x: Tensor, strength: float) -> Tensor:
    noise = torch.randn(len(x), x.shape[1], x.shape[1])
    mixing = torch.eye(x.shape[1]) + strength / math.sqrt(2 * x.shape[1]) * (noise + noise.mT)
    return torch.bmm(mixing, x)


def _mixed(x: Tensor, target: Tensor, parameter: float) -> tuple[Tensor, Tensor]:
    share = torch.distributions.Beta(parameter, parameter).sample((len(x),))
    other = torch.randperm(len(x))
    # Powers add, amplitudes do not: the mixture keeps the variance.
    kept, added = share.sqrt()[:, None, None], (1 - share).sqrt()[:, None, None]
    target = share[:, None] * target + (1 - share)[:, None] * target[other]
    return kept * x + added * x[other], target
