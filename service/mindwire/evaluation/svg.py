"""Small SVG plots, so that a report is one file, needs no plotting library and loads nothing.

Colours are CSS classes of the page around a plot, which therefore follows its light or dark theme. Plots of a report are
440 units wide, so that two fit side by side on a large screen and their text is readable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from mindwire.evaluation.scores import Score

_WIDTH, _HEIGHT = 440, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 26, 42
_HEADING = 24  # height of the title of a picture of its own
_CHARACTER = 7.9  # width of a character in a wide typeface
SERIES = ("first", "second")
_TICKS_MS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_SHARES = (0.001, 0.01, 0.1, 0.5)
_COLOURS = ("#2563a8", "#c2571a", "#2f855a", "#8b3fb5", "#9a7d0a", "#5b6677")
_STANDALONE = (
    "text{font:12px system-ui,sans-serif;fill:#4a5568}.title{font-size:15px;font-weight:600}.grid{stroke:#d9dee7}"
    ".axis,.tick{stroke:#4a5568}path{fill:none;stroke-width:2.2}.line,.whisker{stroke:#2563a8}.point,.band{fill:#2563a8}"
    ".band{opacity:.16}.rule{stroke:#4a5568;stroke-dasharray:5 4}path.second{stroke:#b4500a}.point.second{fill:#b4500a}"
    ".count{fill:#1d2430}"
)


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its range, tick positions, title, scale, and format of the ticks."""

    low: float
    high: float
    ticks: Sequence[float]
    title: str
    logarithmic: bool = False
    form: str = "g"

    def share(self, value: float) -> float:
        """Return the position of a value along the axis, 0 at its low and 1 at its high end."""
        if self.logarithmic:
            return math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points; a ``None`` value leaves a hole, a name is written to the right of the plot."""

    x: Sequence[float]
    y: Sequence[float | None]
    css: str = "line"
    points: bool = False
    name: Sequence[str] = ()
    colour: str = ""


@dataclass(frozen=True, slots=True)
class Band:
    """An area between two curves over the same x."""

    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    css: str = "band"


@dataclass(frozen=True, slots=True)
class Mark:
    """A larger point with its name; a square instead of a circle where it has a CSS class of its own."""

    x: float
    y: float
    name: str
    css: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot with two axes; bands are drawn first, then rules, lines and marks.

    ``rules`` are vertical lines: position and label. ``right`` is the room to the right of the plot.
    """

    x: Axis
    y: Axis
    title: str
    lines: Sequence[Line] = ()
    bands: Sequence[Band] = ()
    rules: Sequence[tuple[float, str]] = ()
    marks: Sequence[Mark] = ()
    width: int = _WIDTH
    height: int = _HEIGHT
    right: int = _RIGHT

    def _px(self, value: float) -> float:
        return _LEFT + self.x.share(value) * (self.width - _LEFT - self.right)

    def _py(self, value: float) -> float:
        return self.height - _BOTTOM - self.y.share(value) * (self.height - _TOP - _BOTTOM)

    def _line(self, line: Line) -> list[str]:
        points = [
            None if y is None else (f"{self._px(x):.1f}", f"{self._py(y):.1f}")
            for x, y in zip(line.x, line.y, strict=True)
        ]
        steps = "".join(
            f"{'L' if i and points[i - 1] else 'M'}{point[0]} {point[1]}" for i, point in enumerate(points) if point
        )
        stroke = f' stroke="{line.colour}"' if line.colour else ""
        marks = [f'<circle class="point {line.css}" cx="{p[0]}" cy="{p[1]}" r="4"/>' for p in points if p]
        return [f'<path class="{line.css}"{stroke} d="{steps}"/>', *(marks if line.points else [])]

    def _axes(self) -> list[str]:
        bottom, right = self.height - _BOTTOM, self.width - self.right
        out = []
        for tick in self.y.ticks:
            y = self._py(tick)
            out.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            out.append(_text(format(tick, self.y.form), _LEFT - 8, y + 4, "end"))
        for tick in self.x.ticks:
            x = self._px(tick)
            out.append(f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}"/>')
            out.append(_text(format(tick, self.x.form), x, bottom + 19))
        out.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
        out.append(_text(self.x.title, (_LEFT + right) / 2, self.height - 6))
        middle = (_TOP + bottom) / 2
        out.append(_text(self.y.title, 14, middle, more=f'transform="rotate(-90 14 {middle})"'))
        return out

    def _drawn_marks(self) -> list[str]:
        """Return the marks, each with its name at a corner of it where neither a name before nor the plot's edge is."""
        out: list[str] = []
        taken: list[tuple[float, float, float]] = []  # left and right edge and height of each name
        for mark in self.marks:
            x, y, wide = self._px(mark.x), self._py(mark.y), len(mark.name) * _CHARACTER
            corner = 0 if mark.css else 6  # circle and square differ without colours too
            shape = f'x="{x - 6:.1f}" y="{y - 6:.1f}" width="12" height="12" rx="{corner}"'
            places = [(left, at) for left in (x + 10, x - 10 - wide) for at in (y + 20, y - 10)]
            free = [
                (left, at)
                for left, at in places
                if left >= _LEFT and left + wide <= self.width - 4 and _TOP + 8 <= at <= self.height - _BOTTOM - 4
                if not any(left < end and left + wide > begin and abs(at - height) < 16 for begin, end, height in taken)
            ]
            left, at = (free or places)[0]
            taken.append((left, left + wide, at))
            out += [f'<rect class="point {mark.css}" {shape}/>', _text(mark.name, left, at, "start", css="count")]
        return out

    def _names(self) -> list[str]:
        out, x, y = [], self.width - self.right + 14, _TOP + 10
        for line in (line for line in self.lines if line.name):
            out.append(f'<rect x="{x}" y="{y - 9}" width="12" height="12" rx="3" fill="{line.colour}"/>')
            out += [_text(text, x + 18, y + 16 * i, "start") for i, text in enumerate(line.name)]
            y += 16 * len(line.name) + 10
        return out

    def svg(self) -> str:
        """Return the plot as an ``<svg>`` element."""
        out = self._axes()
        for band in self.bands:
            edge = [*zip(band.x, band.high, strict=True), *list(zip(band.x, band.low, strict=True))[::-1]]
            points = " ".join(f"{self._px(x):.1f},{self._py(y):.1f}" for x, y in edge)
            out.append(f'<polygon class="{band.css}" points="{points}"/>')
        for position, label in self.rules:
            x, half = self._px(position), len(label) * _CHARACTER / 2
            out.append(f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{self.height - _BOTTOM}"/>')
            # above the plot, where no curve is, and within the picture
            out.append(_text(label, min(max(x, _LEFT + half), self.width - 4 - half), _TOP - 9))
        for line in self.lines:
            out += self._line(line)
        return _element(self.width, self.height, self.title, [*out, *self._drawn_marks(), *self._names()])


def _text(text: str, x: float, y: float, anchor: str = "middle", *, css: str = "", more: str = "") -> str:
    css = f'class="{css}" ' if css else ""
    return f'<text {css}x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(text)}</text>'


def _element(width: float, height: float, title: str, parts: Sequence[str]) -> Markup:
    start = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">'
    return Markup(f"{start}{''.join(parts)}</svg>")  # noqa: S704 - the parts are escaped above


def distributions(milliseconds: Mapping[str, NDArray[np.float64]], title: str) -> str:
    """Plot the share of predictions later than a number of milliseconds, one curve per name, on logarithmic axes."""
    low = max(0.05, min(float(np.quantile(values, 0.005)) for values in milliseconds.values()) * 0.8)
    high = max(float(values.max()) for values in milliseconds.values()) * 1.2
    floor = 1.0 / max(len(values) for values in milliseconds.values())
    lines = []
    for index, (name, values) in enumerate(milliseconds.items()):
        ordered, n = np.sort(values), len(values)
        shown = np.unique(n - np.geomspace(n, 1, 300).astype(int))  # evenly spaced on the logarithmic axis
        p50, p99 = np.quantile(values, [0.5, 0.99])
        key = (name, f"p50 {p50:.2f}, p99 {p99:.2f} ms")
        colour = _COLOURS[index % len(_COLOURS)]
        lines.append(Line(ordered[shown].tolist(), (1 - shown / n).tolist(), "curve", name=key, colour=colour))
    return Figure(
        title=title,
        x=Axis(low, high, [t for t in _TICKS_MS if low <= t <= high], "milliseconds", logarithmic=True),
        y=Axis(
            floor, 1, [s for s in _SHARES if s >= floor], "predictions later than this", logarithmic=True, form=".1%"
        ),
        lines=lines,
        width=760,
        height=400,
        right=190,
    ).svg()


def standalone(svg: str, title: str) -> str:
    """Return an ``<svg>`` element as a document of its own, with a title above and the colours of a light page."""
    start, _, rest = svg.removeprefix("<svg ").partition(">")
    _, _, width, height = (start.split('"')[1]).split()
    start = start.replace(f"0 0 {width} {height}", f"0 {-_HEADING} {width} {float(height) + _HEADING:g}", 1)
    page = f'<style>{_STANDALONE}</style><rect y="{-_HEADING}" width="100%" height="100%" fill="#fff"/>'
    heading = _text(title, _LEFT, -7, "start", css="title")
    return f'<svg xmlns="http://www.w3.org/2000/svg" {start}>{page}{heading}{rest}\n'


def heatmap(counts: Sequence[Sequence[int]], labels: Sequence[str], title: str, *, half: bool = False) -> str:
    """Plot a confusion matrix, true classes in rows and predicted ones in columns, shaded by the share of the row.

    ``half`` makes a plot for few classes 0.65 times as wide.
    """
    n, width = len(labels), _WIDTH * (0.65 if half and len(labels) < 5 else 1.0)
    left, top = 78, 58
    cell = min(130.0, (width - left - 4) / n)
    row_height = min(cell, 64)
    out = [_text("predicted", left + n * cell / 2, 14)]
    for i, name in enumerate(labels):
        out.append(_label(name, left + (i + 0.5) * cell, top - 10, cell, anchor="middle", upwards=True))
        out.append(_label(name, left - 8, top + (i + 0.5) * row_height + 4, left - 10, anchor="end"))
    for row, values in enumerate(counts):
        y, total = top + row * row_height, sum(values)
        for column, value in enumerate(values):
            share = value / total if total else 0.0
            x = left + column * cell
            out.append(
                f'<rect class="cell" style="fill-opacity:{0.06 + 0.84 * share:.3f}" x="{x:.1f}" y="{y:.1f}" '
                f'width="{cell - 3:.1f}" height="{row_height - 3:.1f}" rx="6"/>'
            )
            texts = [f"{value}"] + ([f"{share:.0%}"] if total else [])
            for i, text in enumerate(texts):
                at = y + row_height / 2 + 3 + (i - (len(texts) - 1) / 2) * 15
                out.append(_text(text, x + cell / 2 - 1, at, css="count strong" if share > 0.55 else "count"))
    return _element(width, top + n * row_height + 6, title, out)


def _label(name: str, x: float, y: float, room: float, *, anchor: str, upwards: bool = False) -> str:
    """Return the name of a class in at most two lines, each cut to the room."""
    most = max(3, int(room / _CHARACTER))
    words, lines = name.split(), [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) > most and len(lines) < 2:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    shown = [line if len(line) <= most else f"{line[: most - 1]}…" for line in lines]
    begin = y - 14 * (len(shown) - 1) * (1.0 if upwards else 0.5)
    spans = [f'<tspan x="{x:.1f}" y="{begin + 14 * i:.1f}">{escape(line)}</tspan>' for i, line in enumerate(shown)]
    return f'<text text-anchor="{anchor}"><title>{escape(name)}</title>{"".join(spans)}</text>'


def interval_bars(rows: Sequence[tuple[str, Sequence[Score]]], chance: float, title: str) -> str:
    """Plot accuracies as points with their intervals, one row per name, over the chance interval of the first.

    Rows hold a name, and scores in the order of :data:`SERIES`; ``chance`` is drawn as a vertical line.
    """
    left, top, head = 12, 4, 18
    step = head + 14 * max((len(bars) for _, bars in rows), default=1) + 8
    span, bottom = _WIDTH - 2 * left, top + step * len(rows)

    def px(value: float) -> float:
        return left + value * span

    out = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        out.append(f'<line class="grid" x1="{px(tick)}" x2="{px(tick)}" y1="{top}" y2="{bottom}"/>')
        anchor = "start" if tick == 0 else "end" if tick == 1 else "middle"
        out.append(_text(f"{tick:.0%}", px(tick), bottom + 18, anchor))
    for i, (name, bars) in enumerate(rows):
        y = top + i * step
        low, high = map(px, bars[0].chance_interval)
        out.append(
            f'<rect class="chance" x="{low:.1f}" y="{y + head}" width="{high - low:.1f}" height="{step - head - 4}" rx="4"/>'
        )
        values = " / ".join("none" if bar.accuracy is None else f"{bar.accuracy:.0%}" for bar in bars)
        most = int((span - len(values) * _CHARACTER) / _CHARACTER) - 2
        out.append(_text(name if len(name) <= most else f"…{name[1 - most :]}", left, y + 13, "start"))
        out.append(_text(values, px(1), y + 13, "end", css="count"))
        for j, (bar, css) in enumerate(zip(bars, SERIES, strict=False)):
            at = y + head + 9 + 14 * j
            if bar.accuracy is None:
                continue
            out.append(
                f'<line class="whisker {css}" x1="{px(bar.accuracy_interval[0]):.1f}" x2="{px(bar.accuracy_interval[1]):.1f}" '
                f'y1="{at}" y2="{at}"/><circle class="point {css}" cx="{px(bar.accuracy):.1f}" cy="{at}" r="5"/>'
            )
    out.append(f'<line class="rule" x1="{px(chance):.1f}" x2="{px(chance):.1f}" y1="{top}" y2="{bottom}"/>')
    return _element(_WIDTH, bottom + 24, title, out)
