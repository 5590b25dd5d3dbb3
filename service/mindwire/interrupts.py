"""Handling of Ctrl-C at any moment, and of a closed pipe at standard output, without a traceback.

Imported before anything else, within 1 ms: the modules ``signal`` and ``typing`` would take 20 ms of the start, in which
Ctrl-C still prints Python's traceback, so the built-in part of the first is used and none of the second.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from types import FrameType
    from typing import Any
else:
    import _signal as signal

INTERRUPTED = 130  # as shells have it: 128 and the signal's number
_REPEAT_S = 0.3


class Interrupts:
    """Handler of SIGINT, which ends what is running by ``KeyboardInterrupt``, without further messages.

    Libraries turn the interrupt into errors of their own, during their import for example, or ignore it; so it is
    recorded as ``came``, and raised again until it has ended what is running.
    """

    def __init__(self) -> None:
        self.came = False
        self._report = sys.unraisablehook

    def begin(self) -> None:
        """Start handling."""
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else the parent process ignores it
            signal.signal(signal.SIGINT, self._interrupt)
            sys.unraisablehook = self._ignore

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self.came = True
        if "threading" in sys.modules:
            sys.modules["threading"].excepthook = lambda _: None  # type: ignore[attr-defined]
        signal.signal(signal.SIGALRM, self._repeat)
        signal.setitimer(signal.ITIMER_REAL, _REPEAT_S, _REPEAT_S)
        raise KeyboardInterrupt

    def _repeat(self, _number: int, _frame: FrameType | None) -> None:
        error = sys.exception()
        while error is not None:
            if isinstance(error, KeyboardInterrupt):  # being handled
                return
            error = error.__context__
        raise KeyboardInterrupt

    def _ignore(self, unraisable: Any) -> None:
        if not self.came:
            self._report(unraisable)

    def end(self) -> None:
        """Stop handling: after an interrupt another one ends the process at once, without one the work is done."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        # Python ends by SIGINT instead of with an exit code if the last code from a string that it ran was interrupted, as
        # dataclasses run it while modules are imported.
        exec("")  # noqa: S102 - nothing
        if signal.getsignal(signal.SIGINT) == self._interrupt:
            signal.signal(signal.SIGINT, signal.SIG_DFL if self.came else signal.SIG_IGN)


def close_output() -> None:
    """Flush standard output; drop the rest if its reader has gone. Other errors are raised."""
    try:
        sys.stdout.flush()
    except OSError as error:
        drop_output()
        if not isinstance(error, BrokenPipeError):
            raise


def drop_output() -> None:
    """Write nothing more to standard output, at the interpreter's end either."""
    if sys.__stdout__ is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())


def ending_signals() -> tuple[int, ...]:
    """Return the signals that ask for the end: Ctrl-C, SIGTERM, and SIGHUP, which a closed terminal sends.

    SIGHUP is left alone if it is ignored, as under ``nohup``.
    """
    hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return signal.SIGINT, signal.SIGTERM, *hangup
