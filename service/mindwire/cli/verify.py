"""``mindwire verify``: whether a recording of a live run gives the predictions it contains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mindwire_models.text import printable


def verify(
    recording: Annotated[Path, typer.Argument(help="What mindwire serve --record wrote.")],
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", "-m", help="The bundle of the run; found by what the recording says of it, unless given."
        ),
    ] = None,
    stream: Annotated[
        str | None, typer.Option(help="Name of the stream in the service, when the recording holds several.")
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0.0, help="Largest difference in probability that passes.")] = 1e-6,
    engine: Annotated[Literal["auto", "onnxruntime", "torch"], typer.Option(help="Inference engine.")] = "auto",
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Device.")] = "auto",
) -> None:
    """Replay a recorded run and compare with the predictions in it.

    Exit code 1 when they differ, when the device's own stream is missing, or when the file is damaged.

    What is replayed is what the pipeline was given, which the recording holds beside the device's own stream; the
    two are compared as well. Predictions whose samples the recording lacks are counted, and are no contradiction.
    """
    from rich.console import Console
    from rich.progress import Progress

    from mindwire.inference.load import load_decoder
    from mindwire.offline.recorded_bundle import find_bundle
    from mindwire.offline.recorded_run import recorded_run
    from mindwire.offline.verify import verify as compare
    from mindwire.sources.recording import open_recording
    from mindwire_models.bundle import load_bundle

    opened = open_recording(recording)
    run = recorded_run(opened, stream)
    path, sentence = (model, "") if model else find_bundle(run.model_name, run.model_sha256, run.model_path)
    if sentence:
        typer.echo(sentence)
    bundle = load_bundle(path)
    decoder = load_decoder(bundle, engine=engine, device=device, adapt=run.options.adapt)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Verifying", total=run.recording.source(run.input_id).n_samples)
        found = compare(run, bundle, decoder, tolerance, on_samples=lambda done: bar.update(task, completed=done))
    for problem in opened.problems:
        typer.echo(printable(f"mindwire: {recording}: {problem}"), err=True)
    for line in found.lines():
        typer.echo(printable(f"{run.stream}: {line}"))
    if found.agrees:
        verdict = "The recording gives the predictions it contains."
    elif found.reproduced:
        verdict = f"NOT verified: the replay gives the recorded predictions, but {found.lacking}."
    else:
        verdict = "The recording does NOT give the predictions it contains."
    typer.echo(verdict)
    if not found.agrees:
        raise typer.Exit(1)
