"""The network, its contract and its bundles. Importing this package does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.contract import Contract
from models.errors import MindwireError, MissingExtraError

if TYPE_CHECKING:
    from models.attentionbasenet import AttentionBaseNet

__all__ = ["AttentionBaseNet", "Contract", "MindwireError"]


def __getattr__(name: str) -> object:
    # The network needs torch, which the default installation does not have.
    if name != "AttentionBaseNet":
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    try:
        from models.attentionbasenet import AttentionBaseNet
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        msg = "AttentionBaseNet needs PyTorch; install it with: pip install 'mindwire[torch]'."
        raise MissingExtraError(msg) from error
    return AttentionBaseNet
