"""The entry point: the table of commands, and what an error looks like.

Only the command that is run is imported and made; all of them are for ``--help``. Command modules import only
the standard library and typer at their top; what a command needs is imported inside its function.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from importlib import import_module
from itertools import pairwise
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mindwire import __version__
from mindwire.errors import UsageError
from mindwire.interrupts import close_output, drop_output
from mindwire_models.errors import MindwireError
from mindwire_models.text import printable

# In the order of the help. Each is a function in a module of the same name.
COMMANDS = (
    "demo",
    "simulate",
    "serve",
    "streams",
    "record",
    "doctor",
    "export",
    "inspect",
    "evaluate",
    "train",
    "replay",
    "bench",
    "verify",
)


# What typer raises for a wrong command line; only the classes below it have public names.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
_WRONG_VALUE = re.compile(r"Invalid value for '(--[\w-]+)'[^:]*: (?:Input should be |Value error, )(.*)")
_EXPECTED = (
    (re.compile(r"a valid integer.*"), "a whole number"),
    (re.compile(r"a valid (?:number|float).*"), "a number"),
    (re.compile(r"greater than or equal to (.*)"), r"at least \1"),
    (re.compile(r"less than or equal to (.*)"), r"at most \1"),
    (re.compile(r"'.*?' is not one of (.*)"), r"one of \1"),
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
        module = import_module(f"mindwire.cli.{cmd_name}")
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


def run() -> int:
    """Run the command line; return the exit code: 0 success, 1 failure, 2 wrong usage."""
    # Read once, when numpy is imported. Our matrices are small: a second thread of the linear algebra saves no time on
    # them, but takes a core for some 20 ms after each that it shares. Worker processes inherit it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Python processes started from here, multiprocessing's among them, import nothing of the current folder: it holds
    # recordings and bundles, and whatever else others put there.
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        words = sys.argv[1:] or ["--help"]
        code = app(words, standalone_mode=False, prog_name="mindwire")
        close_output()
    except SystemExit as end:  # as typer and rich have it
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        drop_output()
        return 0
    except (MindwireError, _UsageError, OSError) as error:
        return _fail(error)
    else:
        return code if isinstance(code, int) else 0 if len(sys.argv) > 1 else 2


def _fail(error: Exception) -> int:
    """Say an error in one sentence; return the exit code."""
    if os.environ.get("MINDWIRE_DEBUG"):
        traceback.print_exception(error)
    elif isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        _say(f"{place}{error.strerror or error}.")
        drop_output()
    else:
        _say(str(error) if isinstance(error, MindwireError) else _usage(error))
    return 2 if isinstance(error, UsageError) or not isinstance(error, (MindwireError, OSError)) else 1


def _say(sentence: str) -> None:
    print(f"mindwire: {printable(sentence)}", file=sys.stderr)


def _usage(error: Any) -> str:
    """What typer says of a wrong command line, as one sentence, and where the right one is found."""
    text = " ".join(error.format_message().split())
    if found := _WRONG_VALUE.search(text):
        option, expected = found[1], found[2].rstrip(".")
        for pattern, words in _EXPECTED:
            expected = pattern.sub(words, expected)
        given = next((word for before, word in pairwise(sys.argv) if before == option), None)
        given = next((word.partition("=")[2] for word in sys.argv if word.startswith(f"{option}=")), given)
        text = f"{option}: expected {expected}" + (f", found {given!r}" if given is not None else "")
    command = error.ctx.command_path if error.ctx is not None else "mindwire"
    return f"{text}{'' if text[-1] in '.?!' else '.'} See `{command} --help`."
