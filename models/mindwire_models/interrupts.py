"""Child processes that Ctrl-C does not reach: their parent ends them."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def children_without_interrupts() -> Iterator[None]:
    """Block SIGINT in the processes that are started meanwhile; one that comes here is taken when the context ends.

    A terminal sends Ctrl-C to children too, which would each print a traceback, also amid their imports.
    """
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # starting it would unblock the signal
    came: list[FrameType | None] = []
    # The mask is what children inherit. Here it is not enough: a library's thread may take the signal for this one.
    handler = signal.signal(signal.SIGINT, lambda _, frame: came.append(frame))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
        if came and callable(handler):
            handler(signal.SIGINT, came[0])
