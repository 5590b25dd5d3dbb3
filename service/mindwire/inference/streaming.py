"""Decodes contiguous streams with the stem computed once per sample instead of once per window.

Exact, not approximate: what a window shares with the one a hop earlier is remembered, the rest is computed. Where the
memory does not serve (a start, a gap, another hop, a new alignment) it is filled from one full
window; where a window comes alone it is decoded whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.inference.decoder import batches
from mindwire.inference.onnx import GraphOpener, OnnxDecoder, open_graph
from mindwire.types import Window
from mindwire_models.bundle import Bundle
from mindwire_models.bundle_checks import STEM, STREAMING
from mindwire_models.graphs.streaming_memory import StepRows, StreamMemory, step_rows
from mindwire_models.graphs.streaming_plan import StemGeometry, StreamingPlan, plan_streaming

Array = NDArray[np.float32]

# Plans kept for hops that have been seen; a stream has one hop.
_MAX_PLANS = 16


class StreamingSession:
    """What one stream remembers: its memory, the alignment it belongs to, and the last window's place."""

    __slots__ = ("end", "memory", "paid", "ready", "segment", "shift", "spatial", "spoilt", "version")

    def __init__(self) -> None:
        self.memory: StreamMemory | None = None
        self.spatial: Array | None = None
        self.segment = self.version = -1
        self.end = self.shift = 0
        self.ready = False  # the memory continues the last window
        self.paid = False  # the memory has saved a window since it was filled
        self.spoilt = False  # the last window's logits were not finite


@dataclass(frozen=True, slots=True)
class _Buffers:
    """Inputs and outputs of a step for one plan and batch size, bound once."""

    spatial: Array
    owners: list[Array | None]  # whose spatial filters each row holds
    rows: list[StepRows]
    logits: Array
    run: Callable[[], None]

    def own(self, row: int, spatial: Array) -> None:
        """Make sure that a row holds these spatial filters; as a rule it does already."""
        if self.owners[row] is not spatial:
            self.owners[row] = spatial
            self.spatial[row] = spatial


class StreamingDecoder:
    """Decodes streams with ``streaming.onnx`` and ``stem.onnx``, and single windows with ``model.onnx``.

    Parameters
    ----------
    bundle : Bundle
        With streaming graphs.
    geometry : StemGeometry
        Their lengths.
    whole : OnnxDecoder
        Decodes windows that continue nothing.
    reason : str
        Why this engine and device were chosen.
    opener : callable
        Opens a graph as :func:`mindwire.inference.onnx.open_graph` does.

    Raises
    ------
    BundleError
        ONNX Runtime does not accept a graph.
    """

    engine = "onnxruntime"
    device = "cpu"

    def __init__(
        self, bundle: Bundle, geometry: StemGeometry, whole: OnnxDecoder, reason: str, opener: GraphOpener = open_graph
    ) -> None:
        self.reason = reason
        self._geometry = geometry
        self._whole = whole
        self._hop = bundle.contract.hop_samples
        self._n_classes = len(bundle.contract.classes)
        self._stem = opener(bundle.read(STEM), "cpu", str(bundle.path / STEM))
        self._step = opener(bundle.read(STREAMING), "cpu", str(bundle.path / STREAMING))
        inputs = {value.name: value.shape for value in self._step.get_inputs()}
        self._width, self._n_chans = inputs["spatial"][1:]
        self._ch_dim = inputs["old_blocks"][1]
        self._plans: dict[int, StreamingPlan | None] = {}
        self._buffers: dict[tuple[int, int], _Buffers] = {}

    def session(self) -> StreamingSession:
        """A fresh state for one stream."""
        return StreamingSession()

    def decode(self, sessions: Sequence[Any], windows: Sequence[Window]) -> Array:
        """Logits of windows, each of its own stream; a stream's windows come in their order.

        Parameters
        ----------
        sessions : sequence of StreamingSession
        windows : sequence of Window

        Returns
        -------
        ndarray of float32, shape (n_windows, n_classes)
        """
        logits = np.empty((len(windows), self._n_classes), dtype=np.float32)
        for part in batches(sessions) if len(windows) > 1 else (range(len(windows)),):
            whole: list[int] = []
            steps: dict[int, list[int]] = {}
            for index in part:
                plan = self._prepare(sessions[index], windows[index])
                if plan is None:
                    whole.append(index)
                elif plan.hop in steps:
                    steps[plan.hop].append(index)
                else:
                    steps[plan.hop] = [index]
            for indices in steps.values():
                self._run_step(indices, sessions, windows, logits)
            if whole:
                alone = [self._whole.session() for _ in whole]
                logits[whole] = self._whole.decode(alone, [windows[index] for index in whole])
                for index in whole:
                    sessions[index].spoilt = not math.isfinite(logits[index, 0])
        return logits

    def _prepare(self, session: StreamingSession, window: Window) -> StreamingPlan | None:
        """Bring a stream's memory to just before a window; None where the window is better decoded whole."""
        shift = window.end - session.end if window.segment == session.segment else 0
        same = window.alignment_version == session.version
        again = shift == session.shift
        session.segment, session.end, session.shift = window.segment, window.end, shift
        session.version = window.alignment_version
        memory = session.memory
        if session.ready and same and memory is not None and shift == memory.plan.hop:
            session.paid = True
            return memory.plan
        wasted = session.ready and not session.paid
        session.ready = False
        if shift <= 0 or session.spoilt:
            return None
        if memory is None or (shift != memory.plan.hop and again):
            plan = self._plan(shift) if again or shift == self._hop else None
            if plan is None:
                return None
            memory = session.memory = StreamMemory(plan, self._ch_dim)
        elif wasted:  # filled and then not used: filling again would only cost
            return None
        feeds = {
            "x": window.samples[None, memory.stem_span],
            "alignment": window.alignment[None],
            "box": memory.plan.box,
            "spread": memory.plan.spread,
        }
        spatial, blocks, tokens = self._stem.run(["spatial", "blocks", "tokens"], feeds)
        session.spatial = spatial[0]
        memory.fill(blocks[0], tokens[0])
        session.ready, session.paid = True, False
        return memory.plan

    def _plan(self, hop: int) -> StreamingPlan | None:
        if hop not in self._plans:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
                self._buffers.clear()
            self._plans[hop] = plan_streaming(self._geometry, hop)
        return self._plans[hop]

    def _run_step(self, indices: list[int], sessions: Sequence[Any], windows: Sequence[Window], logits: Array) -> None:
        buffers = self._buffers_for(sessions[indices[0]].memory.plan, len(indices))
        for row, (index, rows) in enumerate(zip(indices, buffers.rows, strict=True)):
            session = sessions[index]
            buffers.own(row, session.spatial)
            session.memory.gather(rows, windows[index].samples)
        buffers.run()
        if len(indices) == len(logits):  # as a rule; a list of places costs one window a tenth of its time
            logits[...] = buffers.logits
        else:
            logits[indices] = buffers.logits
        for index, rows, first in zip(indices, buffers.rows, buffers.logits[:, 0].tolist(), strict=True):
            session = sessions[index]
            session.memory.append(rows)
            if not math.isfinite(first):
                # A product with zero is not finite either: one bad sample has spoilt all that was remembered.
                session.ready, session.spoilt = False, True

    def _buffers_for(self, plan: StreamingPlan, batch: int) -> _Buffers:
        key = (plan.hop, batch)
        if key not in self._buffers:
            self._buffers[key] = self._make_buffers(plan, batch)
        return self._buffers[key]

    def _make_buffers(self, plan: StreamingPlan, batch: int) -> _Buffers:
        def zeros(*shape: int) -> Array:
            return np.zeros((batch, *shape), dtype=np.float32)

        inputs = {
            "spatial": zeros(self._width, self._n_chans),
            "edges": zeros(2 * plan.edge_samples, self._n_chans),
            "pool": plan.pool,
            "old_blocks": zeros(self._ch_dim, plan.n_old),
            "combine": plan.combine,
            "place": plan.place,
            "cached": zeros(self._ch_dim, plan.geometry.n_tokens),
        }
        outputs = {
            "logits": zeros(self._n_classes),
            "blocks": zeros(self._ch_dim, 2 * plan.edge_blocks),
            "tokens": zeros(self._ch_dim, plan.combine.shape[1]),
        }
        binding = self._step.io_binding()
        for name, array in inputs.items():
            binding.bind_cpu_input(name, array)
        for name, array in outputs.items():
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        return _Buffers(
            spatial=inputs["spatial"],
            owners=[None] * batch,
            rows=[
                step_rows(
                    plan,
                    edges=inputs["edges"][row],
                    old=inputs["old_blocks"][row],
                    cached=inputs["cached"][row],
                    blocks=outputs["blocks"][row],
                    tokens=outputs["tokens"][row],
                )
                for row in range(batch)
            ],
            logits=outputs["logits"],
            run=lambda: self._step.run_with_iobinding(binding),
        )
