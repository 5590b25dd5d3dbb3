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
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from mindwire.interrupts import drop_output
from mindwire.logs import PrintableFormatter, log_handler
from mindwire.status import Event, Sink
from mindwire.types import Prediction

if TYPE_CHECKING:
    from rich.console import Console, Group

    from mindwire.live.stream import Stream

View = Callable[[Mapping[str, "Stream"]], AbstractContextManager[Sink]]

_REDRAW_PER_S = 8
_LINE_EVERY_S = 2.0
_CUE_SHOWN_S = 4.5
_IMAGINED = "◀ imagined now"
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
    return lambda streams: _bars(streams, console), handler


class Newest(Sink):
    """Sink that keeps the newest prediction, cue and latencies of a stream.

    Attributes
    ----------
    prediction : Prediction or None
    cue : str
        Label of the last cue; shown while an imagery lasts.
    """

    def __init__(self) -> None:
        self.prediction: Prediction | None = None
        self.cue = ""
        self._cue_at = 0.0
        self._totals: deque[float] = deque(maxlen=100)

    def publish(self, prediction: Prediction) -> None:
        """Take one prediction."""
        self.prediction = prediction
        self._totals.append(sum(prediction.latency_ms.values()))

    def event(self, event: Event) -> None:
        """Take one event; only cues matter here, the state is polled."""
        if event.kind == "cue":
            self.cue, self._cue_at = str(event.data["label"]), time.monotonic()

    @property
    def imagined(self) -> str:
        """Label of the current imagery, empty between trials."""
        return self.cue if time.monotonic() - self._cue_at < _CUE_SHOWN_S else ""

    @property
    def latency_ms(self) -> float | None:
        """Median sum of the stages of the last predictions."""
        totals = list(self._totals)
        return median(totals) if totals else None


def _the_only(streams: Mapping[str, Stream]) -> Stream:
    return next(iter(streams.values()))


@contextmanager
def _lines(streams: Mapping[str, Stream]) -> Iterator[Sink]:
    """Print a line every two seconds, and one for each change of state."""
    stream, newest, stop = _the_only(streams), Newest(), threading.Event()

    def write() -> None:
        try:
            write_lines()
        except ConnectionError:  # the pipe is closed, as after "| head"
            drop_output()
            os.kill(os.getpid(), signal.SIGTERM)

    def write_lines() -> None:
        printed, printed_at = "", 0.0
        while not stop.wait(0.1):
            status = stream.status()
            state = f"{status.state}: {status.state_reason}"
            now = time.monotonic()
            if state != printed:
                printed = state
                print(state, flush=True)  # noqa: T201 - this is what the view is for
            if newest.prediction is not None and now - printed_at >= _LINE_EVERY_S:
                printed_at = now
                print(_line(newest.prediction, status.classes), flush=True)  # noqa: T201

    thread = threading.Thread(target=write, name="terminal", daemon=True)
    thread.start()
    try:
        yield newest
    finally:
        stop.set()
        thread.join(1.0)


def _line(prediction: Prediction, classes: list[str]) -> str:
    each = "  ".join(f"{name} {p:.2f}" for name, p in zip(classes, prediction.probabilities, strict=True))
    return f"{each}  {'valid' if prediction.valid else 'not valid: ' + ', '.join(prediction.reasons.labels)}"


@contextmanager
def _bars(streams: Mapping[str, Stream], console: Console) -> Iterator[Sink]:
    """Bars that are redrawn in place."""
    from rich.live import Live

    stream, newest = _the_only(streams), Newest()
    live = Live(
        console=console,
        get_renderable=lambda: _picture(stream, newest, console.width),
        refresh_per_second=_REDRAW_PER_S,
        transient=True,
    )
    with live:
        yield newest


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
    for index, name in enumerate(status.classes):
        probability = float(prediction.probabilities[index]) if prediction is not None else 0.0
        colour = _COLOURS[index % len(_COLOURS)] if valid else "grey50"
        best = prediction is not None and index == int(np.argmax(prediction.probabilities))
        table.add_row(
            Text(name.replace("_", " "), style="bold" if best and valid else ""),
            ProgressBar(1.0, probability, complete_style=colour, finished_style=colour, width=bar),
            f"{probability:.0%}" if prediction is not None else "–",
            Text(_IMAGINED, style="dim") if newest.imagined == name else "",
        )
    state_style = {"live": "bold green", "failed": "bold red", "lost": "bold red"}.get(status.state, "bold yellow")
    text = f"{status.state}  {status.state_reason}"
    lines = textwrap.wrap(text, max(20, width - 4), max_lines=_STATE_LINES, placeholder=" …")
    state = Text("\n".join(lines + [""] * (_STATE_LINES - len(lines))))
    state.stylize(state_style, 0, len(str(status.state)))
    latency = newest.latency_ms
    facts = [f"{status.counters.predictions} predictions"]
    if latency is not None:
        facts.append(f"latency {latency:.1f} ms")
    if status.model.notice:
        facts.append("for demonstration only")
    return Group(
        Padding(table, (1, 0, 1, 2)), Padding(state, (0, 2)), Padding(Text("  ·  ".join(facts), "dim"), (0, 2))
    )
