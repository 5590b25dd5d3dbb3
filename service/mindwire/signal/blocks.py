"""Positions at which the blocks of samples end that the alignment learns from."""

from __future__ import annotations

from mindwire_models.contract import Alignment, Contract


class BlockSchedule:
    """The ends of a segment's blocks, which depend on nothing but its samples.

    Until the alignment can be ready the blocks follow each other from the first sample on, so that it is as early as
    can be; then at the segment's phase. What an alignment costs comes seldom, and would come for all streams that
    began together at the same moment.

    Parameters
    ----------
    contract : Contract
    spec : Alignment
        The contract's.

    Attributes
    ----------
    n_samples : int
        Of a block.
    """

    def __init__(self, contract: Contract, spec: Alignment) -> None:
        self.n_samples = spec.update_samples
        soonest = contract.settling_samples + spec.ready_samples
        self._first = -(-soonest // self.n_samples) * self.n_samples
        # By hops of the contract, for what is learnt must not depend on how often somebody wants a prediction.
        self._hop = contract.hop_samples
        self._to_window = (contract.window_samples - self._first - self.n_samples) % self._hop
        self._begin = self._first
        self._earliest = self.n_samples - 1

    def restart(self, phase: float, begin: int = 0) -> None:
        """Begin a segment, whose later blocks are later by a phase, a part of a block in [0, 1), to a whole hop.

        They end with a window, which is published before the block is learnt from. None holds samples before ``begin``.
        """
        self._earliest = begin + self.n_samples - 1
        self._begin = self._first + round(phase * self.n_samples / self._hop) * self._hop + self._to_window

    def after(self, count: int) -> int:
        """Return the end of the next block after ``count`` samples of the segment."""
        count = max(count, self._earliest)
        begin = 0 if count < self._first else self._begin
        return begin + (max(count - begin, 0) // self.n_samples + 1) * self.n_samples

    def ends(self, before: int, now: int) -> list[int]:
        """Return the ends of blocks after ``before`` samples up to ``now``."""
        found = []
        while (before := self.after(before)) <= now:
            found.append(before)
        return found
