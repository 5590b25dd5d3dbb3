"""Threads of loops that can be abandoned when they hang, because Python cannot end a thread.

An abandoned one publishes nothing more, and another does its work. Where it hangs in Python code an exception ends it;
otherwise it ends as soon as the call that hangs returns.
"""

import contextlib
import ctypes
import threading
import time


class Abandoned(SystemExit):
    """Ends an abandoned thread; no handler of errors catches it."""


class LoopThread(threading.Thread):
    """Thread of a loop, ``abandoned`` if another thread has taken its place."""

    abandoned = False
    any_abandoned = False

    def run(self) -> None:
        """Run the target; :class:`Abandoned` and other requests to exit end the thread without a traceback."""
        with contextlib.suppress(SystemExit):
            super().run()

    def abandon(self) -> None:
        """Fence the thread off, and end it as soon as it executes Python code again."""
        self.abandoned = LoopThread.any_abandoned = True
        if self.ident is not None and self.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.ident), ctypes.py_object(Abandoned))


def fence() -> None:
    """End the calling thread, by :class:`Abandoned`, if it was abandoned; called before all that others would notice."""
    if LoopThread.any_abandoned and getattr(threading.current_thread(), "abandoned", False):
        raise Abandoned


class LoopStop(threading.Event):
    """Event that asks a loop to end; ``checked_at`` is the monotonic time at which the loop last checked it."""

    def __init__(self) -> None:
        super().__init__()
        self.checked_at = time.monotonic()

    def is_set(self) -> bool:
        """Return true if the loop is to end."""
        self.checked_at = time.monotonic()
        return super().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the loop is to end; return true if it is. The loop counts as alive meanwhile."""
        self.checked_at = time.monotonic() + (timeout or 0.0)
        ended = super().wait(timeout)
        self.checked_at = time.monotonic()
        return ended

    @property
    def stopping(self) -> bool:
        """True if the loop is to end; reading it does not count as a check by the loop."""
        return super().is_set()
