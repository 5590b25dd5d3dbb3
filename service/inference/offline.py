"""Decodes recordings: the stem over many hops at once, the rest in batches of one stream's windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.inference.decoder import MAX_BATCH
from service.inference.streaming import StreamingDecoder
from service.types import Window

Array = NDArray[np.float32]


class OfflineDecoder(StreamingDecoder):
    """Says of a recording's windows what streaming says of them live, within float32 rounding, but faster.

    The more windows of a stream come together, the less each costs: up to the next change of the alignment
    their samples go through the stem in one piece, and their own edges and attention in batches.
    """

    def decode(self, sessions: Sequence[Any], windows: Sequence[Window]) -> Array:
        """Logits of windows; those of one stream in their order, best many together.

        Parameters
        ----------
        sessions : sequence of StreamingSession
        windows : sequence of Window

        Returns
        -------
        ndarray of float32, shape (n_windows, n_classes)
        """
        logits = np.empty((len(windows), self._n_classes), dtype=np.float32)
        index = 0
        while index < len(windows):
            session, window = sessions[index], windows[index]
            plan = self._prepare(session, window)
            if plan is None:
                logits[index] = self._whole.decode([self._whole.session()], [window])[0]
                session.spoilt = not math.isfinite(logits[index, 0])
                index += 1
                continue
            stop = index + 1
            most = index + session.memory.most_ahead
            while stop < min(most, len(windows)) and (
                sessions[stop] is session
                and windows[stop].end - windows[stop - 1].end == plan.hop
                and windows[stop].segment == window.segment
                and windows[stop].alignment_version == window.alignment_version
            ):
                stop += 1
            if stop == index + 1:
                self._run_step([index], sessions, windows, logits)
            else:
                self._decode_run(session, windows[index:stop], logits[index:stop])
            index = stop
        return logits

    def _decode_run(self, session: Any, windows: Sequence[Window], logits: Array) -> None:
        """Contiguous windows of one alignment; the memory lies just before the first."""
        memory, spatial = session.memory, session.spatial
        n_windows = len(windows)
        _, blocks = self._filter(windows[-1], memory.ahead_span(n_windows), memory)
        memory.look_ahead(blocks, n_windows)
        bounds = np.linspace(0, n_windows, -(-n_windows // MAX_BATCH) + 1).astype(int).tolist()
        for start, stop in pairwise(bounds):
            buffers = self._buffers_for(memory.plan, stop - start)
            for row, rows in enumerate(buffers.rows):
                buffers.own(row, spatial)
                rows.write_edges(windows[start + row].samples)
                memory.gather(rows, start + row)
            buffers.run()
            logits[start:stop] = buffers.logits
        memory.skip(n_windows)
        session.end, session.paid = windows[-1].end, True
        session.spoilt = not math.isfinite(logits[-1, 0])
        session.ready = not session.spoilt
