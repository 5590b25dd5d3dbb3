"""One decoder for the streams of one bundle, replaced when a thread hangs in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.inference.decoder import Decoder
from mindwire.types import Window


class SharedDecoder:
    """Decoder of many streams, as ``load`` loads it; decodes in one thread at a time, that of the live loop."""

    def __init__(self, load: Callable[[], Decoder]) -> None:
        self.alone = load  # another decoder of the same bundle, for one stream
        decoder = load()
        self._decoder: Decoder | None = decoder
        self.session = decoder.session
        self.engine, self.device, self.reason = decoder.engine, decoder.device, decoder.reason

    def decode(self, sessions: Sequence[Any], windows: Sequence[Window]) -> NDArray[np.float32]:
        """Return logits of windows; see :class:`mindwire.inference.decoder.Decoder`."""
        if self._decoder is None:
            self._decoder = self.alone()
        return self._decoder.decode(sessions, windows)

    def replace(self) -> None:
        """Leave the decoder to the thread that hangs in it; the next batch goes to another."""
        self._decoder = None
