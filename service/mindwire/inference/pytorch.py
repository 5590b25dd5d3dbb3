"""Decodes windows with the network itself, in PyTorch: the fallback where ONNX Runtime cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.inference.decoder import StatelessSession, batches
from mindwire.types import Window
from mindwire_models.bundle import Bundle, load_module
from mindwire_models.torch_threads import use_one_thread


class TorchDecoder:
    """Decodes whole windows with ``model.safetensors``.

    Parameters
    ----------
    bundle : Bundle
    device : {"cpu", "cuda"}
    reason : str
        Why this engine and device were chosen.

    Raises
    ------
    MissingExtraError
        PyTorch is not installed.
    """

    engine = "torch"

    def __init__(self, bundle: Bundle, device: str, reason: str) -> None:
        self.device = device
        self.reason = reason
        self._n_classes = len(bundle.contract.classes)
        self._shape = (bundle.contract.n_channels, bundle.contract.window_samples)
        self._network = load_module(bundle).to(device)
        use_one_thread()

    def session(self) -> StatelessSession:
        """A marker of one stream; whole windows need no state."""
        return StatelessSession()

    def decode(self, sessions: Sequence[Any], windows: Sequence[Window]) -> NDArray[np.float32]:
        """Logits of windows, each of its own stream; batches as in :class:`~mindwire.inference.onnx.OnnxDecoder`.

        Parameters
        ----------
        sessions : sequence
            One per window, from :meth:`session`.
        windows : sequence of Window

        Returns
        -------
        ndarray of float32, shape (n_windows, n_classes)
        """
        import torch

        logits = np.empty((len(windows), self._n_classes), dtype=np.float32)
        with torch.inference_mode():
            for part in batches(sessions):
                x = np.empty((len(part), *self._shape), dtype=np.float32)
                for row, index in enumerate(part):
                    np.matmul(windows[index].alignment, windows[index].samples.T, out=x[row])
                logits[part] = self._network(torch.from_numpy(x).to(self.device)).cpu().numpy()
        return logits
