"""``mindwire replay``: the predictions that the live service would have made of a recording."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

import typer

from mindwire.cli import options
from mindwire.cli.console import print_problems, progress_bar
from mindwire.cli.groups import Given, option
from mindwire.errors import RecordingError, UsageError
from mindwire_models.text import counted, printable

if TYPE_CHECKING:
    from mindwire.control.controller import ControlCommand
    from mindwire.control.policy import ControlPolicy
    from mindwire.offline.replay import PredictedRun, Replay
    from mindwire.sources.recording import Recording
    from mindwire.types import Decision, SignalInfo
    from mindwire_models.bundle import Bundle


def replay(
    file: options.Recording,
    given: Given,
    signal: options.Signal,
    conditioning: options.Conditioning,
    backend: options.Backend,
    model: Path | None = option(
        "Bundle; by default that of the live recording, or the demonstration bundle.", None, "--model", "-m"
    ),
    control: str | None = option(
        "Control policy (JSON file), or none; for --decisions by default that of the live recording with its changes, or the bundle's."
    ),
    out: Path | None = option("CSV file for the predictions; - for standard output.", None, "--out", "-o"),
    decisions: Path | None = option("CSV file for the control policy's decisions; - for standard output."),
    force: bool = options.FORCE,
    speed: str = option("max, or a multiple of real time such as 1 or 20.", "max"),
    hop: int | None = options.HOP,
    adaptation_state: Path | None = option("Adaptation that an earlier session kept, to begin with; only read."),
    warm_start: Path | None = option("Recording at rest, or kept adaptation, to initialise the alignment with."),
) -> None:
    """Replay a recording through a model: the predictions and decisions that the live service would have made."""
    from mindwire.inference.load import load_decoder
    from mindwire.live.warm_start import initial_adaptation
    from mindwire.offline.recorded_bundles import bundle_path
    from mindwire.offline.replay import Replay
    from mindwire.outputs import DECISIONS, PREDICTIONS, check_output
    from mindwire.sources.recording import Selector, open_recording
    from mindwire_models.bundle import load_bundle
    from mindwire_models.zoo import zoo_bundle_path

    pace = _parse_speed(speed)
    selector = Selector.parse(signal.stream) if signal.stream else None
    pipeline = options.pipeline_options(signal, conditioning, hop)
    if adaptation_state is not None:
        given.refuse("--warm-start", why="--adaptation-state has an alignment to begin with")
        if not adaptation_state.exists():
            msg = f"{adaptation_state}: there is no such file; check the path after --adaptation-state."
            raise UsageError(msg)
    inputs = (file, model or zoo_bundle_path(), adaptation_state, warm_start, Path(control) if control else None)
    tables = {"--out": (out, PREDICTIONS), "--decisions": (decisions, DECISIONS)}
    files = [path for path, _ in tables.values() if path is not None and str(path) != "-"]
    for name, (path, kind) in tables.items():
        if path in files:
            check_output(path, kind, inputs=inputs, force=force, option=name)
    if not files:
        given.refuse("--force", why="--force replaces the file at --out")
    if out is not None and decisions is not None and (out.resolve() == decisions.resolve()):
        msg = f"--out and --decisions both name {out}; give each a place of its own."
        raise UsageError(msg)
    recording = open_recording(file)
    path, sentence = bundle_path(model, [recording], zoo_bundle_path())
    bundle = load_bundle(path or zoo_bundle_path())
    if sentence:
        _report_found(recording, bundle, sentence)
    source = recording.signal(selector)
    pipeline = replace(pipeline, trained=bundle.training.source if bundle.training else None)
    if remembered := pipeline.as_in_training(source.info):
        typer.echo(f"As {bundle.name} was trained: {remembered}.", err=True)
    purpose: Literal["live", "recording"] = "recording" if pace is None else "live"
    decoder = load_decoder(bundle, backend.engine, backend.device, adapt=conditioning.adapt, purpose=purpose)
    saved = initial_adaptation(bundle, decoder, pipeline, adaptation_state, warm_start)
    asked = decisions is not None or control is not None
    policy, commands = _policy(control, bundle, recording, source.info) if asked else (None, ())
    if policy is None and not commands and decisions is not None:
        msg = f"--decisions needs a control policy, and {_no_policy(control, bundle)}; give one with --control FILE."
        raise UsageError(msg)
    state = None if saved is None else saved.to_text()
    pipeline = replace(pipeline, state=state, policy=policy, control=commands)
    begin = partial(Replay, source, bundle.contract, decoder, pipeline, speed=pace)
    _decode(recording, bundle, begin, source.n_samples, out, decisions)


def _report_found(recording: Recording, bundle: Bundle, sentence: str) -> None:
    """Report the bundle that a live recording names, and that the run used others too."""
    from mindwire.offline.recorded_run import changes_of_model

    typer.echo(sentence, err=True)
    if changes := changes_of_model(recording):
        message = (
            f"The recorded run changed its model ({counted(changes, 'time')}); replayed is {bundle.name} throughout, "
        )
        typer.echo(f"{message}and mindwire verify repeats the changes.", err=True)


def _policy(
    control: str | None, bundle: Bundle, recording: Recording, signal: SignalInfo
) -> tuple[ControlPolicy | None, tuple[ControlCommand, ...]]:
    """Return the control policy to begin with, and the commands to it."""
    from mindwire.control.policy import choose_policy
    from mindwire.offline.recorded_run import recorded_control

    if control is None and (recorded := recorded_control(recording, signal)) is not None:
        policy, commands = recorded
        if policy or commands:
            typer.echo(f"As recorded: control policy, {counted(len(commands), 'change')} of it.", err=True)
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


def _decode(
    recording: Recording,
    bundle: Bundle,
    begin: Callable[..., Replay],
    n_samples: int,
    out: Path | None,
    decisions: Path | None,
) -> None:
    """Run the recording through the model and report."""
    from mindwire.offline.replay import write_csv, write_decisions

    decided: list[Decision] = []

    def runs(replay: Replay) -> Iterator[PredictedRun]:
        for run in replay.runs():
            decided.extend(run.decisions)
            yield run

    with progress_bar("Replaying") as progress:
        replay = begin(on_samples=None if progress is None else lambda done: progress(done, n_samples))
        if out is None:
            deque(runs(replay), maxlen=0)
        else:
            with _writing(out, "the predictions", "--out") as file:
                write_csv(runs(replay), bundle.contract.classes, file)
    if decisions is not None:
        with _writing(decisions, "the decisions", "--decisions") as file:
            write_decisions(decided, file)
    print_problems(recording.path, recording.problems)
    remarks = list(replay.summary.remarks.values())
    if remarks and not replay.summary.valid:
        msg = f"{recording.path}: {remarks[0]}"
        raise RecordingError(msg)
    print_problems(recording.path, [f"for a part: {remark}" for remark in remarks])
    if not replay.summary.windows:
        needed = bundle.contract.window_samples / bundle.contract.sfreq
        typer.echo(f"mindwire: no part of the recording holds the {needed:g} s that a window takes.", err=True)
    to_stdout = "-" in (str(out), str(decisions))
    typer.echo(f"{bundle.name}: {replay.summary.describe()}", err=to_stdout)
    for path in (out, decisions):
        if path is not None and str(path) != "-":
            typer.echo(printable(f"Wrote {path}."), err=to_stdout)


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
