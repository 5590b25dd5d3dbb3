"""Tangent-space baseline as a PyTorch module, for decoding where ONNX Runtime cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mindwire_models.network.riemann import FLOOR, RIDGE, TangentSpaceModel


class TangentSpaceNetwork(nn.Module):
    """Module that decodes aligned windows as :class:`~mindwire_models.network.riemann.TangentSpaceModel` does."""

    whitening: Tensor
    coefficients: Tensor
    intercept: Tensor
    attention_mode = None

    def __init__(self, n_chans: int, n_times: int, n_outputs: int) -> None:
        super().__init__()
        self.n_chans, self.n_times, self.n_outputs = n_chans, n_times, n_outputs
        self.register_buffer("whitening", torch.eye(n_chans, dtype=torch.float32))
        self.register_buffer("coefficients", torch.zeros(n_outputs, n_chans, n_chans, dtype=torch.float32))
        self.register_buffer("intercept", torch.zeros(n_outputs, dtype=torch.float32))

    @classmethod
    def from_model(cls, model: TangentSpaceModel) -> TangentSpaceNetwork:
        """Make a module with the arrays of a fitted model."""
        network = cls(len(model.whitening), model.n_times, len(model.intercept))
        network.load_state_dict({name: torch.from_numpy(array).float() for name, array in model.tensors().items()})
        return network.eval()

    def to_model(self) -> TangentSpaceModel:
        """Return the arrays as a fitted model."""
        return TangentSpaceModel(
            whitening=self.whitening.double().cpu().numpy(),
            coefficients=self.coefficients.double().cpu().numpy(),
            intercept=self.intercept.double().cpu().numpy(),
            n_times=self.n_times,
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TangentSpaceNetwork:
        """Make a module of the sizes that :meth:`get_config` states."""
        return cls(int(config["n_chans"]), int(config["n_times"]), int(config["n_outputs"]))

    def get_config(self) -> dict[str, Any]:
        """Return the sizes and the kind of decoder."""
        return {
            "decoder": "tangent_space",
            "n_chans": self.n_chans,
            "n_times": self.n_times,
            "n_outputs": self.n_outputs,
        }

    def forward(self, x: Tensor) -> Tensor:
        """Logits, ``(batch, n_outputs)``, of windows ``(batch, n_chans, n_times)``; computed in double precision."""
        windows = x.double()
        products = windows @ windows.mT / self.n_times
        trace = products.diagonal(dim1=1, dim2=2).sum(dim=1)
        eye = torch.eye(self.n_chans, dtype=torch.float64, device=x.device)
        covariance = products + (RIDGE / self.n_chans * trace + FLOOR)[:, None, None] * eye
        whitening = self.whitening.double()
        values, vectors = torch.linalg.eigh(whitening @ covariance @ whitening)
        logarithm = (vectors * values.log()[:, None, :]) @ vectors.mT
        logits = torch.einsum("bij,kij->bk", logarithm, self.coefficients.double()) + self.intercept.double()
        return logits.to(x.dtype)
