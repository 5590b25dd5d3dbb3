"""Work that runs ahead of whoever waits for it, in a thread of its own, in order and bounded."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from queue import Queue
from typing import Generic, TypeVar

T = TypeVar("T")

_MOST_AHEAD = 3


@dataclass(frozen=True, slots=True)
class _Made(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


def ahead(values: Generator[T]) -> Generator[T]:
    """The same values, made in a thread a few ahead of the one that is asked for.

    Parameters
    ----------
    values : generator
        Only that thread touches it from now on, and closes it.

    Yields
    ------
    object
        What making them raises is raised here, in its place. Closed early, the thread ends at its next value.
    """
    queue: Queue[_Made[T] | _End] = Queue(_MOST_AHEAD)
    stop = threading.Event()

    def make() -> None:
        error: BaseException | None = None
        try:
            with closing(values):
                for value in values:
                    queue.put(_Made(value))
                    if stop.is_set():
                        break
        except BaseException as caught:  # noqa: BLE001 - raised again where the values are used
            error = caught
        queue.put(_End(error))

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    taken: _Made[T] | _End | None = None
    try:
        while isinstance(taken := queue.get(), _Made):
            yield taken.value
        if taken.error is not None:
            raise taken.error
    finally:
        stop.set()
        while not isinstance(taken, _End):  # it may wait for room
            taken = queue.get()
        thread.join()
