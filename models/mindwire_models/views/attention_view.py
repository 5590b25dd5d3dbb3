"""Gains of a network's attention: its output relative to its input, channel by channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mindwire_models.errors import ArgumentError
from mindwire_models.network.attentionbasenet import AttentionBaseNet

_BATCH = 64


def attention_gains(network: AttentionBaseNet, windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return each channel's mean absolute value after the attention divided by that before, ``(n_windows, ch_dim)``.

    0 for a channel that is 0 before. The windows ``(n_windows, n_chans, n_times)`` are conditioned and aligned. A network
    without attention is refused with an ArgumentError.
    """
    block = network.channel_attention_block.attention_block
    if block is None:
        msg = (
            "Expected a network with attention, found attention_mode none; train one with --network attention_mode=se."
        )
        raise ArgumentError(msg)
    gains: list[Tensor] = []

    def note(_module: nn.Module, given: tuple[Any, ...], after: Tensor) -> None:
        before = given[0].abs().mean(dim=(2, 3))
        size = after.abs().mean(dim=(2, 3))
        gains.append(torch.where(before > 0, size / before, torch.zeros_like(size)))

    with block.register_forward_hook(note), torch.inference_mode():
        for part in torch.split(torch.from_numpy(windows), _BATCH):
            network(part)
    return np.asarray(torch.cat(gains).double().numpy())
