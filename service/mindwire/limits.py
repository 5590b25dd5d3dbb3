"""Processor cores and open files that this process may use."""

import logging
import os
import resource

log = logging.getLogger(__name__)

# macOS states no hard limit, but its kernel refuses more than this.
_WITHOUT_HARD_LIMIT = 10_240


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one, and return the limit now.

    A stream needs about a dozen files and a client one, so that the usual soft limit of 1024 is soon reached.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WITHOUT_HARD_LIMIT if hard == resource.RLIM_INFINITY else hard
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.warning("The limit of open files stays at %d: %s.", soft, error)
        return soft
    log.info("The limit of open files was raised from %d to %d.", soft, wanted)
    return wanted
