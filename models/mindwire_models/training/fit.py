"""Training of the network on arrays: the paper's recipe, augmentation that respects physiology, calibrated probabilities.

A trial is all the windows slid over it; each epoch draws one window of each trial at random, so that long trials neither
dominate nor are memorised.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from mindwire_models.errors import ArgumentError, TooFewTrialsError
from mindwire_models.network.attentionbasenet import AttentionBaseNet
from mindwire_models.training.augmentation import Augmentation, augment
from mindwire_models.training.fast_training import fast_forward
from mindwire_models.training.initialisation import (
    initialise_at_random,
    initialise_from_tangent_space,
    settle_statistics,
    spread_out,
)
from mindwire_models.training.trials import Progress, TrialWindows

_SMALLEST_BATCH = 8
_PREDICT_BATCH = 64
_POOLS = 10  # of the stem in a window


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of a training; ``balanced`` weighs classes so that each counts the same.

    Of a network that is trained on, ``keep_stem`` leaves the filters before the first pool as they are, and ``keep_statistics`` the
    statistics of BatchNorm, which a few trials estimate badly.

    The defaults are those of Wimpff et al. 2023 (Adam at 1e-3, linear warm-up, cosine decay, batches of 64)
    with fewer epochs; :data:`CALIBRATION` is what suits the trials of one person.
    """

    epochs: int = 200
    warmup_epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    balanced: bool = True
    augmentation: Augmentation = field(default_factory=Augmentation)
    initialisation: Literal["tangent_space", "random"] = "random"
    keep_stem: bool = False
    keep_statistics: bool = False
    seed: int = 0

    def rate(self, epoch: int) -> float:
        """Factor of the learning rate in an epoch counted from 0: linear warm-up, then a half cosine."""
        if epoch < self.warmup_epochs:
            return (epoch + 1) / (self.warmup_epochs + 1)
        done = (epoch - self.warmup_epochs) / max(self.epochs - self.warmup_epochs, 1)
        return 0.5 * (1 + math.cos(math.pi * done))


# Few and small steps from the tangent-space classifier: larger ones gain within a day what they lose on the next.
CALIBRATION = Recipe(epochs=30, warmup_epochs=5, learning_rate=3e-5, initialisation="tangent_space")
# From a network's own weights; docs/training.md has the comparison.
FINE_TUNING = Recipe(epochs=30, warmup_epochs=5, learning_rate=1e-3)
# From a network of other people, whose filters and statistics a few trials do not improve; docs/training.md has the comparison.
TRANSFER = Recipe(epochs=10, warmup_epochs=2, learning_rate=3e-3, keep_stem=True, keep_statistics=True)


def train_network(
    data: TrialWindows,
    n_outputs: int,
    recipe: Recipe,
    *,
    network_arguments: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> AttentionBaseNet:
    """Train a network from scratch, on the windows without bursts; the same data, recipe and machine give the same weights.

    Raises
    ------
    ArgumentError
        There are too few trials for a batch, the network cannot be built so, or the recipe keeps parts of an earlier network.
    """
    if recipe.keep_stem or recipe.keep_statistics:
        msg = "A network that is trained from scratch has nothing to keep; leave out keep_stem and keep_statistics."
        raise ArgumentError(msg)
    data = _enough(data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = AttentionBaseNet(
            n_chans=data.windows.shape[1],
            n_times=data.windows.shape[2],
            n_outputs=n_outputs,
            **(network_arguments or {}),
        )
        initialise_at_random(network)
        if recipe.initialisation == "tangent_space":
            initialise_from_tangent_space(network, data)
        _fit(network, data, n_outputs, recipe, progress)
        # The running averages stem from earlier weights and dropout; these are of the final network.
        settle_statistics(network, spread_out(data.windows))
    return network.eval()


def fine_tune(
    network: AttentionBaseNet,
    data: TrialWindows,
    earlier: TrialWindows | None = None,
    recipe: Recipe = FINE_TUNING,
    progress: Progress | None = None,
) -> AttentionBaseNet:
    """Train a copy of a network on, from its own weights; its statistics are then of these trials and, if given, ``earlier`` ones, or kept.

    An ArgumentError says that there are too few trials for a batch.
    """
    data = _enough(data)
    network = copy.deepcopy(network)
    network.input_block.requires_grad_(not recipe.keep_stem)
    known = data.windows if earlier is None else np.concatenate([earlier.without_bursts().windows, data.windows])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        _fit(network, data, network.n_outputs, recipe, progress)
        if not recipe.keep_statistics:
            settle_statistics(network, spread_out(known))
    network.input_block.requires_grad_()
    return network.eval()


def _enough(data: TrialWindows) -> TrialWindows:
    """Return the windows without bursts; refuse too few trials."""
    data = data.without_bursts()
    if len(data.labels) < _SMALLEST_BATCH:
        msg = f"Training needs at least {_SMALLEST_BATCH} trials, found {len(data.labels)}; record more."
        raise TooFewTrialsError(msg)
    return data


def scaled_arguments(n_times: int) -> dict[str, Any]:
    """Return arguments for little data: a channel per filter, less dropout, and pools that weigh all samples the same.

    The published pool of 75 samples has a stride of 15, so that the middle of a window counts five times as much as its ends.
    Here the stride is the pool's length, a tenth of the window, and the second pool averages all steps.
    """
    length = max(1, n_times // _POOLS)
    steps = n_times // length
    return {
        "ch_dim": AttentionBaseNet.default_config()["n_temporal_filters"],
        "pool_length_inp": length,
        "pool_stride_inp": length,
        "pool_length": steps,
        "pool_stride": steps,
        "drop_prob_inp": 0.25,
        "drop_prob_attn": 0.25,
    }


def _fit(
    network: AttentionBaseNet, data: TrialWindows, n_outputs: int, recipe: Recipe, progress: Progress | None
) -> None:
    windows = torch.from_numpy(np.ascontiguousarray(data.windows))
    labels = torch.from_numpy(data.labels.astype(np.int64))
    by_trial = torch.from_numpy(np.argsort(data.trial, kind="stable"))
    counts = torch.from_numpy(np.bincount(data.trial))
    starts = torch.cumsum(counts, 0) - counts
    weights = class_weights(data.labels, n_outputs) if recipe.balanced else np.ones(n_outputs)
    weight = torch.from_numpy(weights.astype(np.float32))
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.rate)
    network.train()
    if recipe.keep_statistics:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.eval()
    for epoch in range(recipe.epochs):
        drawn = by_trial[starts + (torch.rand(len(labels)) * counts).long()]
        # Batches of nearly equal size, none of them too small for BatchNorm.
        n_batches = max(1, round(len(labels) / recipe.batch_size))
        for batch in torch.randperm(len(labels)).tensor_split(n_batches):
            x, target = windows[drawn[batch]], functional.one_hot(labels[batch], n_outputs).float()
            x, target = augment(x, target, recipe.augmentation)
            smooth = target * (1 - recipe.label_smoothing) + recipe.label_smoothing / n_outputs
            losses = -(smooth * functional.log_softmax(fast_forward(network, x), dim=1)).sum(dim=1)
            of_class = (target * weight).sum(dim=1)
            loss = (losses * of_class).sum() / of_class.sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
        if progress is not None:
            progress(epoch + 1, recipe.epochs)


def class_weights(labels: NDArray[np.intp], n_classes: int) -> NDArray[np.float64]:
    """Return weights, ``(n_classes,)``, that balance the classes present, with mean 1 over the trials."""
    counts = np.bincount(labels, minlength=n_classes)
    present = counts > 0
    weights = np.zeros(n_classes)
    weights[present] = len(labels) / (present.sum() * counts[present])
    return weights


def predict_logits(network: AttentionBaseNet, windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return logits, ``(n_windows, n_classes)``, of windows ``(n_windows, n_chans, n_times)`` in evaluation mode."""
    if not len(windows):
        return np.empty((0, network.n_outputs), dtype=np.float32)
    network.eval()
    with torch.inference_mode():
        parts = [fast_forward(network, part) for part in torch.split(torch.from_numpy(windows), _PREDICT_BATCH)]
    return np.asarray(torch.cat(parts).numpy())


def fit_temperature(logits: NDArray[np.floating[Any]], labels: NDArray[np.intp], n_trials: int | None = None) -> float:
    """Fit the softmax temperature, 0.05 to 20, by the likelihood of labels ``(n_windows,)``; 1 without any (Guo et al. 2017).

    The ``logits``, ``(n_windows, n_classes)``, are of trials that the network was not trained on. With their number
    ``n_trials`` a label counts ``(n + 1) / (n + 2)``, the rest falls to the other classes (Platt 1999): where all of a few
    trials are right, the likelihood alone would make every probability one, at rest too.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    if not len(labels):
        return 1.0
    share = 0.0 if n_trials is None else 1 / (n_trials + 2)  # of the other classes

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(np.asarray(logits, dtype=np.float64) / math.exp(log_temperature), axis=1)
        right = scaled[np.arange(len(labels)), labels]
        wrong = (scaled.sum(axis=1) - right) / (logits.shape[1] - 1)
        return float(-((1 - share) * right + share * wrong).mean())

    found = minimize_scalar(loss, bounds=(math.log(0.05), math.log(20.0)), method="bounded")
    return float(math.exp(found.x))
