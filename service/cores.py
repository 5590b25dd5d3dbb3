"""How much of this machine is ours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def unhurried() -> Iterator[None]:
    """Threads started within wait for their turn where a core is busy, instead of interrupting the thread that it is busy with.

    On a core that is free they run at once, as others. Nothing happens where the system does not know the difference, or
    whoever started this program has chosen a schedule for it.
    """
    if not hasattr(os, "SCHED_BATCH") or os.sched_getscheduler(0) != os.SCHED_OTHER:
        yield
        return
    # A thread inherits its policy from the one that starts it.
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
