"""Output to the terminal that commands share: progress bars, texts and tables, problems of recordings, written files."""

from __future__ import annotations

import shlex
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mindwire_models.text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mindwire.evaluation.scores import EvaluatedRun
    from mindwire_models.bundle import Bundle

Progress = Callable[[float, float], None]


def stop_event() -> threading.Event:
    """Return an event that Ctrl-C and the other ending signals set from now on."""
    import signal

    from mindwire.interrupts import ending_signals

    stop = threading.Event()
    for number in ending_signals():
        signal.signal(number, lambda *_: stop.set())
    return stop


@contextmanager
def progress_bar(title: str) -> Iterator[Progress | None]:
    """Show a progress bar; yield a function of what is done and the total, None if standard error is no terminal."""
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with Bar(*Bar.get_default_columns(), TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total) if done else None


def show(*parts: RenderableType) -> None:
    """Print tables, and texts as they are: without highlights and markup."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for part in parts:
        console.print(Text(part) if isinstance(part, str) else part)


def wrapped(text: str, width: int, indent: int) -> str:
    """Return text in lines of a width, those after the first indented, without breaking a word."""
    return textwrap.fill(
        printable(text), width, subsequent_indent=" " * indent, break_on_hyphens=False, break_long_words=False
    )


def print_problems(path: Path, problems: Iterable[str]) -> None:
    """Print the problems of a recording on standard error."""
    for problem in problems:
        typer.echo(printable(f"mindwire: {path}: {problem}"), err=True)


def print_problems_of(*runs: EvaluatedRun) -> None:
    """Print the problems of recordings that were run."""
    for run in runs:
        print_problems(Path(run.file), run.problems)


def print_run_command(bundle: Bundle, before: str) -> None:
    """Print how a bundle is run, and for one that decides nothing what it lacks."""
    from mindwire.control.policy import WITHOUT_POLICY

    command = f"mindwire serve --model {shlex.quote(str(bundle.path))} --stream type=EEG"
    typer.echo(printable(f"{before}: {command}"))
    if bundle.policy is None:
        typer.echo(printable(f"{bundle.name} {WITHOUT_POLICY}."))


def print_written(*paths: Path) -> None:
    """Print the names of the files that were written."""
    typer.echo(printable(f"Wrote {', '.join(map(str, paths))}."))
