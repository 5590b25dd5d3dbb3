"""A stream's adaptation to a person, kept for the next session or the next process."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mindwire.adaptation import SavedAdaptation
from mindwire.errors import ContractError
from mindwire.status import Sink
from mindwire.types import Prediction

log = logging.getLogger(__name__)

CHECKPOINT_S = 5.0
_writer = ThreadPoolExecutor(1, "mindwire-checkpoint")


@dataclass(eq=False)
class AdaptationWriter(Sink):
    """Sink that writes a stream's adaptation when the stream has ended."""

    path: Path
    learnt: Callable[[], SavedAdaptation | None]  # returns None before any signal

    def close(self) -> None:
        """Write the file, unless nothing was learnt, or less than is kept there already; a failure is logged."""
        saved = self.learnt()
        if saved is None or saved.empty:
            log.info("Nothing was learnt of the person; %s is left as it was.", self.path)
            return
        with suppress(ContractError):  # there is none, or none that can be read
            saved = saved.with_more_of(SavedAdaptation.read(self.path))
        if _write(saved, self.path):
            log.info("What was learnt of the person is kept in %s.", self.path)


@dataclass(eq=False)
class AdaptationCheckpoint(Sink):
    """Sink that writes a stream's adaptation every few seconds, for the process that replaces a killed one."""

    path: Path
    learnt: Callable[[], SavedAdaptation | None]  # returns None before any signal; called in a thread of its own

    def __post_init__(self) -> None:
        """Begin with the first interval."""
        self._due = time.monotonic() + CHECKPOINT_S
        self._written = b""

    def publish(self, prediction: Prediction) -> None:  # noqa: ARG002
        """Write the file if it is time, in another thread."""
        now = time.monotonic()
        if now >= self._due:
            # streams that begin together would go on writing together, and delay predictions
            self._due = now + CHECKPOINT_S * (1.0 if self._written else random.random())  # noqa: S311
            _writer.submit(self._write)

    def _write(self) -> None:
        saved = self.learnt()
        if saved is None or saved.empty or (content := saved.to_bytes()) == self._written:
            return
        if _write(saved, self.path):
            self._written = content


def delete_checkpoint(path: Path) -> None:
    """Delete the file of a checkpoint whose sink has been closed, after everything that it has still to write."""
    _writer.submit(path.unlink, missing_ok=True).result()


def _write(saved: SavedAdaptation, path: Path) -> bool:
    """Write a file; return false, with a message in the log, if that fails."""
    try:
        saved.write(path)
    except OSError as error:
        log.error("What was learnt could not be written to %s: %s.", path, error.strerror)  # noqa: TRY400 - a full disk is no bug
        return False
    return True


def write_adaptation(stream: str, path: Path | None, learnt: SavedAdaptation | None) -> None:
    """Write what a stream has learnt because somebody asks for it.

    Raises
    ------
    ContractError
        The stream has no file for it, nothing was learnt yet, or the file cannot be written.
    """
    if path is None:
        msg = f"Stream {stream!r} has no file for its adaptation; give it one with --adaptation-state."
        raise ContractError(msg)
    if learnt is None or learnt.empty:
        msg = f"Stream {stream!r} has learnt nothing of the person yet; there is nothing to save."
        raise ContractError(msg)
    try:
        learnt.write(path)
    except OSError as error:
        msg = f"The adaptation of stream {stream!r} could not be written ({error.strerror}); check disk and path."
        raise ContractError(msg) from error
