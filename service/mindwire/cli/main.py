"""Entry point: the table of commands, and the form of errors.

Command modules import only the standard library and typer at their top; a command imports the rest when it runs.
"""

import gc
import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from mindwire import __version__
from mindwire.cli.groups import expand, flag_of
from mindwire.errors import UsageError
from mindwire.interrupts import close_output, drop_output
from mindwire_models.errors import MindwireError
from mindwire_models.text import printable

# In the order of the help. Each is a function in a module of the same name, with underscores.
COMMANDS = (
    "demo simulate serve streams record doctor export export-bids inspect evaluate compare cross-validate train improve tune replay play bench verify certify check-outlet"
).split()
# For these mindwire.serve.listening enables the garbage collector.
_LISTENING = frozenset({"demo", "serve"})
# Options that have become commands, and whether the new command still takes them.
_FORMER = {
    ("replay", "--lsl"): ("play", False),
    ("evaluate", "--leave-one-out"): ("cross-validate", False),
    ("evaluate", "--train"): ("cross-validate", True),
}
# Options that take all names up to the next one.
_MANY = {"cross-validate": "--train", "improve": "--past", "tune": "--test"}
# Options that have moved to a program in a clone of the repository.
_MOVED = {"evaluate": ("--protocol", "--attention", "--epochs", "--seeds")}


class _Commands(TyperGroup):
    """Group that imports and builds only the command that runs.

    Building all of them before each command takes 45 ms of processor time, which doubles that of ``mindwire --version``
    and is a tenth of the start of ``mindwire serve``.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": dict.fromkeys(COMMANDS)})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command's name and help, which is what lists of commands need; None for an unknown name."""
        del ctx
        return TyperCommand(cmd_name, help=_help(_function(cmd_name))) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command to run, with its options, and its arguments."""
        name, known, rest = super().resolve_command(ctx, _current_spelling(args))
        built = known and command(str(name))
        if name not in _LISTENING:
            gc.enable()
        return name, built, rest


def _function(name: str) -> Callable[..., Any]:
    name = name.replace("-", "_")
    function: Callable[..., Any] = getattr(import_module(f"mindwire.cli.{name}"), name)
    return function


def _help(function: Callable[..., Any]) -> str:
    """Return a docstring with a line per paragraph, which the terminal wraps."""
    return "\n\n".join(" ".join(part.split()) for part in (function.__doc__ or "").split("\n\n"))


def command(name: str) -> Any:
    """Return a command with its arguments and options, as typer builds it."""
    function = _function(name)
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command(name, help=_help(function))(expand(function))
    return typer.main.get_command(alone)


def _current_spelling(arguments: list[str]) -> list[str]:
    """Return a command line without former spellings, which are announced, and with an option of several names before each of them."""
    former = [option for name, option in _FORMER if name == arguments[0] and option in arguments]
    if len(former) > 1:
        msg = f"{' and '.join(former)} are different evaluations; choose one."
        raise UsageError(msg)
    for option in former:
        name, kept = _FORMER[arguments[0], option]
        now = f"mindwire {name}{f' … {option}' if kept else ''}"
        _say(f"`{arguments[0]} {option}` is now `{now}`; the old spelling works in this version only.")
        arguments = [name, *(word for word in arguments[1:] if kept or word != option)]
    if any(word.partition("=")[0] in _MOVED.get(arguments[0], ()) for word in arguments):
        msg = (
            "--protocol and its options have moved to a program in a clone of the repository: "
            "python -m benchmarks.wimpff2024 FILE... --out FOLDER."
        )
        raise UsageError(msg)
    many = _MANY.get(arguments[0])
    return spread_option(arguments, many) if many else arguments


def spread_option(arguments: list[str], option: str) -> list[str]:
    """Return ``--train a b --at 4`` as ``--train a --train b --at 4``, so that a shell may expand ``--train day1*.xdf``."""
    spread: list[str] = []
    inside = first = False
    for argument in arguments:
        if argument.startswith("-"):
            inside = first = argument == option
        elif inside and not first:
            spread.append(option)
        else:
            first = False
        spread.append(argument)
    return spread


app = typer.Typer(
    name="mindwire",
    cls=_Commands,
    help="Real-time motor-imagery decoding: EEG from Lab Streaming Layer in, class probabilities and decisions out.",
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
    # Read once, when numpy is imported. The matrices are small: a second thread of linear algebra saves no time on them,
    # but occupies a core for some 20 ms after each. Worker processes inherit it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Python processes started from here, those of multiprocessing too, import nothing from the current folder, which
    # holds recordings, bundles and possibly files of other people.
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False, prog_name="mindwire")
        close_output()
    except SystemExit as end:  # typer and rich turn a closed pipe into this
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        drop_output()
        return 0
    except (MindwireError, typer.TyperException, OSError) as error:
        return _fail(error)
    else:
        return code if isinstance(code, int) else 0 if len(sys.argv) > 1 else 2


def _fail(error: Exception) -> int:
    """Print an error in one sentence; return the exit code."""
    if os.environ.get("MINDWIRE_DEBUG"):
        traceback.print_exception(error)
    elif isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        _say(f"{place}{error.strerror or error}.")
        drop_output()
    else:
        _say(_usage(error) if isinstance(error, typer.TyperException) else str(error))
    return 2 if isinstance(error, (UsageError, typer.TyperException)) else 1


def _say(sentence: str) -> None:
    print(f"mindwire: {printable(sentence)}", file=sys.stderr)


def _usage(error: Any) -> str:
    """Return typer's message about a wrong command line as one sentence, with the command that explains the right one."""
    text = " ".join(error.format_message().split())
    if hasattr(error.__cause__, "errors"):  # pydantic's
        from mindwire.setting_errors import expected_value

        wrong = error.__cause__.errors()[0]
        text = f"{flag_of(error.param)}: expected {expected_value(wrong)}, found {wrong['input']!r}"
    path = error.ctx.command_path if getattr(error, "ctx", None) else "mindwire"
    return f"{text}{'' if text[-1] in '.?!' else '.'} See `{path} --help`."
