"""One decoder for the streams of one bundle, replaced when a thread hangs in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.inference.decoder import Decoder
from mindwire.types import Window


class SharedDecoder:
    """Decoder of many streams; decodes in one thread at a time, that of the live loop.

    Parameters
    ----------
    load : callable
        Loads a decoder of the bundle.
    """

    def __init__(self, load: Callable[[], Decoder]) -> None:
        self._load = load
        self._sessions = decoder = load()
        self._decoder: Decoder | None = decoder
        self.engine = decoder.engine
        self.device = decoder.device
        self.reason = decoder.reason

    def session(self) -> Any:
        """Return a fresh state for one stream."""
        return self._sessions.session()

    def decode(self, sessions: Sequence[Any], windows: Sequence[Window]) -> NDArray[np.float32]:
        """Return logits of windows; see :class:`mindwire.inference.decoder.Decoder`."""
        if self._decoder is None:
            self._decoder = self._load()
        return self._decoder.decode(sessions, windows)

    def alone(self) -> Decoder:
        """Return another decoder of the same bundle, for one stream."""
        return self._load()

    def replace(self) -> None:
        """Leave the decoder to the thread that hangs in it; the next batch goes to another."""
        self._decoder = None
