"""``mindwire replay``: the predictions that the live service would have made of a recording."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

import typer

from mindwire.cli import options
from mindwire.cli.console import Progress, progress_bar
from mindwire.cli.groups import Given, option
from mindwire.errors import MindwireError, RecordingError, UsageError
from mindwire_models.text import counted, printable

if TYPE_CHECKING:
    from mindwire.control.controller import ControlCommand
    from mindwire.control.policy import ControlPolicy
    from mindwire.inference.decoder import Adapt
    from mindwire.offline.replay import PredictedRun, Replay
    from mindwire.options import PipelineOptions
    from mindwire.sources.recording import Recording
    from mindwire.types import Decision, SignalInfo
    from mindwire_models.bundle import Bundle
    from mindwire_models.parallel import Parallel

Say = Callable[[str, bool], object]  # takes a text, and true where it belongs on standard error


def replay(
    files: options.Recordings,
    given: Given,
    signal: options.Signal,
    conditioning: options.Conditioning,
    backend: options.Backend,
    jobs: options.Jobs,
    model: Path | None = option(
        "Bundle; by default that of the live recording, or the demonstration bundle.", None, "--model", "-m"
    ),
    control: str | None = option(
        "Control policy (JSON file), or none; for --decisions by default that of the live recording with its changes, or the bundle's."
    ),
    out: Path | None = option(
        "CSV file for the predictions, or - for standard output; of several recordings a folder.", None, "--out", "-o"
    ),
    decisions: Path | None = option(
        "CSV file for the control policy's decisions, or - for standard output; of several recordings a folder."
    ),
    force: bool = options.FORCE,
    speed: str = option("max, or a multiple of real time such as 1 or 20.", "max"),
    hop: int | None = options.HOP,
    adaptation_state: Path | None = option("Adaptation that an earlier session kept, to begin with; only read."),
    warm_start: Path | None = option("Recording at rest, or kept adaptation, to initialise the alignment with."),
) -> None:
    """Replay recordings through a model: the predictions and decisions that the live service would have made.

    Of several recordings each one's table has its name. One that cannot be replayed is reported, and the others go on.
    """
    if adaptation_state is not None:
        given.refuse("--warm-start", why="--adaptation-state has an alignment to begin with")
        if not adaptation_state.exists():
            msg = f"{adaptation_state}: there is no such file; check the path after --adaptation-state."
            raise UsageError(msg)
    paths = options.recordings(files)
    places = [_Place(path, out, decisions) for path in paths]
    if len(paths) > 1:
        places = _places(paths, out, decisions)
    else:
        given.refuse("--jobs", "--ray", why="One recording is one job")
    request = _Request(
        options.pipeline_options(signal, conditioning, hop),
        signal.stream,
        conditioning.adapt,
        backend,
        _parse_speed(speed),
        model,
        control,
        adaptation_state,
        warm_start,
    )
    if not [path for path in (out, decisions) if path is not None and str(path) != "-"]:
        given.refuse("--force", why="--force replaces the file at --out")
    if out is not None and decisions is not None and (out.resolve() == decisions.resolve()):
        msg = f"--out and --decisions both name {out}; give each a place of its own."
        raise UsageError(msg)
    _check_places(places, request, force=force)
    if len(paths) == 1:
        with progress_bar("Replaying") as progress:
            _replay(request, places[0], lambda text, err: typer.echo(printable(text), err=err), progress)
        return
    _replay_each(request, places, jobs.parallel(given))


@dataclass(frozen=True, slots=True)
class _Place:
    """A recording, and the files for its tables."""

    file: Path
    out: Path | None
    decisions: Path | None


@dataclass(frozen=True, slots=True)
class _Request:
    """Choices for all recordings."""

    pipeline: PipelineOptions
    stream: str | None
    adapt: Adapt
    backend: options.Backend
    pace: float | None
    model: Path | None
    control: str | None
    adaptation_state: Path | None
    warm_start: Path | None


def _places(paths: list[Path], out: Path | None, decisions: Path | None) -> list[_Place]:
    """Return a file for each recording's tables, in the folders, which are made."""
    for folder, name in ((out, "--out"), (decisions, "--decisions")):
        if folder is not None and (str(folder) == "-" or (folder.exists() and not folder.is_dir())):
            msg = f"{name} {folder}: expected a folder for the tables of {len(paths)} recordings; name one."
            raise UsageError(msg)
    tables = [f"{path.name}.csv" for path in paths]
    if twice := next((name for name in tables if tables.count(name) > 1), None):
        msg = f"Two recordings have the name {twice.removesuffix('.csv')}, and so would their tables; replay them one after the other."
        raise UsageError(msg)
    for folder in (out, decisions):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    return [
        _Place(path, out and out / table, decisions and decisions / table)
        for path, table in zip(paths, tables, strict=True)
    ]


def _check_places(places: Sequence[_Place], request: _Request, *, force: bool) -> None:
    """Refuse to write where something would be lost."""
    from mindwire.outputs import DECISIONS, PREDICTIONS, check_output
    from mindwire_models.zoo import zoo_bundle_path

    model, policy = request.model or zoo_bundle_path(), Path(request.control) if request.control else None
    inputs = (*(place.file for place in places), model, request.adaptation_state, request.warm_start, policy)
    for place in places:
        tables = {"--out": (place.out, PREDICTIONS), "--decisions": (place.decisions, DECISIONS)}
        for name, (path, kind) in tables.items():
            if path is not None and str(path) != "-":
                check_output(path, kind, inputs=inputs, force=force, option=name)


def _replay_each(request: _Request, places: Sequence[_Place], parallel: Parallel) -> None:
    """Replay several recordings; ends with the code for a failure if one cannot be replayed."""
    from mindwire.evaluation.pseudo_online import sentence
    from mindwire_models.parallel import run_parallel

    failed = 0
    with progress_bar("Replaying") as progress:
        for done, (number, found) in enumerate(run_parallel(_replay_quietly, request, places, parallel), 1):
            if isinstance(found, MindwireError):
                failed += 1
                typer.echo(f"mindwire: {sentence(places[number].file, found)}", err=True)
            else:
                for text, err in found:
                    typer.echo(printable(text), err=err)
            if progress is not None:
                progress(done, len(places))
    if failed:
        typer.echo(f"mindwire: {counted(failed, 'recording')} not replayed, for the reasons above.", err=True)
        raise typer.Exit(1)


def _replay_quietly(request: _Request, place: _Place) -> list[tuple[str, bool]]:
    """Replay a recording; return what is to be printed, and true for what goes to standard error."""
    said: list[tuple[str, bool]] = []
    _replay(request, place, lambda text, err: said.append((text, err)))
    return said


def _replay(request: _Request, place: _Place, say: Say, progress: Progress | None = None) -> None:
    """Run a recording through the model, write its tables and report."""
    from mindwire.inference.load import load_decoder
    from mindwire.live.warm_start import initial_adaptation
    from mindwire.offline.recorded_bundles import bundle_path
    from mindwire.offline.replay import Replay
    from mindwire.sources.recording import Selector, open_recording
    from mindwire_models.bundle import load_bundle
    from mindwire_models.zoo import zoo_bundle_path

    recording = open_recording(place.file)
    path, found = bundle_path(request.model, [recording], zoo_bundle_path())
    bundle = load_bundle(path or zoo_bundle_path())
    if found:
        _report_found(recording, bundle, found, say)
    source = recording.signal(Selector.parse(request.stream) if request.stream else None)
    pipeline = replace(request.pipeline, trained=bundle.training.source if bundle.training else None)
    if remembered := pipeline.as_in_training(source.info):
        say(f"As {bundle.name} was trained: {remembered}.", True)
    purpose: Literal["live", "recording"] = "recording" if request.pace is None else "live"
    engine, device = request.backend.engine, request.backend.device
    decoder = load_decoder(bundle, engine, device, adapt=request.adapt, purpose=purpose)
    saved = initial_adaptation(bundle, decoder, pipeline, request.adaptation_state, request.warm_start)
    asked = place.decisions is not None or request.control is not None
    policy, commands = _policy(request.control, bundle, recording, source.info, say) if asked else (None, ())
    if policy is None and not commands and place.decisions is not None:
        why = _no_policy(request.control, bundle)
        msg = f"--decisions needs a control policy, and {why}; give one with --control FILE."
        raise UsageError(msg)
    state = None if saved is None else saved.to_text()
    pipeline = replace(pipeline, state=state, policy=policy, control=commands)
    n_samples = source.n_samples
    on_samples = None if progress is None else lambda done: progress(done, n_samples)
    running = Replay(source, bundle.contract, decoder, pipeline, speed=request.pace, on_samples=on_samples)
    _decode(recording, bundle, running, place, say)


def _report_found(recording: Recording, bundle: Bundle, found: str, say: Say) -> None:
    """Report the bundle that a live recording names, and that the run used others too."""
    from mindwire.offline.recorded_run import changes_of_model

    say(found, True)
    if changes := changes_of_model(recording):
        message = (
            f"The recorded run changed its model ({counted(changes, 'time')}); replayed is {bundle.name} throughout, "
        )
        say(f"{message}and mindwire verify repeats the changes.", True)


def _policy(
    control: str | None, bundle: Bundle, recording: Recording, signal: SignalInfo, say: Say
) -> tuple[ControlPolicy | None, tuple[ControlCommand, ...]]:
    """Return the control policy to begin with, and the commands to it."""
    from mindwire.control.policy import choose_policy
    from mindwire.offline.recorded_run import recorded_control

    if control is None and (recorded := recorded_control(recording, signal)) is not None:
        policy, commands = recorded
        if policy or commands:
            say(f"As recorded: control policy, {counted(len(commands), 'change')} of it.", True)
        return recorded
    return choose_policy(bundle, control), ()


def _no_policy(control: str | None, bundle: Bundle) -> str:
    """Return why nothing is decided."""
    if control == "none":
        return "--control none leaves it out"
    return (
        f"{bundle.name} has none, which `mindwire tune` writes into it"
        if bundle.policy is None
        else "the recorded run had none"
    )


def _parse_speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        msg = f"--speed: expected max or a number above 0, found {text!r}."
        raise UsageError(msg)
    return speed


def _decode(recording: Recording, bundle: Bundle, replay: Replay, place: _Place, say: Say) -> None:
    """Run the recording through the model and report."""
    from mindwire.offline.replay import write_csv, write_decisions

    decided: list[Decision] = []

    def runs() -> Iterator[PredictedRun]:
        for run in replay.runs():
            decided.extend(run.decisions)
            yield run

    if place.out is None:
        deque(runs(), maxlen=0)
    else:
        with _writing(place.out, "the predictions", "--out") as file:
            write_csv(runs(), bundle.contract.classes, file)
    if place.decisions is not None:
        with _writing(place.decisions, "the decisions", "--decisions") as file:
            write_decisions(decided, file)
    remarks = list(replay.summary.remarks.values())
    doubtful = [f"for a part: {remark}" for remark in remarks] if replay.summary.valid else []
    for problem in (*recording.problems, *doubtful):
        say(f"mindwire: {recording.path}: {problem}", True)
    if remarks and not replay.summary.valid:
        msg = f"{recording.path}: {remarks[0]}"
        raise RecordingError(msg)
    if not replay.summary.windows:
        needed = bundle.contract.window_samples / bundle.contract.sfreq
        say(f"mindwire: no part of the recording holds the {needed:g} s that a window takes.", True)
    to_stdout = "-" in (str(place.out), str(place.decisions))
    say(f"{bundle.name}: {replay.summary.describe()}", to_stdout)
    for path in (place.out, place.decisions):
        if path is not None and str(path) != "-":
            say(f"Wrote {path}.", to_stdout)


@contextmanager
def _writing(path: Path, what: str, name: str) -> Iterator[IO[str]]:
    """Open standard output for ``-``, else a file that replaces the one at the path when it is complete."""
    from mindwire.outputs import writing
    from mindwire_models.atomic import open_replacement

    if str(path) == "-":
        yield sys.stdout
        return
    with writing(path, what, name), open_replacement(path, "w") as file:
        yield file
