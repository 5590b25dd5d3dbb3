"""A connected stream as the runner of many streams drives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mindwire.live.decode_loop import Due, Worker
from mindwire.live.place import Look
from mindwire.types import Prediction


class Stoppable(Protocol):
    """What may be told to end."""

    @property
    def stopping(self) -> bool:
        """Whether it was."""
        ...


class Driven:
    """A connected stream, made of what it does in its own loop; a :class:`mindwire.live.runner.Member`.

    Parameters
    ----------
    stop : Stoppable
    worker : Worker
    look : callable
        Takes what has arrived, without waiting; None when nothing has.
    publish : callable
        Tells everybody a prediction.
    told : callable
        Does what can wait until the predictions are out.
    """

    def __init__(
        self,
        stop: Stoppable,
        worker: Worker,
        look: Callable[[], Look | None],
        publish: Callable[[Prediction], None],
        told: Callable[[Worker], None],
    ) -> None:
        self.worker = worker
        self.look = look
        self._stop = stop
        self._publish = publish
        self._told = told

    @property
    def stopping(self) -> bool:
        """Whether the stream is to end."""
        return self._stop.stopping

    def publish(self, due: Due, probabilities: NDArray[np.float64], decode_ms: float) -> None:
        """Complete a window and tell everybody."""
        self._publish(self.worker.complete(due, probabilities, decode_ms))

    def settle(self) -> None:
        """Tell everybody what else happened."""
        self._told(self.worker)
