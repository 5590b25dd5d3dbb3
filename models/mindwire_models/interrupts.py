"""Child processes that Ctrl-C does not interrupt: their parent ends them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def children_without_interrupts() -> Iterator[None]:
    """Block SIGINT in processes started within; here it is handled when the context ends.

    A terminal sends Ctrl-C to children too, and each would print a traceback, even during its imports.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # starting it would unblock the signal
    caught: list[FrameType | None] = []
    # Children inherit the mask. Here it is not enough: a library's thread may receive the signal instead of this one.
    handler = signal.signal(signal.SIGINT, lambda _, frame: caught.append(frame))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
        if caught and callable(handler):
            handler(signal.SIGINT, caught[0])
