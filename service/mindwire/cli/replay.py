"""``mindwire replay``: the predictions that the live service would have made of a recording."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from mindwire.cli import options
from mindwire.cli.console import print_problems, progress_bar
from mindwire.cli.groups import Given, option
from mindwire.errors import RecordingError, UsageError
from mindwire_models.text import printable

if TYPE_CHECKING:
    from mindwire.offline.replay import Replay
    from mindwire.sources.recording import Recording
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
    out: Path | None = option("CSV file for the predictions; - for standard output.", None, "--out", "-o"),
    force: bool = options.FORCE,
    speed: str = option("max, or a multiple of real time such as 1 or 20.", "max"),
    hop: int | None = options.HOP,
    adaptation_state: Path | None = option("Adaptation that an earlier session kept, to begin with; only read."),
    warm_start: Path | None = option("Recording at rest, or kept adaptation, to initialise the alignment with."),
) -> None:
    """Replay a recording through a model: the predictions that the live service would have made."""
    from mindwire.inference.load import load_decoder
    from mindwire.live.warm_start import initial_adaptation
    from mindwire.offline.recorded_run import bundle_path
    from mindwire.offline.replay import Replay
    from mindwire.outputs import PREDICTIONS, check_output
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
    if out is not None and str(out) != "-":
        inputs = (file, model or zoo_bundle_path(), adaptation_state, warm_start)
        check_output(out, PREDICTIONS, inputs=inputs, force=force)
    else:
        given.refuse("--force", why="--force replaces the file at --out")
    recording = open_recording(file)
    path, sentence = bundle_path(model, [recording], zoo_bundle_path())
    if sentence:
        typer.echo(sentence, err=True)
    bundle = load_bundle(path or zoo_bundle_path())
    source = recording.signal(selector)
    pipeline = replace(pipeline, trained=bundle.training.source if bundle.training else None)
    if remembered := pipeline.as_in_training(source.info):
        typer.echo(f"As {bundle.name} was trained: {remembered}.", err=True)
    purpose: Literal["live", "recording"] = "recording" if pace is None else "live"
    decoder = load_decoder(bundle, backend.engine, backend.device, adapt=conditioning.adapt, purpose=purpose)
    saved = initial_adaptation(bundle, decoder, pipeline, adaptation_state, warm_start)
    pipeline = replace(pipeline, state=None if saved is None else saved.to_text())
    begin = partial(Replay, source, bundle.contract, decoder, pipeline, speed=pace)
    _decode(recording, bundle, begin, source.n_samples, out)


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
    recording: Recording, bundle: Bundle, begin: Callable[..., Replay], n_samples: int, out: Path | None
) -> None:
    """Run the recording through the model and report."""
    from mindwire.offline.replay import write_csv
    from mindwire.outputs import writing
    from mindwire_models.atomic import open_replacement

    to_stdout = str(out) == "-"
    with progress_bar("Replaying") as progress:
        replay = begin(on_samples=None if progress is None else lambda done: progress(done, n_samples))
        if to_stdout:
            write_csv(replay.runs(), bundle.contract.classes, sys.stdout)
        elif out is not None:
            with writing(out, "the predictions"), open_replacement(out, "w") as file:
                write_csv(replay.runs(), bundle.contract.classes, file)
        else:
            deque(replay.runs(), maxlen=0)
    print_problems(recording.path, recording.problems)
    remarks = list(replay.summary.remarks.values())
    if remarks and not replay.summary.valid:
        msg = f"{recording.path}: {remarks[0]}"
        raise RecordingError(msg)
    print_problems(recording.path, [f"for a part: {remark}" for remark in remarks])
    if not replay.summary.windows:
        needed = bundle.contract.window_samples / bundle.contract.sfreq
        typer.echo(f"mindwire: no part of the recording holds the {needed:g} s that a window takes.", err=True)
    typer.echo(f"{bundle.name}: {replay.summary.describe()}", err=to_stdout)
    if out is not None and not to_stdout:
        typer.echo(printable(f"Wrote {out}."))
