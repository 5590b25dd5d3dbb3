"""Times of recordings in which the person asks for nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mindwire.errors import UsageError
from mindwire.evaluation.control import ControlRun, ControlTask, time_between
from mindwire.evaluation.pseudo_online import Execution, RunSettings, run_recordings
from mindwire.evaluation.scores import EvaluatedRun
from mindwire.inference.decoder import Decoder
from mindwire.offline.trials import count_labels, match_labels
from mindwire.sources.object_stores import is_url
from mindwire.sources.recording_lists import listed_recordings, names_several
from mindwire_models.contract import Contract

_TO = ".."


@dataclass(frozen=True, slots=True)
class RestTimes:
    """Times that are rest besides the trials of an idle class.

    Parameters
    ----------
    recordings : tuple of Path
        Recordings of rest as a whole.
    ranges : tuple of (str, str)
        Labels of the markers between which there is rest: from each of the first to the next of the second.
    between : bool
        The time between trials; see :func:`mindwire.evaluation.control.time_between`.
    """

    recordings: tuple[Path, ...] = ()
    ranges: tuple[tuple[str, str], ...] = ()
    between: bool = False

    @classmethod
    def parse(cls, texts: Sequence[str], *, between: bool = False) -> RestTimes:
        """Read recordings, as :func:`listed_recordings` does, and ``BEGIN..END``; a UsageError says that one is neither."""
        paths: list[Path] = []
        ranges = []
        for text in texts:
            begin, to, end = (part.strip() for part in text.partition(_TO))
            named = is_url(text) or Path(text).exists()
            if to and begin and end and not named:
                ranges.append((begin, end))
            elif named or names_several(text):
                paths += [one.path for one in listed_recordings([text])]
            else:
                msg = f"--rest {text}: expected a recording, or markers as BEGIN{_TO}END, and there is no such file; check the path."
                raise UsageError(msg)
        return cls(tuple(paths), tuple(ranges), between)

    def run(
        self, contract: Contract, decoder: Decoder, settings: RunSettings, execution: Execution | None = None
    ) -> list[EvaluatedRun]:
        """Run the recordings of rest."""
        return run_recordings(self.recordings, contract, decoder, classes=(), settings=settings, execution=execution)

    def control_runs(
        self, cued: Iterable[EvaluatedRun], resting: Iterable[EvaluatedRun], task: ControlTask
    ) -> list[ControlRun]:
        """Return recordings as a policy meets them: those with cues, then those of rest.

        Raises
        ------
        UsageError
            None of the recordings has a range of these markers, or time between trials.
        """
        cued = list(cued)
        if self.between and cued and not any(time_between(run.trials, task) for run in cued):
            msg = f"--between: no two trials are more than a window of {task.window_s:g} s apart, and windows that hold part of a trial show no rest; leave it out."
            raise UsageError(msg)
        spans = [self._spans(run) for run in cued]
        if self.ranges and not any(spans):
            asked = ", ".join(f"--rest {begin}{_TO}{end}" for begin, end in self.ranges)
            found = count_labels(marker.label for run in cued for marker in run.markers)
            msg = f"{asked}: none of the recordings has these markers one after the other; their markers are {found or 'none'}."
            raise UsageError(msg)
        runs = [
            ControlRun.of(run, task, between=self.between, ranges=some) for run, some in zip(cued, spans, strict=True)
        ]
        return [*runs, *(ControlRun.of(run, task, whole=True) for run in resting)]

    def _spans(self, run: EvaluatedRun) -> list[tuple[float, float]]:
        """Return the begin and end of each range of a recording in seconds."""
        spans = []
        markers = sorted(run.markers, key=lambda marker: marker.time)
        for ends in self.ranges:
            matched = match_labels((marker.label for marker in markers), ends)
            begun: float | None = None
            for marker in markers:
                label = matched.get(marker.label)
                if begun is not None and label == ends[1]:
                    spans.append((begun, marker.time))
                    begun = None
                elif label == ends[0]:
                    begun = marker.time
        return spans
