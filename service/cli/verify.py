"""``mindwire verify``: whether a recording of a live run gives the predictions it contains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def verify(
    recording: Annotated[Path, typer.Argument(help="What mindwire serve --record wrote.")],
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="The bundle of the run; the demonstration bundle without it.")
    ] = None,
    stream: Annotated[
        str | None, typer.Option(help="Name of the stream in the service, when the recording holds several.")
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0.0, help="Largest difference in probability that passes.")] = 1e-6,
    engine: Annotated[Literal["auto", "onnxruntime", "torch"], typer.Option(help="What runs the model.")] = "auto",
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where it runs.")] = "auto",
) -> None:
    """Replay a recorded run and compare with the predictions in it; exit code 1 when they differ."""
    from rich.console import Console
    from rich.progress import Progress

    from models.bundle import load_bundle
    from models.zoo import zoo_bundle_path
    from service.inference.load import load_decoder
    from service.sources.recording import open_recording
    from service.verify import recorded_run
    from service.verify import verify as compare

    opened = open_recording(recording)
    run = recorded_run(opened, stream)
    bundle = load_bundle(model or zoo_bundle_path())
    decoder = load_decoder(bundle, engine=engine, device=device, adapt=run.options.adapt)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Verifying", total=opened.source(run.signal_id).n_samples)
        found = compare(opened, run, bundle, decoder, lambda done: bar.update(task, completed=done))
    for problem in opened.problems:
        typer.echo(f"mindwire: {recording}: {problem}", err=True)
    where = f" (at {found.at_time:.3f} s)" if found.at_time is not None and found.largest_difference > 0 else ""
    typer.echo(
        f"{run.stream}: {found.compared} valid predictions compared, largest difference "
        f"{found.largest_difference:.3g}{where}; {found.validity_differs} differ in validity, "
        f"{found.missing} were not recorded, {found.unknown} are not in the replay."
    )
    agrees = found.agrees(tolerance)
    typer.echo("The recording gives the predictions it contains." if agrees else "The recording does NOT give them.")
    if not agrees:
        raise typer.Exit(1)
