"""``mindwire improve``: a model trained on between the runs of a session, if that does not make it worse."""

from pathlib import Path

import typer

from mindwire.cli import options
from mindwire.cli.console import print_problems, print_run_command, progress_bar, show
from mindwire.cli.groups import option


def improve(
    files: options.Recordings,
    cues: options.Cues,
    signal: options.Signal,
    model: Path = option("Bundle in use.", ..., "--model", "-m"),
    past: list[str] | None = option(
        "Recordings of the person's earlier sessions, all names up to the next option.", metavar="FILE..."
    ),
    out: Path = option("Folder of the fine-tuned bundle; a bundle there is replaced.", ..., "--out", "-o"),
    seed: int = option("Random seed.", 0),
    name: str | None = options.NAME,
) -> None:
    """Train a model on with the runs of a session, and write it if unseen trials show that it is better than the model in use.

    It is trained from its own weights, on the earlier sessions together unless it was trained on all of them, then on this
    session's recordings. A network whose contract has a high-pass of 4 Hz or more is trained afresh from the tangent space of
    all of them instead, if the recordings that it was trained on are among them. The control policy stays, and the contract but
    for the softmax temperature. Both models decide trials that neither was trained on: each new run is left out in turn, or of a
    single one blocks of successive trials. The bundle is written if there are at least 16 such trials, and the fine-tuned model
    decides at least as many right, with no larger loss and better than guessing.

    Exit code 1 if it is not written.
    """
    from mindwire.training import improve as improvement
    from mindwire_models.bundle import check_target, load_bundle

    paths, earlier, markers = cues.separate(files, past)
    check_target(out, name or out.name)
    settings = options.run_settings(cues, markers, signal)
    plan = improvement.Plan(load_bundle(model), paths, earlier, settings, cues.at, seed)
    with progress_bar("Conditioning") as progress:
        prepared = improvement.prepare(plan, progress)
    show(*(f"{one.recording} is left out. {one.problem}" for one in prepared.left_out))
    for run in (*prepared.past, *prepared.session):
        print_problems(run.source.path, run.source.problems)
    with progress_bar("Training") as progress:
        found = improvement.improve(prepared, progress)
    show(improvement.run_table(found).terminal(), improvement.sentence(found.update.gate))
    if not found.update.gate.accepted:
        typer.echo("Nothing was written; go on with the model in use.", err=True)
        raise typer.Exit(1)
    bundle = improvement.write(found, out, name or out.name)
    print_run_command(bundle, f"Wrote {bundle.path}; run it with")
