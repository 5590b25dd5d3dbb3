"""Decoder of the network itself, in PyTorch: the fallback where ONNX Runtime cannot be used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mindwire.inference.decoder import WindowDecoder
from mindwire.types import Window
from mindwire_models.bundle import Bundle, load_module


class TorchDecoder(WindowDecoder):
    """Decodes whole windows with ``model.safetensors``; parameters as for :class:`~mindwire.inference.decoder.WindowDecoder`.

    Raises
    ------
    MissingExtraError
        PyTorch is not installed.
    """

    engine = "torch"

    def __init__(self, bundle: Bundle, device: str, reason: str) -> None:
        super().__init__(bundle, device, reason)
        self._network = load_module(bundle).to(device)
        import torch

        torch.set_num_threads(1)  # of the process, permanently: small networks gain nothing from more

    def _decode_batch(self, windows: Sequence[Window]) -> NDArray[np.float32]:
        import torch

        x = np.empty((len(windows), *self._shape), dtype=np.float32)
        for row, window in enumerate(windows):
            np.matmul(window.alignment, window.samples.T, out=x[row])
        with torch.inference_mode():
            logits: NDArray[np.float32] = self._network(torch.from_numpy(x).to(self.device)).cpu().numpy()
        return logits
