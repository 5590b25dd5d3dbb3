"""What every decoder looks like to the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.types import Window


class Session(Protocol):
    """A stream's own state inside a decoder (streaming sums, the alignment last used)."""


class Decoder(Protocol):
    """Turns windows into logits; stateless but for the sessions it hands out.

    Attributes
    ----------
    engine : str
        ``onnxruntime`` or ``torch``.
    device : str
        ``cpu`` or ``cuda``.
    reason : str
        Why this engine and device were chosen, for the log and the user.
    """

    engine: str
    device: str
    reason: str

    def session(self) -> Any:
        """A fresh state for one stream."""
        ...

    def decode(self, sessions: Sequence[Any], windows: Sequence[Window]) -> NDArray[np.float32]:
        """Logits of windows, each of its own stream.

        Parameters
        ----------
        sessions : sequence of session
            One per window, from :meth:`session`.
        windows : sequence of Window

        Returns
        -------
        ndarray of float32, shape (n_windows, n_classes)
        """
        ...
