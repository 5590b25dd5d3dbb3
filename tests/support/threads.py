"""Threads that last as long as a context."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def meanwhile(act: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run a function in a thread; it is given the event that is set when the context ends, and awaited."""
    end = threading.Event()
    thread = threading.Thread(target=act, args=(end,))
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
