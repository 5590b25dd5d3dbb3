"""Comparison of a live run's recorded decisions and axes with those that its control policy makes of its predictions.

The controller is given exactly the predictions that the recording holds: windows that were skipped live never came to it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire.control.controller import Controller
from mindwire.offline.recorded_run import RecordedRun, RecordedSamples
from mindwire.types import ControlOutput, Prediction
from mindwire_models.contract import Contract
from mindwire_models.text import counted


@dataclass(frozen=True, slots=True)
class ControlComparison:
    """Decisions and values of axes that agree, that differ, and that only the replay gives.

    A decision that only one of the two has differs. Axes that a policy brought after the recording had begun are ``unrecorded``.
    """

    decisions: int
    decisions_differ: int
    axes: int
    axes_differ: int
    axes_unrecorded: int
    at_time: float | None  # of the first difference, in seconds
    seq: int | None = None  # of its prediction; None where none has this time

    @property
    def differs(self) -> bool:
        """True if the recording contradicts the replay."""
        return bool(self.decisions_differ or self.axes_differ)

    @property
    def where(self) -> str:
        """The first difference, for a sentence."""
        return place(self.at_time, self.seq)

    def line(self) -> str:
        """Return the finding, one sentence."""
        clauses = [f"{counted(self.decisions, 'decision')} and {counted(self.axes, 'position')} of the axes confirmed"]
        if self.differs:
            clauses.append(
                f"{counted(self.decisions_differ, 'decision')} and {counted(self.axes_differ, 'position')} of the axes "
                f"differ ({self.where})"
            )
        if self.axes_unrecorded:
            clauses.append(f"{counted(self.axes_unrecorded, 'position')} of the axes not recorded")
        return "; ".join(clauses) + "."


def place(time: float | None, seq: int | None) -> str:
    """Return where the first difference is, for a sentence."""
    return f"first at {time:.3f} s" + ("" if seq is None else f", seq {seq}")


def compare_control(  # noqa: PLR0917
    run: RecordedRun,
    contract: Contract,
    predictions: Sequence[Prediction],
    begins: Sequence[int],
    hops: Sequence[Sequence[tuple[int, tuple[float, float]]]],
    partner: NDArray[np.intp],
    tolerance: float,
    last_turn_s: float,
) -> ControlComparison | None:
    """Compare the decisions and axes of a run; None where it had no control policy.

    Parameters
    ----------
    run : RecordedRun
    contract : Contract
    predictions : sequence of Prediction
        Of the replay.
    begins : sequence of int
        Number of replayed predictions before each pipeline of the run.
    hops : sequence of sequence
        ``times`` of :class:`mindwire.offline.verify.Replayed`.
    partner : ndarray of int, shape (n_predictions,)
        Replayed prediction of each recorded one; -1 for none.
    tolerance : float
        Largest difference of an axis that counts as none.
    last_turn_s : float
        Decisions and axes of this long before the last prediction may have been lost when the service was killed.
    """
    if not any(pipeline.policy or pipeline.control for pipeline in run.pipelines):
        return None
    made = _outputs(run, contract, predictions, begins, hops, partner)
    checked, settled = set(run.times[partner < 0].tolist()), float(run.times[-1]) - last_turn_s
    decided = {time: output.decision.label for time, output in made.items() if output.decision}
    recorded = dict(_rows(run.decisions))
    same = {time for time, (label,) in recorded.items() if decided.get(time) == label}
    wrong = [time for time in recorded if time not in same and time not in checked]
    wrong += [time for time in decided if time not in recorded and time <= settled]
    moved = {time: output.axes for time, output in made.items() if output.axes}
    positions = [(time, row) for time, row in _rows(run.axes) if time not in checked]
    off = [time for time, row in positions if not _equal(row, moved.get(time), tolerance)]
    times = {time for time, _ in positions}
    at_time = min([*wrong, *off], default=None)
    at = partner[run.times == at_time]
    return ControlComparison(
        decisions=len(same),
        decisions_differ=len(set(wrong)),
        axes=len(positions) - len(off),
        axes_differ=len(off),
        axes_unrecorded=sum(time not in times and time <= settled for time in moved),
        at_time=at_time,
        seq=predictions[at[0]].seq if len(at) and at[0] >= 0 else None,
    )


def _outputs(  # noqa: PLR0917
    run: RecordedRun,
    contract: Contract,
    predictions: Sequence[Prediction],
    begins: Sequence[int],
    hops: Sequence[Sequence[tuple[int, tuple[float, float]]]],
    partner: NDArray[np.intp],
) -> dict[float, ControlOutput]:
    """Return the controller's output for each recorded prediction, by its time."""
    outputs: dict[float, ControlOutput] = {}
    controllers: dict[int, Controller] = {}
    later: dict[int, list[tuple[int, tuple[float, float]]]] = {}
    for time, at in zip(run.times.tolist(), partner.tolist(), strict=True):
        number = bisect_right(begins, at) - 1
        if at < 0 or number < 0:
            continue
        if number not in controllers:
            options = run.pipelines[number] if number < len(run.pipelines) else run.options
            first, *later[number] = hops[number]
            controllers[number] = Controller(options.policy, contract.classes, *first[1], options.control)
        while later[number] and later[number][0][0] <= at:  # another model came into use
            controllers[number].retime(*later[number].pop(0)[1])
        prediction = predictions[at]
        row = prediction.probabilities.tolist() if prediction.valid else None
        if (output := controllers[number].update(prediction.seq, time, row)) is not None:
            outputs[time] = output
    return outputs


def _rows(samples: RecordedSamples | None) -> list[tuple[float, list[Any]]]:
    return [] if samples is None else list(zip(samples.times.tolist(), samples.values.tolist(), strict=True))


def _equal(row: list[Any], made: tuple[float, ...] | None, tolerance: float) -> bool:
    return made is not None and len(made) == len(row) and bool(np.abs(np.subtract(row, made)).max() <= tolerance)
