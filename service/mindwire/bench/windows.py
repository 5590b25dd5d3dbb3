"""Windows of one contiguous random stream, for decoders measured without a pipeline."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mindwire.types import Reason, Window
from mindwire_models.contract import Contract

_LENGTH = 100_000


def windows_of(contract: Contract, hop: int, count: int, seed: int = 0) -> Iterator[Window]:
    """Consecutive windows of one stream.

    Parameters
    ----------
    contract : Contract
    hop : int
        Samples from one window to the next.
    count : int
    seed : int

    Yields
    ------
    Window
        Contiguous until 100,000 samples are used up; then a new segment begins.
    """
    signal = np.random.default_rng(seed).standard_normal((_LENGTH, contract.n_channels)).astype(np.float32)
    identity = np.eye(contract.n_channels, dtype=np.float32)
    per_segment = (_LENGTH - contract.window_samples) // hop
    for seq in range(count):
        segment, position = divmod(seq, per_segment)
        end = contract.window_samples + position * hop
        yield Window(
            seq=seq,
            time=seq * hop / contract.sfreq,
            samples=signal[end - contract.window_samples : end],
            alignment=identity,
            alignment_version=0,
            segment=segment,
            end=end,
            reasons=Reason.NONE,
        )
