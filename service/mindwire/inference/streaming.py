"""Decoder of contiguous streams: the stem computed once per sample instead of once per window.

The results are exact: the memory holds what a window shares with the one a hop earlier, and the rest is computed. After a
start or a gap, with another hop or a new alignment, the memory is filled from one full window; a window that continues none
is decoded whole. Live, one hop is decoded at a time. Of a recording, the same two graphs decode many hops in one call, and
the stem makes the memory of all of them at once: the sums are the same, but in another order, so that the logits
differ by float32 rounding.

Figures that this holds: at batch 1 at least 45 times as fast as eager PyTorch (`mindwire bench --only decoder`: 55 times,
15 times with whole windows); an hour replayed (`benchmarks/replay.py`, goal 800 times real time) in 4.7 s of
processor time, 6.8 s one hop at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum, auto
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.inference.decoder import batches
from mindwire.inference.onnx import GraphOpener, OnnxDecoder, open_graph
from mindwire.types import Window
from mindwire_models.bundle import Bundle
from mindwire_models.bundle_checks import STEM, STREAMING
from mindwire_models.graphs.streaming_memory import StepRows, StreamMemory, step_arrays
from mindwire_models.graphs.streaming_plan import StemGeometry, StreamingPlan, plan_streaming

Array = NDArray[np.float32]

# Windows of a recording whose memory is made at once: the work of the stem's matrix grows with their square.
_HOPS_TOGETHER = 128
# Steps in one call: more leave the processor's cache.
_STEPS_TOGETHER = 32
# Plans for hops, and buffers for hops and numbers of windows, that are kept for further use; a stream has one hop.
_MAX_PLANS = 16
_MAX_BUFFERS = 128


class Memory(IntEnum):
    """State of a stream's memory after a window."""

    EMPTY = auto()  # no use for the next window
    FILLED = auto()  # filled for this window
    CONTINUED = auto()  # has saved a window since it was filled
    SPOILT = auto()  # the window's logits were not finite


# The state in which a window is decoded: by the state after the window before, and whether this one follows that one a
# hop later under the same alignment. In EMPTY it is decoded whole.
_NEXT_STATE = {
    (Memory.EMPTY, False): Memory.FILLED,
    (Memory.EMPTY, True): Memory.FILLED,
    (Memory.FILLED, False): Memory.EMPTY,  # filled and not used: filling again would only cost
    (Memory.FILLED, True): Memory.CONTINUED,
    (Memory.CONTINUED, False): Memory.FILLED,
    (Memory.CONTINUED, True): Memory.CONTINUED,
    (Memory.SPOILT, False): Memory.EMPTY,
    (Memory.SPOILT, True): Memory.EMPTY,
}


class StreamingSession:
    """Memory of one stream, the alignment it belongs to, and the place of the last window."""

    __slots__ = ("end", "memory", "segment", "shift", "spatial", "state", "version")

    def __init__(self) -> None:
        self.memory: StreamMemory | None = None
        self.spatial: Array | None = None
        self.state = Memory.EMPTY
        self.segment = self.version = -1
        self.end = self.shift = 0


@dataclass(frozen=True, slots=True)
class _Buffers:
    """Inputs and outputs of a step for one plan and batch size, bound once."""

    spatial: Array
    owners: list[Array | None]  # whose spatial filters each row holds
    batch: StepRows
    rows: list[StepRows]
    logits: Array
    run: Callable[[], None]

    def set_spatial(self, row: int, spatial: Array) -> None:
        """Give a row its spatial filters, unless it has them from the call before."""
        if self.owners[row] is not spatial:
            self.owners[row] = spatial
            self.spatial[row] = spatial


class StreamingDecoder:
    """Decodes streams with ``streaming.onnx`` and ``stem.onnx``, and single windows with ``model.onnx``.

    Parameters
    ----------
    bundle, reason, opener
        As for :class:`~mindwire.inference.onnx.OnnxDecoder`.
    geometry : StemGeometry
        Lengths of the streaming graphs.
    whole : OnnxDecoder
        Decodes windows that continue nothing.
    recorded : bool
        Decode many hops of a stream at once, where one call brings them.

    Raises
    ------
    BundleError
        ONNX Runtime does not accept a graph.
    """

    engine = "onnxruntime"
    device = "cpu"

    def __init__(
        self,
        bundle: Bundle,
        geometry: StemGeometry,
        whole: OnnxDecoder,
        reason: str,
        opener: GraphOpener = open_graph,
        *,
        recorded: bool = False,
    ) -> None:
        self.reason = reason
        self._whole = whole
        self._recorded = recorded
        self._hop = bundle.contract.hop_samples
        self._n_classes = len(bundle.contract.classes)
        self._stem = opener(bundle.read(STEM), "cpu", str(bundle.path / STEM))
        self._step = opener(bundle.read(STREAMING), "cpu", str(bundle.path / STREAMING))
        inputs = {value.name: value.shape for value in self._step.get_inputs()}
        self._width, self._n_chans = inputs["spatial"][1:]
        self._ch_dim = inputs["old_blocks"][1]
        self._plan = lru_cache(_MAX_PLANS)(partial(plan_streaming, geometry))
        self._spreads: dict[tuple[int, int], Array] = {}
        self._buffers: dict[tuple[int, int], _Buffers] = {}

    def session(self) -> StreamingSession:
        """Return a new state for one stream."""
        return StreamingSession()

    def decode(self, sessions: Sequence[Any], windows: Sequence[Window]) -> Array:
        """Return the logits of windows; see :meth:`mindwire.inference.decoder.Decoder.decode`."""
        logits = np.empty((len(windows), self._n_classes), dtype=np.float32)
        parts: Iterable[Sequence[int]] = (range(len(windows)),)
        if len(windows) > 1:
            parts = _runs(sessions, windows) if self._recorded else batches(sessions)
        for part in parts:
            if self._recorded and len(part) > 1:
                self._decode_hops(part, sessions, windows, logits)
            else:
                self._decode_batch(part, sessions, windows, logits)
        return logits

    def _decode_batch(
        self, indices: Sequence[int], sessions: Sequence[Any], windows: Sequence[Window], logits: Array
    ) -> None:
        """Decode windows of different streams."""
        whole: list[int] = []
        steps: dict[int, list[int]] = {}
        for index in indices:
            plan = self._prepare(sessions[index], windows[index])
            if plan is None:
                whole.append(index)
            else:
                steps.setdefault(plan.hop, []).append(index)
        for some in steps.values():
            self._run_step(some, sessions, windows, logits)
        if whole:
            self._decode_whole(whole, windows, logits)
            for index in whole:
                finite = math.isfinite(logits[index, 0])
                sessions[index].state = Memory.EMPTY if finite else Memory.SPOILT

    def _decode_whole(self, indices: Sequence[int], windows: Sequence[Window], logits: Array) -> None:
        alone = [self._whole.session() for _ in indices]
        logits[indices] = self._whole.decode(alone, [windows[index] for index in indices])

    def _prepare(self, session: StreamingSession, window: Window) -> StreamingPlan | None:
        """Prepare a stream's memory for a window; return None if the window is to be decoded whole."""
        shift = window.end - session.end if window.segment == session.segment else 0
        same = window.alignment_version == session.version
        again = shift == session.shift
        session.segment, session.end, session.shift = window.segment, window.end, shift
        session.version = window.alignment_version
        memory, before = session.memory, session.state
        known = memory is not None and shift == memory.plan.hop
        state = _NEXT_STATE[before, known and same]
        if shift <= 0:
            state = Memory.EMPTY
        elif before is not Memory.SPOILT and (memory is None or (again and not known)):
            plan = self._plan(shift) if again or shift == self._hop else None
            memory = session.memory = StreamMemory.empty(plan, self._ch_dim) if plan else memory
            state = Memory.FILLED if plan else Memory.EMPTY
        session.state = state
        if memory is None or state is Memory.EMPTY:
            return None
        if state is Memory.FILLED:
            span = window.samples[memory.plan.stem_span()]
            session.spatial, blocks, tokens = self._run_stem(memory.plan, span, window.alignment, 1)
            memory.fill(blocks, tokens)
        return memory.plan

    def _run_stem(
        self, plan: StreamingPlan, samples: Array, alignment: Array, n_hops: int
    ) -> tuple[Array, Array, Array]:
        """Return the aligned spatial filters, and the blocks and tokens of the memory for a number of windows."""
        key = (plan.hop, n_hops)
        if key not in self._spreads:
            if len(self._spreads) >= _MAX_PLANS:
                self._spreads.clear()
            self._spreads[key] = plan.spread(n_hops)
        feeds = {"x": samples[None], "alignment": alignment[None], "box": plan.box, "spread": self._spreads[key]}
        spatial, blocks, tokens = self._stem.run(["spatial", "blocks", "tokens"], feeds)
        return spatial[0], blocks[0], tokens[0]

    def _run_step(self, indices: list[int], sessions: Sequence[Any], windows: Sequence[Window], logits: Array) -> None:
        buffers = self._buffers_for(sessions[indices[0]].memory.plan, len(indices))
        for number, (index, row) in enumerate(zip(indices, buffers.rows, strict=True)):
            session = sessions[index]
            buffers.set_spatial(number, session.spatial)
            session.memory.gather(row, windows[index].samples)
        buffers.run()
        if len(indices) == len(logits):  # usual; indexing by a list costs one window a tenth of its time
            logits[...] = buffers.logits
        else:
            logits[indices] = buffers.logits
        for index, row, first in zip(indices, buffers.rows, buffers.logits[:, 0].tolist(), strict=True):
            session = sessions[index]
            session.memory.append(row)
            if not math.isfinite(first):
                # A product with zero is not finite either: one bad sample has spoilt all that was remembered.
                session.state = Memory.SPOILT

    def _decode_hops(
        self, indices: Sequence[int], sessions: Sequence[Any], windows: Sequence[Window], logits: Array
    ) -> None:
        """Decode a stream's windows that follow each other at a hop under one alignment."""
        some = [windows[index] for index in indices]
        first, last, n_hops = some[0], some[-1], len(some)
        session: StreamingSession = sessions[indices[0]]
        hop = session.shift = some[1].end - first.end
        session.segment, session.end, session.version = last.segment, last.end, last.alignment_version
        session.state = Memory.EMPTY
        plan = self._plan(hop)
        if plan is None:
            self._decode_whole(indices, windows, logits)
            return
        samples = np.concatenate([first.samples, *(window.samples[-hop:] for window in some[1:])])
        span = samples[plan.stem_span(n_hops)]
        spatial, blocks, tokens = self._run_stem(plan, span, first.alignment, n_hops)
        memory = StreamMemory(plan, blocks.T, tokens.T)
        for part in np.array_split(np.asarray(indices), -(-n_hops // _STEPS_TOGETHER)):
            buffers = self._buffers_for(plan, len(part))
            for row in range(len(part)):
                buffers.set_spatial(row, spatial)
            start = int(part[0]) - indices[0]
            memory.gather_hops(buffers.batch, samples, slice(start, start + len(part)))
            buffers.run()
            logits[part] = buffers.logits
        # A product with zero is not finite either: one bad sample spoils windows that it is not in.
        spoilt = [index for index in indices if not math.isfinite(logits[index, 0])]
        if spoilt:
            self._decode_whole(spoilt, windows, logits)

    def _buffers_for(self, plan: StreamingPlan, batch: int) -> _Buffers:
        key = (plan.hop, batch)
        if key not in self._buffers:
            if len(self._buffers) >= _MAX_BUFFERS:
                self._buffers.clear()
            self._buffers[key] = self._make_buffers(plan, batch)
        return self._buffers[key]

    def _make_buffers(self, plan: StreamingPlan, batch: int) -> _Buffers:
        inputs, outputs = step_arrays(plan, batch, self._n_chans, self._ch_dim)
        inputs["spatial"] = np.zeros((batch, self._width, self._n_chans), np.float32)
        outputs["logits"] = np.zeros((batch, self._n_classes), np.float32)
        binding = self._step.io_binding()
        for name, array in inputs.items():
            binding.bind_cpu_input(name, array)
        for name, array in outputs.items():
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        views = StepRows.of(plan, inputs, outputs)
        return _Buffers(
            spatial=inputs["spatial"],
            owners=[None] * batch,
            batch=views,
            rows=[views.row(index) for index in range(batch)],
            logits=outputs["logits"],
            run=lambda: self._step.run_with_iobinding(binding),
        )


def _runs(sessions: Sequence[Any], windows: Sequence[Window]) -> Iterator[Sequence[int]]:
    """Indices of windows of one stream that follow each other at one hop, in one segment, under one alignment."""
    start = hop = 0
    for index in range(1, len(windows)):
        before, window = windows[index - 1], windows[index]
        step = window.end - before.end
        follows = (
            index - start < _HOPS_TOGETHER
            and sessions[index] is sessions[start]
            and window.segment == before.segment
            and window.alignment_version == before.alignment_version
            and (0 < step <= len(window.samples) if index == start + 1 else step == hop)
        )
        if follows:
            hop = step
        else:
            yield range(start, index)
            start = index
    yield range(start, len(windows))
