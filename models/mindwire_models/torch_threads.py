"""PyTorch's threads."""

from __future__ import annotations


def use_one_thread() -> None:
    """Limit PyTorch to one thread, in this process and permanently.

    For small networks more threads cost more than they save, and results would depend on their number. It is a setting of the
    process, so that changing it for one call would change it for all threads that compute at that time.
    """
    import torch

    torch.set_num_threads(1)
