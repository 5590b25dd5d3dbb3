"""Ensemble of networks: the mean of their logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mindwire_models.errors import ArgumentError
from mindwire_models.network.attentionbasenet import AttentionBaseNet


class Ensemble(nn.Module):
    """Networks of the same sizes, at least one; the logits are the mean of theirs."""

    def __init__(self, members: Sequence[AttentionBaseNet]) -> None:
        super().__init__()
        sizes = {(net.n_chans, net.n_times, net.n_outputs) for net in members}
        if len(sizes) != 1:
            msg = f"An ensemble needs networks of one size, found {sorted(sizes) or 'none'}."
            raise ArgumentError(msg)
        self.members = nn.ModuleList(members)
        self.n_chans, self.n_times, self.n_outputs = sizes.pop()
        self.attention_mode = members[0].attention_mode

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Ensemble:
        """Make an untrained ensemble from what :meth:`get_config` returned."""
        arguments = {key: value for key, value in config.items() if key not in {"decoder", "members"}}
        return cls([AttentionBaseNet.from_config(arguments) for _ in range(int(config["members"]))])

    def get_config(self) -> dict[str, Any]:
        """Return the members' common constructor arguments and the number of members."""
        first: Any = self.members[0]
        return {"decoder": "ensemble", "members": len(self.members), **first.get_config()}

    def forward(self, x: Tensor) -> Tensor:
        """Logits, ``(batch, n_outputs)``, of windows ``(batch, n_chans, n_times)``."""
        return torch.stack([member(x) for member in self.members]).mean(dim=0)
