"""What every decoder looks like to the pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.types import Window

# Batches above this lose speed per window: they leave the cache.
MAX_BATCH = 8


class StatelessSession:
    """The session of a decoder that keeps nothing between two windows of a stream."""


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


def batches(sessions: Sequence[Any]) -> Iterator[list[int]]:
    """Split windows, in order, into batches in which each stream occurs once.

    Parameters
    ----------
    sessions : sequence
        One per window.

    Yields
    ------
    list of int
        Indices of the windows of one batch, at most :data:`MAX_BATCH`.
    """
    part: list[int] = []
    seen: set[int] = set()
    for index, session in enumerate(sessions):
        if id(session) in seen or len(part) == MAX_BATCH:
            yield part
            part, seen = [], set()
        part.append(index)
        seen.add(id(session))
    if part:
        yield part
