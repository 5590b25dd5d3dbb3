"""Decodes recordings: runs of windows in one go, the stem computed once for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mindwire.inference.decoder import StatelessSession
from mindwire.inference.onnx import GraphOpener, OnnxDecoder, open_graph
from mindwire.types import Window
from mindwire_models.bundle import Bundle
from mindwire_models.bundle_checks import RECORDING
from mindwire_models.graphs.recording_plan import RecordingPlan, most_windows, plan_recording
from mindwire_models.graphs.streaming_plan import StemGeometry

Array = NDArray[np.float32]

# Of fewer windows each is sooner decoded by itself.
_FEWEST = 3
# Plans kept for hops and lengths of runs that have been seen; a recording has one hop.
_MOST_PLANS = 128


@dataclass(frozen=True, slots=True)
class _Buffers:
    """A plan and the inputs that are made for it once."""

    plan: RecordingPlan
    stretch: Array
    edges: Array
    feeds: dict[str, Array]


class Run(Protocol):
    """Windows that follow each other at a hop, under one alignment."""

    @property
    def samples(self) -> Array:
        """From the first window's first sample to the last one's last, ``(n_samples, n_chans)``, not aligned."""
        ...

    @property
    def alignment(self) -> Array:
        """``(n_chans, n_chans)``."""
        ...

    @property
    def n_windows(self) -> int:
        """How many."""
        ...

    @property
    def continues(self) -> bool:
        """Whether the first window is a hop behind the last one of the run before, and overlaps with it."""
        ...


class RunDecoder(Protocol):
    """Decodes runs of windows, in this process or another."""

    engine: str
    device: str
    reason: str

    def session(self) -> Any:
        """A marker of one stream."""
        ...

    def decode(self, sessions: Sequence[Any], windows: Sequence[Window]) -> Array:
        """As every decoder."""
        ...

    def most_windows(self, hop: int) -> int:
        """Windows that are best decoded in one run."""
        ...

    def decode_runs(self, batches: Iterable[Sequence[Run]], hop: int) -> Iterator[Array]:
        """Logits of each batch's windows, ``(n_windows, n_classes)``."""
        ...


class OfflineDecoder:
    """Says of a recording's windows what streaming says of them live, within float32 rounding, but faster.

    The more windows of a stream come together, up to some dozens, the less each costs.

    Parameters
    ----------
    bundle : Bundle
        With a graph for recordings.
    geometry : StemGeometry
        Its lengths.
    whole : OnnxDecoder
        Decodes windows that share too little with others.
    reason : str
        Why this engine and device were chosen.
    opener : callable
        Opens a graph as :func:`mindwire.inference.onnx.open_graph` does.

    Raises
    ------
    BundleError
        ONNX Runtime does not accept the graph.
    """

    engine = "onnxruntime"
    device = "cpu"

    def __init__(
        self, bundle: Bundle, geometry: StemGeometry, whole: OnnxDecoder, reason: str, opener: GraphOpener = open_graph
    ) -> None:
        self.reason = reason
        self._geometry = geometry
        self._whole = whole
        self._n_classes = len(bundle.contract.classes)
        self._n_chans = bundle.contract.n_channels
        self._graph = opener(bundle.read(RECORDING), "cpu", str(bundle.path / RECORDING))
        self._buffers: dict[tuple[int, int], _Buffers | None] = {}

    def session(self) -> StatelessSession:
        """A marker of one stream; nothing is remembered from one call to the next."""
        return StatelessSession()

    def most_windows(self, hop: int) -> int:
        """Windows, each so many samples behind the one before, that are best decoded in one run."""
        return most_windows(self._geometry, hop)

    def decode(self, sessions: Sequence[Any], windows: Sequence[Window]) -> Array:
        """Logits of windows; those of one stream in their order, best many together.

        Parameters
        ----------
        sessions : sequence of StatelessSession
        windows : sequence of Window

        Returns
        -------
        ndarray of float32, shape (n_windows, n_classes)
        """
        logits = np.empty((len(windows), self._n_classes), dtype=np.float32)
        index = 0
        while index < len(windows):
            stop, hop = self._run_from(index, sessions, windows)
            window = windows[index]
            fresh = [window.samples, *(after.samples[-hop:] for after in windows[index + 1 : stop])]
            logits[index:stop] = self.decode_run(np.concatenate(fresh), window.alignment, hop, stop - index)
            index = stop
        return logits

    def decode_runs(self, batches: Iterable[Sequence[Run]], hop: int) -> Iterator[Array]:
        """Logits of runs of windows, batch by batch.

        Parameters
        ----------
        batches : iterable of sequence of Run
            Each with at least one run.
        hop : int

        Yields
        ------
        ndarray of float32, shape (n_windows, n_classes)
            Of all windows of a batch.
        """
        for runs in batches:
            yield np.concatenate([self.decode_run(run.samples, run.alignment, hop, run.n_windows) for run in runs])

    def decode_run(self, samples: Array, alignment: Array, hop: int, n_windows: int) -> Array:
        """Logits of windows that follow each other at a hop, under one alignment.

        Parameters
        ----------
        samples : ndarray of float32, shape (n_times + (n_windows - 1) * hop, n_chans)
            From the first window's first sample to the last one's last; time-major, contiguous, not aligned.
        alignment : ndarray of float32, shape (n_chans, n_chans)
        hop : int
        n_windows : int
            At most :meth:`most_windows`.

        Returns
        -------
        ndarray of float32, shape (n_windows, n_classes)
        """
        buffers = self._buffers_for(hop, n_windows) if n_windows >= _FEWEST else None
        if buffers is None:
            return self._one_by_one(samples, alignment, hop, range(n_windows))
        buffers.plan.cut(samples, buffers.stretch, buffers.edges)
        logits: Array = self._graph.run(["logits"], {**buffers.feeds, "alignment": alignment})[0]
        # A product with zero is not finite either: one bad sample spoils windows that it is not in.
        spoilt = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if len(spoilt):
            logits[spoilt] = self._one_by_one(samples, alignment, hop, spoilt.tolist())
        return logits

    def _run_from(self, index: int, sessions: Sequence[Any], windows: Sequence[Window]) -> tuple[int, int]:
        """Where the run ends that begins with a window, and its hop."""
        if index + 1 == len(windows):
            return index + 1, 1
        first = windows[index]
        hop = windows[index + 1].end - first.end
        # From samples that have left the windows between, nothing can be put together.
        most = index + (self.most_windows(hop) if 0 < hop <= len(first.samples) else 1)
        stop = index + 1
        while stop < min(most, len(windows)) and (
            sessions[stop] is sessions[index]
            and windows[stop].end - windows[stop - 1].end == hop
            and windows[stop].segment == first.segment
            and windows[stop].alignment_version == first.alignment_version
        ):
            stop += 1
        return stop, max(hop, 1)

    def _one_by_one(self, samples: Array, alignment: Array, hop: int, numbers: Sequence[int]) -> Array:
        n_times = self._geometry.n_times
        return np.concatenate(
            [self._whole.decode_one(samples[number * hop : number * hop + n_times], alignment) for number in numbers]
        )

    def _buffers_for(self, hop: int, n_windows: int) -> _Buffers | None:
        key = (hop, n_windows)
        if key not in self._buffers:
            if len(self._buffers) >= _MOST_PLANS:
                self._buffers.clear()
            plan = plan_recording(self._geometry, hop, n_windows)
            self._buffers[key] = self._make_buffers(plan) if plan is not None else None
        return self._buffers[key]

    def _make_buffers(self, plan: RecordingPlan) -> _Buffers:
        stretch = np.zeros((plan.n_samples, self._n_chans), dtype=np.float32)
        edges = np.zeros((2, plan.n_windows, plan.edge_samples, self._n_chans), dtype=np.float32)
        feeds = {
            "x": stretch,
            "edges": edges.reshape(-1, self._n_chans),
            "pool": plan.pool,
            "spread": plan.spread,
            "own": plan.own,
            "places": plan.places,
        }
        return _Buffers(plan, stretch, edges, feeds)
