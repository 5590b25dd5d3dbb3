"""Interface of a decoder to the pipeline, and what decoders of whole windows share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mindwire.types import Window
from mindwire_models.bundle import Bundle

# Larger batches lose speed per window: they leave the cache.
MAX_BATCH = 12

# Part of a running decoder that follows the person: the alignment alone, where the contract asks for one; the
# statistics of BatchNorm too; or also its weights, towards decisions of less entropy.
Adapt = Literal["alignment", "bn", "entropy"]


def probabilities(logits: NDArray[np.floating[Any]], temperature: float) -> NDArray[np.float64]:
    """Return the softmax of logits, ``(..., n_classes)``, over a temperature; NaN for a row with any value not finite."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    finite = np.isfinite(scaled)
    if not finite.all():
        rows = finite.all(axis=-1, keepdims=True)
        return np.where(rows, probabilities(np.where(rows, logits, 0.0), temperature), np.nan)
    exponents = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    exponents /= exponents.sum(axis=-1, keepdims=True)
    return np.asarray(exponents)


@runtime_checkable
class Learner(Protocol):
    """A session that learns from the signal it decodes, without labels.

    The pipeline gives it every good window whose ``end`` is a multiple of :attr:`step_samples`, whether or not
    the windows between are decoded, and writes on each window what was learnt by then
    (:attr:`mindwire.types.Window.learnt`). So the predictions depend on the samples alone.

    Attributes
    ----------
    kind : {"bn", "entropy"}
    step_samples : int
        Conditioned samples from one window to learn from to the next.
    frozen : bool
        While true, nothing is learnt.
    """

    kind: Adapt
    step_samples: int
    frozen: bool

    @property
    def learnt(self) -> Any:
        """Immutable state that was learnt so far."""

    @property
    def steps(self) -> int:
        """Steps taken since the start, less those taken back."""

    @property
    def drift(self) -> float:
        """Distance of the statistics from the bundle's: symmetric Kullback-Leibler divergence, mean over features."""

    def learn(self, window: Window) -> None:
        """Learn from a good window; does nothing while frozen."""

    def rollback(self, steps: int) -> int:
        """Take back the last steps; return how many were."""

    def save(self) -> Mapping[str, NDArray[Any]]:
        """Return the learnt state as named arrays that :meth:`restore` takes."""

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Continue from a saved state; raise ContractError for one of another network."""


class Decoder(Protocol):
    """Turns windows into logits; stateless but for the sessions it hands out.

    Attributes
    ----------
    engine : {"onnxruntime", "torch"}
    device : {"cpu", "cuda"}
    reason : str
        Why this engine and device were chosen, for the log and the user.
    """

    engine: str
    device: str
    reason: str

    def session(self) -> Any:
        """Return a new state for one stream."""

    def decode(self, sessions: Sequence[Any], windows: Sequence[Window]) -> NDArray[np.float32]:
        """Return the logits of windows, ``(n_windows, n_classes)``, each of the session at its place.

        A session's windows come in their order.
        """


class WindowDecoder(ABC):
    """A decoder of whole windows, which needs no state.

    Windows of one stream are decoded in calls of their own, so that its predictions do not depend, to the last bit, on
    how many fell due together.

    Parameters
    ----------
    bundle, device, reason
        See :class:`Decoder`.
    """

    engine: str

    def __init__(self, bundle: Bundle, device: str, reason: str) -> None:
        self.device = device
        self.reason = reason
        self._n_classes = len(bundle.contract.classes)
        self._shape = (bundle.contract.n_channels, bundle.contract.window_samples)

    def session(self) -> object:
        """Return a marker of one stream."""
        return object()

    def decode(self, sessions: Sequence[Any], windows: Sequence[Window]) -> NDArray[np.float32]:
        """Return the logits of windows; see :meth:`Decoder.decode`."""
        logits = np.empty((len(windows), self._n_classes), dtype=np.float32)
        for part in batches(sessions):
            logits[part] = self._decode_batch([windows[index] for index in part])
        return logits

    @abstractmethod
    def _decode_batch(self, windows: Sequence[Window]) -> NDArray[np.float32]:
        """Return the logits of at most :data:`MAX_BATCH` windows."""


def batches(sessions: Sequence[Any]) -> Iterator[list[int]]:
    """Split windows, in order, into batches in which each session occurs once; yield the indices, at most :data:`MAX_BATCH`."""
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
