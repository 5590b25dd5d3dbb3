"""Signals that end a command in order."""

from __future__ import annotations

import signal


def ending_signals() -> tuple[signal.Signals, ...]:
    """Signals that ask for the end: Ctrl-C, SIGTERM, and SIGHUP, which a closed terminal sends.

    SIGHUP is left alone if it is ignored, as under ``nohup``.
    """
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return tuple(signals)
