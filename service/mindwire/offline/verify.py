"""Verification of a live run's recording: its replay must give the predictions that it contains.

The recording holds the pipeline's input, sample by sample, and names the bundle, options and commands. Parts that the
recording lacks cannot be checked, and are reported as such.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mindwire.errors import BundleError
from mindwire.inference.decoder import Decoder
from mindwire.offline.model_changes import ChangingPipeline, Models, control_times, make_pipeline
from mindwire.offline.recorded_run import RecordedRun
from mindwire.offline.verify_control import ControlComparison, compare_control, place
from mindwire.pipeline import Pipeline
from mindwire.signal.events import PipelineEvent
from mindwire.sources.own_input import InputComparison, compare_with_device, input_parts
from mindwire.sources.xdf_file import UNINITIALISED_END
from mindwire.types import Prediction
from mindwire_models.bundle import Bundle
from mindwire_models.contract import Contract
from mindwire_models.text import counted

# The times are computed again from the same stamps, perhaps on another machine.
_SAME_TIME_S = 1e-5
# Samples on their way while the service was killed.
_LAST_TURN_S = 1.0


@dataclass(frozen=True, slots=True)
class Replayed:
    """Predictions that a recorded run's input gives, before which of them pipelines begin or input is missing, and its end.

    ``events`` are the pipelines', each with the time of the last sample by then; ``adaptation`` the alignment's state after
    every update of its matrix. ``times`` are the length of windows and the time between two, in seconds, of each pipeline in
    use, with the number of predictions before it, by beginnings.
    """

    predictions: list[Prediction]
    begins: tuple[int, ...]
    holes: tuple[int, ...]
    last_time: float
    events: list[tuple[float, PipelineEvent]] = field(default_factory=list)
    adaptation: list[AlignmentPoint] = field(default_factory=list)
    times: list[list[tuple[int, tuple[float, float]]]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AlignmentPoint:
    """The alignment at a time of the signal, in seconds; ``version`` and ``drift`` as of :class:`OnlineAlignment`."""

    time: float
    pipeline: int
    version: int
    drift: float
    good_seconds: float
    frozen: bool


@dataclass(frozen=True, slots=True)
class Verification:
    """Comparison of a recorded run with its replay.

    ``confirmed`` recorded predictions are given by the replay too, invalid ones or valid ones within the tolerance. Among the
    ``compared``, which both hold for valid, the largest difference in probability lies ``at_time``; ``validity_differs`` where
    only one of the two holds a prediction for valid. ``equal`` of the compared are the same bit for bit. The first prediction
    that differs or that the replay lacks is ``first_seq`` (None if it lacks it) at ``first_time``. Replayed predictions that the recording lacks are ``skipped``; recorded
    ones that the replay lacks are ``unknown``, or ``unchecked`` where the recording lacks their samples. ``input`` compares the
    samples with the device's own recorded stream, if that is in the file; ``damage`` of the file is a sentence each;
    ``control`` compares decisions and axes, where a control policy ran; ``outside`` predictions, before and after the run, are left out.
    """

    confirmed: int
    compared: int
    largest_difference: float
    at_time: float | None
    validity_differs: int
    skipped: int
    unknown: int
    unchecked: int
    input: InputComparison | None
    tolerance: float
    control: ControlComparison | None = None
    damage: tuple[str, ...] = ()
    equal: int = 0
    first_time: float | None = None
    first_seq: int | None = None
    replayed: Replayed | None = field(default=None, repr=False, compare=False)
    outside: int = 0

    @property
    def agrees(self) -> bool:
        """True if the file is whole, something was confirmed, also by the device's own samples, and nothing differs."""
        return self.reproduced and not self.lacking

    @property
    def reproduced(self) -> bool:
        """True if something was confirmed and nothing contradicts it."""
        return (
            self.confirmed > 0
            and self.largest_difference <= self.tolerance
            and not self.validity_differs
            and not self.unknown
            and not (self.input and self.input.different)
            and not (self.control and self.control.differs)
        )

    @property
    def lacking(self) -> str:
        """Reason why the file proves nothing, as the end of a sentence; empty when it is whole."""
        if self.damage:
            return "the file is damaged"
        if self.input is None:
            return "the device's own stream is missing from the file"
        return "" if self.input.same else "the device's own stream holds none of the samples that were decoded"

    def lines(self) -> list[str]:
        """Return the findings, a sentence or two each."""
        where = f" (at {self.at_time:.3f} s)" if self.at_time is not None and self.largest_difference > 0 else ""
        clauses = [
            f"{self.confirmed} predictions confirmed, {self.compared} of them valid (made of a whole, clean window)",
            f"largest difference {self.largest_difference:.3g}{where}",
        ]
        counts = (
            (self.validity_differs, "valid only live or only in the replay"),
            (self.unknown, "not in the replay"),
            (self.skipped, "skipped live"),
        )
        clauses += [f"{count} {what}" for count, what in counts if count]
        clauses += [place(self.first_time, self.first_seq)] if self.first_time is not None else []
        lines = ["; ".join(clauses) + "."]
        if self.outside:
            lines.append(
                f"Not compared, because they are earlier or later than the run: {counted(self.outside, 'prediction')}."
            )
        if self.unchecked:
            lines.append(f"{self.unchecked} predictions cannot be checked: the recording lacks their samples.")
        if self.control is not None:
            lines.append(self.control.line())
        if self.input is None:
            lines.append(
                "The device's own stream is not in the recording; the recorded input cannot be compared with it."
            )
        else:
            compared = [f"{self.input.same} samples equal those of the device's own recorded stream"]
            compared += (
                [f"{self.input.different} differ from it ({place(self.input.at_time, None)})"]
                if self.input.different
                else []
            )
            compared += [f"{self.input.missed} are missing there"] if self.input.missed else []
            lines.append(", ".join(compared) + ".")
        return lines


def verify(
    run: RecordedRun,
    bundle: Bundle | Sequence[Bundle],
    decoder: Decoder | Sequence[Decoder],
    tolerance: float = 1e-6,
    *,
    on_samples: Callable[[int], None] | None = None,
) -> Verification:
    """Replay a recorded run and compare; differences in probability up to ``tolerance`` count as none.

    Of a run that changed its model the bundles are those of all, each with its decoder. A BundleError says that a bundle is
    not one that the run had, or that one is not given.
    """
    bundles = [bundle] if isinstance(bundle, Bundle) else list(bundle)
    decoders = list(decoder) if isinstance(decoder, Sequence) else [decoder]
    models = {one.sha256: (one.contract, its) for one, its in zip(bundles, decoders, strict=True)}
    bundle = bundles[0]
    if bundle.sha256 != run.model_sha256:
        msg = (
            f"{run.recording.path} was made with {run.model_name} ({run.model_sha256[:12]}), found {bundle.name} "
            f"({bundle.sha256[:12]}); give that bundle with --model."
        )
        raise BundleError(msg)
    found = compare(run, bundle.contract, _replay(run, models, on_samples), tolerance)
    if run.signal_id is not None:
        parts = input_parts(run.recording.path, run.recording.as_sent(run.input_id))
        device = compare_with_device(parts, run.recording.as_sent(run.signal_id))
        found = replace(found, input=device)
    damage = tuple(problem for problem in run.recording.problems if UNINITIALISED_END not in problem)
    return replace(found, damage=damage, outside=run.outside)


def _replay(
    run: RecordedRun,
    models: Models,
    on_samples: Callable[[int], None] | None,
) -> Replayed:
    pipelines: ChangingPipeline | None = None
    make = partial(make_pipeline, models, info=run.info)
    times: list[list[tuple[int, tuple[float, float]]]] = []
    predictions: list[Prediction] = []
    begins: list[int] = []
    holes: list[int] = []
    events: list[tuple[float, PipelineEvent]] = []
    adaptation: list[AlignmentPoint] = []
    taken, last = 0, float("-inf")
    for part in input_parts(run.recording.path, run.recording.as_sent(run.input_id)):
        if part.begins:
            number = min(len(begins), len(run.pipelines) - 1)
            pipeline = make(run.models[number], options=run.pipelines[number])
            times.append([(len(predictions), control_times(pipeline))])
            pipelines = ChangingPipeline(pipeline, run.changes[number], make, times[-1])
            begins.append(len(predictions))
        elif part.lost or (pipelines is None and not holes):
            pipelines = None
            holes.append(len(predictions))
        if pipelines is not None:
            pipelines.process(part.chunk, predictions)
            last = float(part.chunk.times[-1])
            events += [(last, event) for event in pipelines.running.drain_events()]
            _follow(pipelines.running, last, sum(map(len, times)), adaptation)
        taken += len(part.chunk)
        if on_samples is not None:
            on_samples(taken)
    return Replayed(predictions, tuple(begins), tuple(holes), last, events, adaptation, times)


def _follow(pipeline: Pipeline, time: float, number: int, points: list[AlignmentPoint]) -> None:
    """Append the state of a pipeline's alignment if it is another than before."""
    alignment = pipeline.alignment
    if alignment is None:
        return
    key = (number, alignment.version, alignment.frozen)
    if points and key == (points[-1].pipeline, points[-1].version, points[-1].frozen):
        return
    good = alignment.state.good_samples / pipeline.contract.sfreq
    points.append(AlignmentPoint(time, number, alignment.version, alignment.drift, good, alignment.frozen))


def compare(run: RecordedRun, contract: Contract, replayed: Replayed, tolerance: float) -> Verification:
    """Compare recorded predictions with replayed ones, both in their order, paired by their times; without the input."""
    partner = _pair(run.times, np.array([prediction.time for prediction in replayed.predictions]))
    known = np.flatnonzero(partner >= 0)
    again = [replayed.predictions[k] for k in partner[known]]
    live = run.probabilities[known]
    valid_live = ~np.isnan(live).any(axis=1)
    valid_again = np.array([prediction.valid for prediction in again], dtype=bool)
    both = valid_live & valid_again
    differences = np.zeros(len(known))
    for k in np.flatnonzero(both):
        differences[k] = np.abs(again[k].probabilities - live[k]).max()
    worst = int(np.argmax(differences)) if both.any() else None
    excused = _excused(run, replayed, partner)
    agrees = (valid_live == valid_again) & (differences <= tolerance)
    wrong = (partner < 0) & ~excused
    wrong[known[~agrees]] = True
    first = int(np.argmax(wrong)) if wrong.any() else None
    exact = [np.array_equal(again[k].probabilities.astype(np.float32), live[k]) for k in np.flatnonzero(both)]
    inside = int(partner[known[-1]] - partner[known[0]] + 1) if len(known) else 0
    return Verification(
        confirmed=int(agrees.sum()),
        compared=int(both.sum()),
        largest_difference=float(differences.max(initial=0.0)),
        at_time=None if worst is None else float(run.times[known[worst]]),
        validity_differs=int((valid_live != valid_again).sum()),
        skipped=inside - len(known),
        unknown=len(partner) - len(known) - int(excused.sum()),
        unchecked=int(excused.sum()),
        input=None,
        tolerance=tolerance,
        control=compare_control(
            run, contract, replayed.predictions, replayed.begins, replayed.times, partner, tolerance, _LAST_TURN_S
        ),
        equal=sum(exact),
        first_time=None if first is None else float(run.times[first]),
        first_seq=None if first is None or partner[first] < 0 else replayed.predictions[partner[first]].seq,
        replayed=replayed,
    )


def _pair(times: NDArray[np.float64], again: NDArray[np.float64]) -> NDArray[np.intp]:
    """For each time the next of the others that is the same, or -1; clocks may jump, the order stands."""
    partner = np.full(len(times), -1, dtype=np.intp)
    position = 0
    for k, time in enumerate(times):
        if position < len(again) and abs(again[position] - time) <= _SAME_TIME_S:
            partner[k] = position
        else:
            same = np.flatnonzero(np.abs(again[position:] - time) <= _SAME_TIME_S)
            if not len(same):
                continue
            partner[k] = position + same[0]
        position = int(partner[k]) + 1
    return partner


def _excused(run: RecordedRun, replayed: Replayed, partner: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return true for recorded predictions without a partner because input is missing between their neighbours' partners."""
    known = partner >= 0
    before = np.maximum.accumulate(np.where(known, partner, -1))
    after = np.minimum.accumulate(np.where(known, partner, len(replayed.predictions))[::-1])[::-1]
    explained = np.zeros(len(partner), dtype=bool)
    for hole in replayed.holes:
        explained |= (before < hole) & (hole <= after)
    late = run.times - replayed.last_time
    explained |= (after == len(replayed.predictions)) & (late > 0) & (late < _LAST_TURN_S)
    return explained & ~known
