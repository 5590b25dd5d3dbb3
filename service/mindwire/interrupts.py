"""Ctrl-C at any moment, and a closed pipe at the other end, without a traceback.

Imported before anything that takes time, so nothing but the lightest of the standard library is imported here.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any

INTERRUPTED = 130  # as shells have it: 128 and the signal's number
_AGAIN_S = 0.3


class Interrupts:
    """Takes SIGINT from now on: what is running is ended by ``KeyboardInterrupt``, and what that gives rise to is silent.

    Libraries turn the interrupt into errors of their own, amid their import for example, or ignore it; so what counts
    is that it came, and it is raised again until it has ended what is running.

    Attributes
    ----------
    came : bool
    """

    def __init__(self) -> None:
        self.came = False
        self._report = sys.unraisablehook
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else whoever started us ignores it
            signal.signal(signal.SIGINT, self._take)
            sys.unraisablehook = self._ignored

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self.came = True
        if "threading" in sys.modules:
            sys.modules["threading"].excepthook = lambda _: None  # type: ignore[attr-defined]
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, self._again)
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S, _AGAIN_S)
        raise KeyboardInterrupt

    def _again(self, _number: int, _frame: FrameType | None) -> None:
        error = sys.exception()
        while error is not None:
            if isinstance(error, KeyboardInterrupt):  # on its way; what it ends is tidied up
                return
            error = error.__context__
        raise KeyboardInterrupt

    def _ignored(self, unraisable: Any) -> None:
        if not self.came:
            self._report(unraisable)

    def end(self) -> None:
        """Take no more: where one came another ends the process at once, where none did the work is done."""
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        if signal.getsignal(signal.SIGINT) == self._take:
            signal.signal(signal.SIGINT, signal.SIG_DFL if self.came else signal.SIG_IGN)


def close_output() -> None:
    """Write what is buffered for standard output; drop it where nobody reads it any more.

    Raises
    ------
    OSError
        It cannot be written for another reason.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        drop_output()
        if not isinstance(error, BrokenPipeError):
            raise


def drop_output() -> None:
    """Let nothing more be written to standard output, not by the interpreter's end either."""
    if sys.__stdout__ is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())
