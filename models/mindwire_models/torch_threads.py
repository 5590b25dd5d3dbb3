"""PyTorch's threads."""

from __future__ import annotations


def use_one_thread() -> None:
    """Let PyTorch compute in one thread, in this process and for good.

    More threads only wait for each other in networks so small, and take the cores of other streams and trainings; sums over
    several would depend on how many there are. The number is the process's: who sets it for a call, and sets it back, changes
    it for the threads that compute at the same time.
    """
    import torch

    torch.set_num_threads(1)
