"""Keeps what a stream has learnt of a person, for the next session."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mindwire.adaptation import SavedAdaptation
from mindwire.errors import ContractError
from mindwire.status import Event
from mindwire.types import Prediction

log = logging.getLogger(__name__)


class AdaptationKeeper:
    """Writes a stream's state when the stream has ended.

    Parameters
    ----------
    path : Path
    learnt : callable
        Gives the state, or None before any signal.
    """

    def __init__(self, path: Path, learnt: Callable[[], SavedAdaptation | None]) -> None:
        self._path = path
        self._learnt = learnt

    def publish(self, prediction: Prediction) -> None:
        """Predictions are not kept."""

    def event(self, event: Event) -> None:
        """Events are not kept."""

    def signal(self, times: NDArray[np.float64], samples: NDArray[np.float32]) -> None:
        """The signal is not kept."""

    def close(self) -> None:
        """Write the file, unless nothing was learnt, or less than is kept there already; a failure is logged."""
        saved = self._learnt()
        if saved is None or saved.empty:
            log.info("Nothing was learnt of the person; %s is left as it was.", self._path)
            return
        saved = saved.with_more_of(self._kept())
        try:
            saved.write(self._path)
        except OSError as error:
            log.error("What was learnt could not be written to %s: %s.", self._path, error.strerror)  # noqa: TRY400 - a full disk is no bug
        else:
            log.info("What was learnt of the person is kept in %s.", self._path)

    def _kept(self) -> SavedAdaptation | None:
        """What the file holds; None where there is none, or none that can be read."""
        try:
            return SavedAdaptation.read(self._path) if self._path.exists() else None
        except ContractError:
            return None
