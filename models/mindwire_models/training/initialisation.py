"""Initial weights: Glorot's random ones, or the tangent-space classifier written into the network.

To first order around the reference a tangent-space classifier is a weighted sum of the powers of a few spatial filters, the
eigenvectors of its coefficients; and AttentionBaseNet can compute that: spatial filter, rectifying activation, average over
time, curved by the next activation. So a network trained on ten minutes of one person begins as good as that classifier and
learns from the trials what the classifier cannot express.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mindwire_models.network.attention import GSoP
from mindwire_models.network.attentionbasenet import AttentionBaseNet
from mindwire_models.network.riemann import TangentSpaceNetwork, covariances, fit_tangent_space
from mindwire_models.training.fast_training import fast_features, fast_forward, fast_stem
from mindwire_models.training.trials import TrialWindows

# Shifts of normalised values: to the left, where only excursions pass the activation, so that its mean follows the
# power; by one to the right, where it curves as the logarithm does; by three, where it is nearly the identity.
_RECTIFYING_SHIFT = -1.0
_LOGARITHMIC_SHIFT = 1.0
_LINEAR_SHIFT = 3.0
# Factors of the random weights outside the classifier, and inside the attention.
_RANDOM_SHARE = 0.3
_OPEN_SHARE = 0.1
# Upper bound of the slope over the logarithm of the power; dividing by a flatter one would amplify noise.
_LEAST_RESPONSE = -0.1
_LEAST_LOGIT = -8.0
_BATCH = 64
_MOST_WINDOWS = 2048


def initialise_at_random(network: AttentionBaseNet) -> None:
    """Glorot's uniform initialisation of every convolution and linear layer, as the authors' training does."""
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@torch.no_grad()
def initialise_from_tangent_space(network: AttentionBaseNet, data: TrialWindows) -> None:
    """Write the tangent-space classifier of some trials into a randomly initialised network.

    Random weights stay where the classifier needs none, smaller in the last layers. Only the classifier is fitted: each
    filter's share in the logits is known, so ten trials are as good as a thousand. Errors are those of
    :func:`fit_tangent_space`.
    """
    weights = 1 / np.bincount(data.trial)[data.trial]
    share = weights / weights.sum()
    classifier = fit_tangent_space(data.windows, data.labels[data.trial], network.n_outputs, weights=weights)
    # A class that never occurred has a logit far below the others; it teaches nothing.
    logits = np.maximum(classifier.logits(data.windows), _LEAST_LOGIT)
    settling = spread_out(data.windows)
    _open_attention(network)
    # At most one per spatial filter and per channel after the expansion.
    room = [
        len(network.get_parameter(f"{name}.weight")) for name in ("input_block.spatial_conv", "channel_expansion.0")
    ]
    filters, effects = tangent_space_filters(classifier, min(room))
    _write_filters(network, filters)
    settle_statistics(network, settling)
    _write_powers(network, len(filters))
    settle_statistics(network, settling)
    powers = _in_parts(lambda x: network.channel_expansion(fast_stem(network.input_block, x)), data.windows)
    response = _slopes(_log_powers(filters, data.windows), powers[:, : len(filters)], share)
    _write_mixture(network, effects / np.minimum(response, _LEAST_RESPONSE))
    settle_statistics(network, settling)
    features = _in_parts(lambda x: fast_features(network, x), data.windows)[:, : network.n_outputs]
    slopes = _slopes(features, logits, share)
    _write_head(network, slopes, share @ logits - slopes * (share @ features))


@torch.no_grad()
def settle_statistics(network: AttentionBaseNet, windows: NDArray[np.float32]) -> None:
    """Set the running statistics of every BatchNorm to those of windows ``(n_windows, n_chans, n_times)``, without dropout."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    network.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over all batches
    for part in torch.split(torch.from_numpy(windows), _BATCH):
        if len(part) > 1:
            fast_forward(network, part)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def spread_out(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return at most 2048 windows, in an order in which each batch comes from all parts of the recordings."""
    count = min(len(windows), _MOST_WINDOWS)
    chosen = np.linspace(0, len(windows) - 1, count).round().astype(int)
    n_batches = max(1, round(count / _BATCH))
    return np.ascontiguousarray(windows[np.concatenate([chosen[i::n_batches] for i in range(n_batches)])])


def tangent_space_filters(
    classifier: TangentSpaceNetwork, most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return at most ``most`` spatial filters whose powers a classifier weighs: eigenvectors of its coefficients, unwhitened.

    Returns
    -------
    filters : ndarray of float64, shape (n_filters, n_chans)
        Of unit length, those with the largest effects first.
    effects : ndarray of float64, shape (n_classes, n_filters)
        Slope of a class's logit, to first order, over the logarithm of a filter's power.
    """
    n_classes, n_chans = classifier.n_outputs, classifier.n_chans
    values, vectors = np.linalg.eigh(classifier.coefficients.double().numpy())
    filters = (classifier.whitening.double().numpy() @ vectors).swapaxes(1, 2).reshape(-1, n_chans)
    effects = np.repeat(np.eye(n_classes), n_chans, axis=1) * values.reshape(-1)
    if n_classes == 2:  # the classes' coefficients are opposite, so their filters are the same
        filters, effects = filters[:n_chans], np.stack([values[0], -values[0]])
    sizes = np.abs(effects).max(axis=0)
    kept = np.argsort(-sizes, kind="stable")[: min(most, np.count_nonzero(sizes))]
    return filters[kept] / np.linalg.norm(filters[kept], axis=1, keepdims=True), effects[:, kept]


def _open_attention(network: AttentionBaseNet) -> None:
    """Make the initial attention nearly equal for all channels and windows, so that the classifier passes it."""
    block = network.channel_attention_block.attention_block
    for module in [] if block is None else block.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d):
            for parameter in module.parameters(recurse=False):
                if parameter.requires_grad:
                    parameter.mul_(_OPEN_SHARE)
    if isinstance(block, GSoP):  # its weights pass no sigmoid, whose middle is open enough
        block.get_parameter("pw_conv2.bias").fill_(1.0)


def _write_filters(network: AttentionBaseNet, filters: NDArray[np.float64]) -> None:
    """Put spatial filters first."""
    stem = network.input_block
    taps, mixing = stem.temporal_conv.weight, stem.spatial_conv.weight
    mixing[: len(filters), 0, :, 0] = torch.from_numpy(filters)
    # The contract has filtered the signal already: a unit impulse passes it unchanged.
    passing = -(-len(filters) // (len(mixing) // len(taps)))
    taps[:passing] = 0
    taps[:passing, 0, 0, taps.shape[-1] // 2] = 1
    stem.bn.bias[: len(filters)] = _RECTIFYING_SHIFT


def _write_powers(network: AttentionBaseNet, n_filters: int) -> None:
    """Write one channel per filter that falls with its power and levels off, as the logarithm does.

    The activation is nearly linear above zero and levels off below: the negative power, shifted up a little, becomes a
    falling, bounded function of the power.
    """
    expansion = network.get_parameter("channel_expansion.0.weight")
    depthwise = network.get_parameter("channel_attention_block.conv.0.weight")
    expansion.mul_(_RANDOM_SHARE)
    expansion[:n_filters] = 0
    expansion[:n_filters, :n_filters, 0, 0] = -torch.eye(n_filters)
    network.get_parameter("channel_expansion.1.bias")[:n_filters] = _LOGARITHMIC_SHIFT
    depthwise[:n_filters] = 0
    depthwise[:n_filters, 0, 0, depthwise.shape[-1] // 2] = 1


def _write_mixture(network: AttentionBaseNet, coefficients: NDArray[np.float64]) -> None:
    """Write one channel per class that holds its weighted sum of the powers."""
    k, n_filters = coefficients.shape
    pointwise = network.get_parameter("channel_attention_block.conv.1.weight")
    sizes = np.maximum(np.linalg.norm(coefficients, axis=1, keepdims=True), 1e-12)
    pointwise[:k] = 0
    pointwise[:k, :n_filters, 0, 0] = torch.from_numpy(coefficients / sizes)
    network.get_parameter("channel_attention_block.conv.2.bias")[:k] = _LINEAR_SHIFT


def _write_head(network: AttentionBaseNet, slopes: NDArray[np.float64], intercept: NDArray[np.float64]) -> None:
    """Give each class the slope of its channel's mean over time."""
    k = network.n_outputs
    width = len(network.get_parameter("channel_expansion.0.weight"))
    weight = network.get_parameter("final_layer.1.weight").view(k, width, -1)
    weight.mul_(_RANDOM_SHARE**2)
    weight[:, :k] = torch.diag(torch.from_numpy(slopes).float())[:, :, None] / weight.shape[-1]
    network.get_parameter("final_layer.1.bias").copy_(torch.from_numpy(intercept))


def _in_parts(compute: Callable[[Tensor], Tensor], windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean over time of a part of the network's output, ``(n_windows, channels)``."""
    parts = [compute(part).mean(dim=(2, 3)) for part in torch.split(torch.from_numpy(windows), _BATCH)]
    return np.asarray(torch.cat(parts).double().numpy())


def _log_powers(filters: NDArray[np.float64], windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Logarithm of the power of each window after each filter, ``(n_windows, n_filters)``."""
    return np.asarray(np.log(np.einsum("fi,bij,fj->bf", filters, covariances(windows), filters, optimize=True)))


def _slopes(x: NDArray[np.float64], y: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slope of each column of ``y`` on the same column of ``x``; 0 where ``x`` does not change."""
    x, y = x - share @ x, y - share @ y
    return np.asarray(share @ (x * y) / np.maximum(share @ x**2, np.finfo(np.float64).tiny))
