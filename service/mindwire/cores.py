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

    On a core that is free they run at once, as others. Nothing happens where the system does not know the difference or
    forbids it (gVisor, seccomp), or whoever started this program has chosen a schedule for it.
    """
    # A thread inherits its policy from the one that starts it.
    changed = _change_policy("SCHED_OTHER", "SCHED_BATCH")
    try:
        yield
    finally:
        if changed:
            _change_policy("SCHED_BATCH", "SCHED_OTHER")


def _change_policy(before: str, after: str) -> bool:
    """Give this thread another scheduling policy, if it has the one expected and may change it; whether it was changed."""
    if not hasattr(os, after):
        return False
    try:
        if os.sched_getscheduler(0) != getattr(os, before):
            return False
        os.sched_setscheduler(0, getattr(os, after), os.sched_param(0))
    except OSError:
        return False
    return True
