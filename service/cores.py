"""How much of this machine is ours."""

from __future__ import annotations

import os
from contextlib import suppress


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def urge(*, on: bool) -> None:
    """Whether this thread, and those it starts from now on, may interrupt others as soon as they have something to do.

    Where they may not, they still run at once on a core that is free, and in their turn on one that is not. Nothing
    happens where the system does not know the difference, or does not allow it.

    Parameters
    ----------
    on : bool
    """
    with suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER if on else os.SCHED_BATCH, os.sched_param(0))
