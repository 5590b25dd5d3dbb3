"""Number of learnt states that are remembered, to be taken back."""

from __future__ import annotations

MAX_STATES = 600
MAX_BYTES = 2 << 20


def remembered(state_bytes: int) -> int:
    """Return how many states of a size are remembered: at most 600, and no more than 2 MiB hold, but always one."""
    return max(1, min(MAX_STATES, MAX_BYTES // max(state_bytes, 1)))
