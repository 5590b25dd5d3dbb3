"""One decoder for many streams."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.inference.decoder import Decoder
from mindwire.types import Window


class SharedDecoder:
    """One decoder for many streams, whose buffers take one batch at a time.

    Parameters
    ----------
    decoder : Decoder
    again : callable or None
        Makes another of the same bundle, for when a thread hangs in this one.
    """

    def __init__(self, decoder: Decoder, again: Callable[[], Decoder] | None = None) -> None:
        self.engine = decoder.engine
        self.device = decoder.device
        self.reason = decoder.reason
        self._decoder: Decoder | None = decoder
        self._first = decoder
        self._again = again
        self._lock = threading.Lock()

    def session(self) -> Any:
        """A fresh state for one stream."""
        return self._first.session()

    def decode(self, sessions: Sequence[Any], windows: Sequence[Window]) -> NDArray[np.float32]:
        """Logits of windows; see :class:`mindwire.inference.decoder.Decoder`."""
        with self._lock:
            if self._decoder is None:
                self._decoder = self.alone()
            return self._decoder.decode(sessions, windows)

    def alone(self) -> Decoder:
        """Another decoder of the same bundle, for one stream."""
        return self._again() if self._again is not None else self._first

    def renew(self) -> None:
        """Leave the decoder and its lock to the thread that hangs in it; the next batch is given to another."""
        self._lock, self._decoder = threading.Lock(), None
