"""Signals that end a command in order."""

from __future__ import annotations

import signal


def ending_signals() -> tuple[signal.Signals, ...]:
    """Signals that ask for the end: Ctrl-C, SIGTERM, and SIGHUP, which a closed terminal sends.

    SIGHUP is left alone where it is ignored, as under ``nohup``, and where the system has none.
    """
    signals = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return tuple(signals)
