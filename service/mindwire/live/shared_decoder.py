"""One decoder for the streams of one bundle; a thread that hangs in it keeps it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.inference.decoder import Decoder
from mindwire.types import Window


class SharedDecoder:
    """Decoder of many streams, as ``load`` loads it; each decoder decodes in one thread at a time.

    A call takes the decoder and gives it back; while a thread hangs in it, the next call loads another.
    """

    def __init__(self, load: Callable[[], Decoder]) -> None:
        self.alone = load  # another decoder of the same bundle, for one stream
        decoder = load()
        self._decoder: Decoder | None = decoder
        self.used = False
        self.session = decoder.session
        self.engine, self.device, self.reason = decoder.engine, decoder.device, decoder.reason

    def decode(self, sessions: Sequence[Any], windows: Sequence[Window]) -> NDArray[np.float32]:
        """Return logits of windows; see :class:`mindwire.inference.decoder.Decoder`."""
        self.used = True
        decoder, self._decoder = self._decoder or self.alone(), None
        try:
            return decoder.decode(sessions, windows)
        finally:
            self._decoder = decoder
