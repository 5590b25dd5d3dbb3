"""The entry point: the table of commands, and what an error looks like.

Command modules import only the standard library and typer at their top, so that ``--help`` and every
command start fast; what a command needs is imported inside its function.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

from models.errors import MindwireError
from service import __version__
from service.cli import bench, demo, doctor, evaluate, export, inspect, replay, serve, simulate, streams, train, verify
from service.errors import UsageError

app = typer.Typer(
    name="mindwire",
    help="Real-time motor-imagery decoding: EEG from Lab Streaming Layer in, class probabilities out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mindwire {__version__}")
        raise typer.Exit


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""
    del version  # handled by its callback before any command runs
    if debug:
        os.environ["MINDWIRE_DEBUG"] = "1"


app.command("demo")(demo.demo)
app.command("simulate")(simulate.simulate)
app.command("serve")(serve.serve)
app.command("streams")(streams.streams)
app.command("doctor")(doctor.doctor)
app.command("export")(export.export)
app.command("inspect")(inspect.inspect)
app.command("evaluate", cls=evaluate.EvaluateCommand)(evaluate.evaluate)
app.command("train")(train.train)
app.command("replay")(replay.replay)
app.command("bench")(bench.bench)
app.command("verify")(verify.verify)


def main() -> None:
    """Run the command line; exit code 0 success, 1 failure, 2 wrong usage."""
    try:
        app()
    except MindwireError as error:
        if os.environ.get("MINDWIRE_DEBUG"):
            traceback.print_exc()
        else:
            print(f"mindwire: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
