"""Augmentation of training windows that respects physiology.

Everything happens after whitening, where channels have unit variance and are uncorrelated on average;
what is changed is what changes between recordings anyway. Time shifts need nothing here: they come from
the windows slid over each trial.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Which augmentations, and how strong; the default is none beyond sliding windows.

    Parameters
    ----------
    covariance_jitter : float
        Each window's channels are mixed by ``I + covariance_jitter · N / sqrt(n_chans)`` with a symmetric
        Gaussian ``N``: the alignment of another minute.
    recombination : int
        Windows are cut into so many segments, and segments exchanged within a class, in half of all windows
        (Lotte 2015); 0 or 1 does not.
    mixup : float
        Parameter of the Beta distribution by which two windows and their labels are mixed (Zhang et al. 2018);
        0 does not.
    channel_dropout : float
        Probability that a channel of a window is silenced.
    mirror : tuple of int, optional
        Permutation of the channels that exchanges left and right; with it, half of all windows are mirrored.
    mirror_classes : tuple of int, optional
        Class that each class becomes in the mirror; both permutations are their own inverse.
    """

    covariance_jitter: float = 0.0
    recombination: int = 0
    mixup: float = 0.0
    channel_dropout: float = 0.0
    mirror: tuple[int, ...] | None = None
    mirror_classes: tuple[int, ...] | None = None


def augment(x: Tensor, target: Tensor, how: Augmentation) -> tuple[Tensor, Tensor]:
    """Augment a batch; the inputs are left as they are.

    Parameters
    ----------
    x : Tensor, shape (batch, n_chans, n_times)
    target : Tensor, shape (batch, n_classes)
        One-hot.
    how : Augmentation

    Returns
    -------
    x : Tensor, shape (batch, n_chans, n_times)
    target : Tensor, shape (batch, n_classes)
    """
    if how.mirror is not None and how.mirror_classes is not None:
        x, target = _mirrored(x, target, how.mirror, how.mirror_classes)
    if how.recombination > 1:
        x = _recombined(x, target.argmax(dim=1), how.recombination)
    if how.covariance_jitter:
        x = _jittered(x, how.covariance_jitter)
    if how.channel_dropout:
        x = x * (torch.rand(*x.shape[:2], 1) >= how.channel_dropout)
    if how.mixup:
        x, target = _mixed(x, target, how.mixup)
    return x, target


def _mirrored(x: Tensor, target: Tensor, channels: tuple[int, ...], classes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    chosen = torch.rand(len(x)) < 0.5
    x = torch.where(chosen[:, None, None], x[:, list(channels)], x)
    return x, torch.where(chosen[:, None], target[:, list(classes)], target)


def _recombined(x: Tensor, labels: Tensor, n_segments: int) -> Tensor:
    """Each segment of a chosen window comes from a window of the same class, of the same time in it."""
    x, source = x.clone(), x
    chosen = torch.rand(len(x)) < 0.5
    edges = torch.linspace(0, x.shape[-1], n_segments + 1).round().long().tolist()
    for label in torch.unique(labels):
        members = (labels == label).nonzero()[:, 0]
        places = members[chosen[members]]
        for start, stop in pairwise(edges):
            donors = members[torch.randint(len(members), (len(places),))]
            x[places, :, start:stop] = source[donors, :, start:stop]
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
