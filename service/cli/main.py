"""The entry point: the table of commands, and what an error looks like.

Only the command that is run is imported and made; all of them are for ``--help``. Command modules import only
the standard library and typer at their top; what a command needs is imported inside its function.
"""

from __future__ import annotations

import os
import sys
import traceback
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from models.errors import MindwireError
from service import __version__
from service.errors import UsageError

# In the order of the help. Each is a function in a module of the same name.
COMMANDS = (
    "demo",
    "simulate",
    "serve",
    "streams",
    "doctor",
    "export",
    "inspect",
    "evaluate",
    "train",
    "replay",
    "bench",
    "verify",
)


class _Commands(TyperGroup):
    """Makes a command when it is asked for: to make all takes longer than all else before the service's imports."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": dict.fromkeys(COMMANDS)})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name, None when there is none."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"service.cli.{cmd_name}")
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(cmd_name, cls=getattr(module, "COMMAND_CLASS", None))(getattr(module, cmd_name))
        command = typer.main.get_command(alone)
        # A docstring's lines are of its source; the terminal's width is another.
        command.help = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
        return command


app = typer.Typer(
    name="mindwire",
    cls=_Commands,
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


def main() -> None:
    """Run the command line; exit code 0 success, 1 failure, 2 wrong usage."""
    # Read once, when numpy is imported. Our matrices are small: a second thread of the linear algebra saves no time on
    # them, but takes a core for some 20 ms after each that it shares. Worker processes inherit it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Python processes started from here, multiprocessing's among them, import nothing of the current folder: it holds
    # recordings and bundles, and whatever else others put there.
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        app()
    except MindwireError as error:
        if os.environ.get("MINDWIRE_DEBUG"):
            traceback.print_exc()
        else:
            print(f"mindwire: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
