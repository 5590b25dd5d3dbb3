"""Recordings through the live pipeline, as fast as the machine allows: the part of an evaluation that reads files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mindwire.errors import MindwireError, RecordingError, UsageError
from mindwire.evaluation.kept_runs import KeptRuns, run_key
from mindwire.evaluation.scores import AlignmentMode, EvaluatedRun, Trace, contract_for
from mindwire.inference.decoder import Decoder
from mindwire.inference.load import DecoderChoice
from mindwire.offline.covered_time import CoveredTime
from mindwire.offline.replay import TOGETHER_SECONDS, coalesced
from mindwire.offline.trials import check_marker_map, left_out_markers, match_labels, trials_from_markers
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.signal.events import PipelineEvent, doubts, warn_of
from mindwire.sources.object_stores import copy_if_absent
from mindwire.sources.recording import Recording, Selector, open_recording
from mindwire.types import Prediction
from mindwire_models.bundle import Bundle
from mindwire_models.contract import Contract
from mindwire_models.parallel import Parallel, run_parallel
from mindwire_models.text import counted, printable

_HASH_BLOCK = 1 << 20
_DATA_FILE = re.compile(r"^DataFile=(.+)$", re.MULTILINE)
_DECIDED_AT_S = 4.0
_PAUSES = {"gap": "gap", "clock_reset": "clock jump"}

Progress = Callable[[int, int], None]
Failed = Callable[[Path, MindwireError], object]


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Settings for reading and running recordings.

    ``markers`` maps labels to classes; classes without an entry are found by their own name. Without ``marker_stream`` all are
    merged, without ``stream`` the only signal of type EEG is taken.
    """

    markers: Mapping[str, str] = field(default_factory=dict)
    marker_stream: str | None = None
    stream: Selector | None = None
    alignment: AlignmentMode = AlignmentMode.ONLINE
    pipeline: PipelineOptions = field(default_factory=PipelineOptions)


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes, of a BrainVision header's data file; of a folder, its files' names and hashes in order."""
    path = copy_if_absent(path)
    digest = hashlib.sha256()
    if path.is_dir():
        for part in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{file_sha256(part)}  {part.relative_to(path).as_posix()}\n".encode())
        return digest.hexdigest()
    if path.suffix.casefold() == ".vhdr" and (data := _brainvision_data(path)) is not None:
        return file_sha256(data)
    try:
        with path.open("rb") as file:
            while block := file.read(_HASH_BLOCK):
                digest.update(block)
    except OSError as error:
        msg = f"{path}: the recording cannot be read ({error.strerror}); check the path."
        raise RecordingError(msg) from error
    return digest.hexdigest()


def _brainvision_data(header: Path) -> Path | None:
    """The file with the samples: headers of different recordings may be the same."""
    try:
        found = _DATA_FILE.search(header.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    data = header.with_name(found[1].strip().replace("$b", header.stem)) if found else header
    return data if data != header and data.is_file() else None


def choose_classes(wanted: Sequence[str] | None, contract: Contract) -> tuple[str, ...]:
    """The classes to decide between, in the model's order; a UsageError says that one is not the model's, or that too few are left."""
    if wanted is None:
        return contract.classes
    unknown = [name for name in wanted if name not in contract.classes]
    if unknown:
        msg = f"--classes {','.join(wanted)}: the model has no class {unknown[0]!r}; its classes are {', '.join(contract.classes)}."
        raise UsageError(msg)
    chosen = tuple(name for name in contract.classes if name in wanted)
    if len(chosen) < 2:
        msg = f"--classes needs at least two of {', '.join(contract.classes)}, found {', '.join(wanted) or 'none'}."
        raise UsageError(msg)
    return chosen


def as_in_training(
    settings: RunSettings, at_s: float | None, bundle: Bundle, paths: Sequence[Path]
) -> tuple[RunSettings, float, str]:
    """Apply what a bundle remembers of its training where the user did not decide otherwise, and tell in a sentence what was applied.

    Remembered labels that none of the recordings has are left out. The moment of decision, in seconds since the cue, is 4 s by
    default.
    """
    training = bundle.training
    if training is None:
        return settings, _DECIDED_AT_S if at_s is None else at_s, ""
    applied = []
    if settings.marker_stream is None and training.marker_stream is not None:
        settings = replace(settings, marker_stream=training.marker_stream)
        applied.append(f"marker stream {training.marker_stream!r}")
    recordings = [open_recording(path) for path in paths]
    if not settings.markers and training.markers:
        labels = {m.label for recording in recordings for m in recording.markers(settings.marker_stream)}
        there = set(match_labels(labels, training.markers).values())
        markers = {label: name for label, name in training.markers.items() if label in there}
        settings = replace(settings, markers=markers)
        applied += (
            [f"markers {', '.join(printable(f'{label}={name}') for label, name in markers.items())}"] if markers else []
        )
    settings = replace(settings, pipeline=replace(settings.pipeline, trained=training.source))
    said = [settings.pipeline.as_in_training(recording.signal(settings.stream).info) for recording in recordings]
    applied += [text for text in dict.fromkeys(said) if text]
    if at_s is None:
        at_s = training.decided_at_s
        applied.append(f"decided {at_s:g} s after the cue")
    return settings, at_s, f"As {bundle.name} was trained: {'; '.join(applied)}." if applied else ""


@dataclass(frozen=True, slots=True)
class Execution:
    """Places where recordings are run, results that are kept, and handling of a recording that fails.

    Parameters
    ----------
    parallel : Parallel
    decoder : DecoderChoice or None
        For other processes; needed where ``parallel`` has any.
    kept : KeptRuns or None
        Results of recordings that were run before, and of those that are run now, written as each ends.
    failed : callable or None
        Called with each recording that fails and the reason; None raises the first one when all others have ended.
    """

    parallel: Parallel = field(default_factory=Parallel)
    decoder: DecoderChoice | None = None
    kept: KeptRuns | None = None
    failed: Failed | None = None


@dataclass(frozen=True, slots=True)
class _Task:
    contract: Contract
    decoder: Decoder | DecoderChoice
    classes: Sequence[str]
    settings: RunSettings
    taken: Callable[[int], None] | None


def _run(task: _Task, path: Path) -> EvaluatedRun:
    where, recording, contract = str(path), open_recording(path), task.contract
    decoder = task.decoder.load() if isinstance(task.decoder, DecoderChoice) else task.decoder
    classes, settings = task.classes, task.settings
    markers = recording.markers(settings.marker_stream)
    trials = trials_from_markers(markers, classes, settings.markers, where=where) if classes else []
    signal = recording.signal(settings.stream)
    pipeline = Pipeline(contract_for(contract, settings.alignment), signal.info, decoder, settings.pipeline)
    predictions: list[Prediction] = []
    covered = CoveredTime()
    first = last = None
    filled = (chunk for chunk in signal.chunks() if len(chunk))
    for chunk in coalesced(filled, round(signal.info.sfreq * TOGETHER_SECONDS)):
        predictions += pipeline.process(chunk)
        covered.take(chunk.times)
        first = float(chunk.times[0]) if first is None else first
        last = float(chunk.times[-1])
        if task.taken is not None:
            task.taken(len(chunk))
    predictions += pipeline.finish()
    events = pipeline.drain_events()
    return EvaluatedRun(
        file=where,
        sha256=file_sha256(recording.path),
        trace=Trace.collect(predictions, len(contract.classes)),
        trials=tuple(trials),
        duration_s=0.0 if first is None or last is None else last - first,
        left_out=tuple(left_out_markers(markers, classes, settings.markers)) if classes else (),
        n_outside=covered.count_outside(trials, where),
        problems=signal_problems(recording, events),
        doubts=tuple(doubts(events)),
        markers=tuple(markers),
    )


def signal_problems(recording: Recording, events: Iterable[PipelineEvent]) -> tuple[str, ...]:
    """Return the problems of a recording, a sentence each, from the events of the pipeline that took its signal."""
    pauses: dict[str, list[float]] = {}
    for event in events:
        if event.kind in _PAUSES:
            total = pauses.setdefault(event.kind, [0, 0.0])
            total[0] += event.data["count"]
            total[1] += abs(event.data["seconds"])
    found = [
        f"{counted(round(n), _PAUSES[kind])} in the signal, {seconds:.3f} s together."
        for kind, (n, seconds) in pauses.items()
    ]
    return (*recording.problems, *found)


def sentence(path: Path, error: MindwireError) -> str:
    """Return why a recording failed, with its path."""
    return str(error) if str(path) in str(error) else f"{path}: {error}"


def readable(paths: Sequence[Path], settings: RunSettings, failed: Failed) -> list[Path]:
    """Return the recordings that can be opened and have the signal and the markers asked for; ``failed`` is called with others.

    A RecordingError says why the first one cannot be read, if none of them can.
    """
    good: list[Path] = []
    errors: list[MindwireError] = []
    for path in paths:
        try:
            recording = open_recording(path)
            recording.markers(settings.marker_stream)
            recording.signal(settings.stream)
        except MindwireError as error:
            errors.append(error)
            failed(path, error)
        else:
            good.append(path)
    if errors and not good:
        raise errors[0]
    return good


def run_recordings(
    paths: Sequence[Path],
    contract: Contract,
    decoder: Decoder,
    *,
    classes: Sequence[str],
    settings: RunSettings,
    progress: Progress | None = None,
    execution: Execution | None = None,
) -> list[EvaluatedRun]:
    """Run whole recordings, each through a pipeline of its own as if it were live; trials of the ``classes`` count.

    Without classes the recordings need no cues. One that fails ends no other.

    Raises
    ------
    UsageError
        The marker map names an unknown class or label.
    RecordingError
        A recording cannot be read or has no trial of the classes.
    ContractError
        A recording's signal cannot meet the contract.
    JobError
        A recording's process ended.
    """
    how = execution or Execution()
    recordings = [open_recording(path) for path in paths]
    markers = [recording.markers(settings.marker_stream) for recording in recordings]
    where = "the recording" if len(paths) == 1 else "the set of recordings"
    if classes:
        check_marker_map(settings.markers, contract.classes, [m for some in markers for m in some], where)
    n_samples = [recording.signal(settings.stream).n_samples for recording in recordings]
    done = within = 0

    def report(n: int = 0) -> None:
        nonlocal within
        within += n
        if progress is not None:
            progress(done + within, sum(n_samples))

    task = _Task(contract, decoder, tuple(classes), settings, report)
    found: dict[int, EvaluatedRun] = {}
    errors: list[MindwireError] = []
    for number, result in _each(task, paths, how):
        done, within = done + n_samples[number], 0
        report()
        if not isinstance(result, MindwireError):
            found[number] = result
            warn_of(result.doubts, result.file)
            continue
        errors.append(result)
        if how.failed is not None:
            how.failed(paths[number], result)
    if errors and (how.failed is None or not found):
        raise errors[0]
    return [found[number] for number in sorted(found)]


def _each(task: _Task, paths: Sequence[Path], how: Execution) -> Iterator[tuple[int, EvaluatedRun | MindwireError]]:
    """Yield the number and the result of each recording: first what was kept of earlier runs, then as they end."""
    kept, keys = how.kept, {}
    left = []
    for number, path in enumerate(paths):
        if kept is not None:
            keys[number] = _key(task, path, how)
            if (run := kept.read(path, keys[number])) is not None:
                yield number, run
                continue
        left.append(number)
    if not how.parallel.here and how.decoder is not None:
        task = replace(task, decoder=how.decoder, taken=None)
    for place, result in run_parallel(_run, task, [paths[number] for number in left], how.parallel):
        number = left[place]
        if kept is not None and not isinstance(result, MindwireError):
            kept.write(result, task.contract.classes, keys[number])
        yield number, result


def _key(task: _Task, path: Path, how: Execution) -> str:
    """Return the key of a recording's result: of what the recording, the bundle and the options hold, wherever they are."""
    decoder, choice = task.decoder, how.decoder
    made = () if isinstance(decoder, DecoderChoice) else (decoder.engine, decoder.device)
    bundle = () if choice is None else (choice.sha256, choice.adapt)
    return run_key(
        file_sha256(path), *bundle, *made, task.contract.model_dump_json(), repr(task.classes), repr(task.settings)
    )
