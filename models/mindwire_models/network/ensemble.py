"""Ensemble of networks: the mean of their logits, in PyTorch and as one ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mindwire_models.errors import ArgumentError
from mindwire_models.graphs.onnx_builder import GraphBuilder
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


def ensemble_graph(ensemble: Ensemble, temperature: float = 1.0) -> bytes:
    """Return the folded graph of an ensemble; inputs, outputs and errors are those of :func:`folded_graph`."""
    from mindwire_models.graphs.folding import folded_graph

    g = GraphBuilder()
    logits = [
        g.embed(folded_graph(member), {"x": "x", "alignment": "alignment"}, "logits")
        for member in ensemble.members
        if isinstance(member, AttentionBaseNet)
    ]
    mean = g.add("Mean", *logits, out="logits")
    g.add("Softmax", g.add("Div", mean, g.constant(temperature)), axis=1, out="probabilities")
    n, classes = ensemble.n_chans, ("batch", ensemble.n_outputs)
    return g.build(
        {"x": ("batch", n, ensemble.n_times), "alignment": ("batch", n, n)},
        {"logits": classes, "probabilities": classes},
    )
