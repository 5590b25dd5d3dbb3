"""Child processes that Ctrl-C does not reach: their parent ends them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def children_without_interrupts() -> Iterator[None]:
    """Block SIGINT in this thread, and in the processes that it starts; here it is delivered when the context ends.

    A terminal sends Ctrl-C to children too, which would each print a traceback, also amid their imports.
    """
    if sys.platform == "win32":
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # starting it would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
