"""Predictions in the terminal: bars that move on a terminal, lines in a pipe or file.

Both views are sinks that only keep the newest prediction; a thread of their own draws, so that a slow terminal never delays a
stream.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import textwrap
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import cycle
from statistics import median
from typing import TYPE_CHECKING

from mindwire.interrupts import drop_output
from mindwire.logs import PrintableFormatter, log_handler
from mindwire.sources.board import BORDER, REACHED, RESULTS, Board
from mindwire.status import Event, Sink
from mindwire.types import Decision, Prediction
from mindwire_models.text import counted

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.text import Text

    from mindwire.live.stream import Stream

View = Callable[["Stream"], AbstractContextManager[Sink]]

_REDRAW_PER_S = 8
_LINE_EVERY_S = 2.0
_CUE_SHOWN_S = 4.5
_DECIDED_SHOWN_S = 1.5
_IMAGINED, _DECIDED = "◀ imagined now", "● decided"
_STATE_LINES = 2
_COLOURS = ("#56b4e9", "#e07b39", "#2fbf93", "#cc79a7", "#d9c02f", "#8f9bff")


def choose_view() -> tuple[View, logging.Handler]:
    """Return the view for standard output, and the log handler for the view."""
    if not sys.stdout.isatty():
        return _lines, log_handler()
    from rich.console import Console
    from rich.logging import RichHandler

    console = Console()
    handler = RichHandler(console=console, show_path=False)
    handler.setFormatter(PrintableFormatter("%(message)s"))
    return lambda stream: _bars(stream, console), handler


class Newest(Sink):
    """Sink that keeps the newest prediction, decision and cue of a stream, and the sum of the stages of the last predictions.

    ``decisions`` are the last ones, which a view takes as it shows them; ``board`` is that of a participant who steers, and
    ``attempts`` counts the results.
    """

    def __init__(self) -> None:
        self.prediction: Prediction | None = None
        self.totals_ms: tuple[float, ...] = ()
        self.decisions: deque[Decision] = deque(maxlen=100)
        self.board = Board()
        self.attempts = Counter[str]()
        self._cue, self._cue_at = "", 0.0
        self._decided, self._decided_at = "", 0.0

    def publish(self, prediction: Prediction) -> None:
        """Take one prediction."""
        self.prediction = prediction
        self.totals_ms = (*self.totals_ms[-99:], sum(prediction.latency_ms.values()))
        if prediction.control is not None and (made := prediction.control.decision) is not None:
            self.decisions.append(made)
            self.board.move(made.label)
            self._decided, self._decided_at = made.label, time.monotonic()

    def event(self, event: Event) -> None:
        """Take one event; only cues matter here, the state is polled."""
        if event.kind == "cue":
            self._cue, self._cue_at = str(event.data["label"]), time.monotonic()
            self.board.show(self._cue)
            if self._cue in RESULTS:
                self.attempts[self._cue] += 1

    @property
    def decided(self) -> str:
        """Class that was decided a moment ago, empty if none was."""
        return self._decided if time.monotonic() - self._decided_at < _DECIDED_SHOWN_S else ""

    @property
    def imagined(self) -> str:
        """Label of the current imagery, empty between trials."""
        return self._cue if time.monotonic() - self._cue_at < _CUE_SHOWN_S else ""


@contextmanager
def _lines(stream: Stream) -> Iterator[Sink]:
    """Print a line every two seconds, and one for each change of state and each decision."""
    newest, stop = Newest(), threading.Event()

    def write() -> None:
        printed, printed_at = "", 0.0
        while not stop.wait(0.1):
            status = stream.status()
            state = f"{status.state}: {status.state_reason}"
            lines = [state] if state != printed else []
            printed = state
            while newest.decisions:
                made = newest.decisions.popleft()
                lines.append(f"decided: {made.label} ({made.confidence:.2f}){_steps(newest.board)}")
            if newest.prediction is not None and time.monotonic() - printed_at >= _LINE_EVERY_S:
                printed_at = time.monotonic()
                lines.append(_line(newest.prediction, status.classes))
            try:
                for line in lines:
                    print(line, flush=True)  # noqa: T201 - this is what the view is for
            except ConnectionError:  # the pipe is closed, as after "| head"
                drop_output()
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=write, name="terminal", daemon=True)
    thread.start()
    try:
        yield newest
    finally:
        stop.set()
        thread.join(1.0)


def _steps(board: Board) -> str:
    if board.target is None:
        return ""
    return f", cursor at {board.cursor[0]} {board.cursor[1]}, target at {board.target[0]} {board.target[1]}"


def _line(prediction: Prediction, classes: list[str]) -> str:
    each = "  ".join(f"{name} {p:.2f}" for name, p in zip(classes, prediction.probabilities, strict=True))
    return f"{each}  {'valid' if prediction.valid else 'not valid: ' + ', '.join(prediction.reasons.labels)}"


@contextmanager
def _bars(stream: Stream, console: Console) -> Iterator[Sink]:
    """Bars that are redrawn in place."""
    from rich.live import Live

    newest = Newest()

    def picture() -> Group:
        return _picture(stream, newest, console.width)

    with Live(console=console, get_renderable=picture, refresh_per_second=_REDRAW_PER_S, transient=True):
        yield newest


def _mark(newest: Newest, name: str) -> Text:
    from rich.text import Text

    if newest.decided == name:
        return Text(_DECIDED, style="bold")
    return Text(_IMAGINED if newest.imagined == name else "", style="dim")


def _grid(newest: Newest) -> Text:
    """Return the points of the board, with its cursor and its target, what they are, and the results."""
    from rich.text import Text

    board, grid = newest.board, Text()
    for y in range(BORDER, -BORDER - 1, -1):
        for x in range(-BORDER, BORDER + 1):
            here, wanted = (x, y) == board.cursor, (x, y) == board.target
            grid.append("● " if here else "◎ " if wanted else "· ", "bold" if here or wanted else "dim")
        grid.append("\n" if y > -BORDER else "")
    grid.append("  ● cursor  ◎ target", "dim")
    if attempts := newest.attempts.total():
        grid.append(f"  {newest.attempts[REACHED]} of {counted(attempts, 'target')} reached", "dim")
    return grid


def _picture(stream: Stream, newest: Newest, width: int) -> Group:
    """Return bars and state, of constant height and within the width."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    status, prediction = stream.status(), newest.prediction
    table = Table.grid(padding=(0, 2))
    names = min(max(12, *(len(name) for name in status.classes)), 24)
    bar = min(44, max(8, width - names - len(_IMAGINED) - 15))  # 15: the percentage, and what is between the columns
    table.add_column(width=names, no_wrap=True)
    table.add_column(width=bar)
    table.add_column(justify="right", width=5)
    table.add_column(width=len(_IMAGINED), no_wrap=True)
    valid = prediction is not None and prediction.valid
    probabilities = [0.0] * len(status.classes) if prediction is None else prediction.probabilities.tolist()
    for name, probability, hue in zip(status.classes, probabilities, cycle(_COLOURS), strict=False):
        colour = hue if valid else "grey50"
        table.add_row(
            Text(name.replace("_", " "), style="bold" if valid and probability == max(probabilities) else ""),
            ProgressBar(1.0, probability, complete_style=colour, finished_style=colour, width=bar),
            "–" if prediction is None else f"{probability:.0%}",
            _mark(newest, name),
        )
    state_style = {"live": "bold green", "failed": "bold red", "lost": "bold red"}.get(status.state, "bold yellow")
    text = f"{status.state}  {status.state_reason}"
    lines = textwrap.wrap(text, max(20, width - 4), max_lines=_STATE_LINES, placeholder=" …")
    state = Text("\n".join(lines + [""] * (_STATE_LINES - len(lines))))
    state.stylize(state_style, 0, len(str(status.state)))
    facts = [f"{status.counters.predictions} predictions"]
    facts += [f"latency {median(newest.totals_ms):.1f} ms"] if newest.totals_ms else []
    facts += ["for demonstration only"] if status.model.notice else []
    shown = Text("  ·  ".join(facts), "dim")
    return Group(
        Padding(table, (1, 0, 1, 2)),
        Padding(_grid(newest), (0, 0, 1, 2)),
        Padding(state, (0, 2)),
        Padding(shown, (0, 2)),
    )
