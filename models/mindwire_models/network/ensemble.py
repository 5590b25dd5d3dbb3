"""Several networks as one: the mean of their logits, in PyTorch and as one ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mindwire_models.errors import ArgumentError
from mindwire_models.graphs.onnx_builder import GraphBuilder
from mindwire_models.network.attentionbasenet import AttentionBaseNet

if TYPE_CHECKING:
    from collections.abc import Mapping


class Ensemble(nn.Module):
    """Networks of the same sizes; the logits are the mean of theirs.

    Parameters
    ----------
    members : sequence of AttentionBaseNet
        At least one.

    Raises
    ------
    ArgumentError
        There is no member, or they differ in their sizes.
    """

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
        """An ensemble as :meth:`get_config` describes it, with fresh weights."""
        arguments = {key: value for key, value in config.items() if key not in {"decoder", "members"}}
        return cls([AttentionBaseNet.from_config(arguments) for _ in range(int(config["members"]))])

    def get_config(self) -> dict[str, Any]:
        """The members' common constructor arguments and how many they are."""
        first: Any = self.members[0]
        return {"decoder": "ensemble", "members": len(self.members), **first.get_config()}

    def forward(self, x: Tensor) -> Tensor:
        """Logits, ``(batch, n_outputs)``, of windows ``(batch, n_chans, n_times)``."""
        return torch.stack([member(x) for member in self.members]).mean(dim=0)


def ensemble_graph(ensemble: Ensemble, temperature: float = 1.0) -> bytes:
    """The folded graph of an ensemble; inputs and outputs are those of a folded network.

    Parameters
    ----------
    ensemble : Ensemble
        On the CPU, in evaluation mode.
    temperature : float

    Returns
    -------
    bytes
        The same for the same weights, whenever it is made.

    Raises
    ------
    ExportError
        An activation cannot be expressed in ONNX.
    MissingExtraError
        The package onnx is not installed.
    """
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
