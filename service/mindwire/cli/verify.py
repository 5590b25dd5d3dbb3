"""``mindwire verify``: comparison of a recorded run with its replay."""

from pathlib import Path

import typer

from mindwire.cli import options
from mindwire.cli.console import print_problems, progress_bar
from mindwire.cli.groups import option
from mindwire_models.text import printable


def verify(
    file: options.Recording,
    backend: options.Backend,
    model: Path | None = option("Bundle of the run; by default the one that it names.", None, "--model", "-m"),
    stream: str | None = option(
        "Name of the stream in the service, if the recording has several.", None, "--stream", "-s"
    ),
    tolerance: float = option("Largest difference in probability that passes.", 1e-6, min=0.0),
) -> None:
    """Replay a recorded run and compare with the predictions, decisions and axes in it.

    Exit code 1 if they differ, the device's own stream is missing, or the file is damaged.

    The replay uses the pipeline's input, which the recording holds in addition to the device's own stream; the two are
    compared as well. Predictions whose samples the recording lacks are counted, and are no contradiction.
    """
    from mindwire.inference.load import load_decoder
    from mindwire.offline.recorded_run import find_bundle, kept_bundles, recorded_run
    from mindwire.offline.verify import verify as compare
    from mindwire.sources.recording import open_recording
    from mindwire_models.bundle import load_bundle

    opened = open_recording(file)
    run = recorded_run(opened, stream)
    path, sentence = model, ""
    if path is None:
        kept = kept_bundles(file, run.model_sha256)
        path, sentence = find_bundle(run.model_name, run.model_sha256, run.model_path, kept)
    if sentence:
        typer.echo(sentence)
    bundle = load_bundle(path)
    decoder = load_decoder(bundle, backend.engine, backend.device, adapt=run.options.adapt)
    total = run.recording.source(run.input_id).n_samples
    with progress_bar("Verifying") as progress:
        on_samples = None if progress is None else lambda done: progress(done, total)
        found = compare(run, bundle, decoder, tolerance, on_samples=on_samples)
    print_problems(file, opened.problems)
    for line in found.lines():
        typer.echo(printable(f"{run.stream}: {line}"))
    if found.agrees:
        typer.echo("Replay reproduces every recorded prediction.")
        return
    lacking = f"NOT verified: replay reproduces the recorded predictions, but {found.lacking}."
    typer.echo(lacking if found.reproduced else "Replay does NOT reproduce the recorded predictions.")
    raise typer.Exit(1)
