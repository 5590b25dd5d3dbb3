"""The network, its contract and its bundles. Importing this package does not import torch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mindwire_models.errors import MindwireError, extra

if TYPE_CHECKING:
    from mindwire_models.contract import Contract
    from mindwire_models.network.attentionbasenet import AttentionBaseNet

# ONNX Runtime reports its use to Microsoft unless this is set before it is imported; a laboratory's machine sends nothing unasked.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["AttentionBaseNet", "Contract", "MindwireError"]


def __getattr__(name: str) -> object:
    # The contract imports numpy and pydantic, which the errors do without.
    if name == "Contract":
        from mindwire_models.contract import Contract

        return Contract
    # The network needs torch, which the default installation does not have.
    if name != "AttentionBaseNet":
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    with extra("torch", "AttentionBaseNet needs PyTorch and huggingface_hub"):
        from mindwire_models.network.attentionbasenet import AttentionBaseNet
    return AttentionBaseNet
