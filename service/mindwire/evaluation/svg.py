"""Small inline SVG plots, so that a report is one file, needs no plotting library and fetches nothing.

Colours are CSS variables of the page around the plot; a plot therefore follows its light or dark theme. All are
equally wide, two of them side by side on a large screen, and narrow enough that their text is read on a phone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 440, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 26, 42
_CHARACTER = 7.9  # about as wide as one is in a wide face


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its range, tick positions and title."""

    low: float
    high: float
    ticks: Sequence[float]
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points, marked if wanted; a ``None`` value leaves a hole."""

    x: Sequence[float]
    y: Sequence[float | None]
    css: str = "line"
    name: str = ""
    points: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """An area between two curves over the same x."""

    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    css: str = "band"


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot with two axes; marks are drawn in the order band, rule, line.

    ``rules`` are vertical lines: position and label.
    """

    x: Axis
    y: Axis
    title: str
    lines: Sequence[Line] = ()
    bands: Sequence[Band] = ()
    rules: Sequence[tuple[float, str]] = ()

    def _px(self, value: float) -> float:
        share = (value - self.x.low) / (self.x.high - self.x.low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def _py(self, value: float) -> float:
        share = (value - self.y.low) / (self.y.high - self.y.low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def _path(self, line: Line) -> str:
        parts, pen_down = [], False
        for x, y in zip(line.x, line.y, strict=True):
            if y is None:
                pen_down = False
                continue
            parts.append(f"{'L' if pen_down else 'M'}{self._px(x):.1f} {self._py(y):.1f}")
            pen_down = True
        return "".join(parts)

    def _axes(self) -> list[str]:
        bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        out = []
        for tick in self.y.ticks:
            y = self._py(tick)
            out.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            out.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
        for tick in self.x.ticks:
            x = self._px(tick)
            out.append(f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}"/>')
            out.append(f'<text x="{x:.1f}" y="{bottom + 19}" text-anchor="middle">{tick:g}</text>')
        out.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
        centre = (_LEFT + right) / 2
        out.append(f'<text x="{centre}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(self.x.title)}</text>')
        middle = (_TOP + bottom) / 2
        out.append(
            f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">'
            f"{escape(self.y.title)}</text>"
        )
        return out

    def svg(self) -> str:
        """The plot as an ``<svg>`` element."""
        out = self._axes()
        for band in self.bands:
            there = [f"{self._px(x):.1f},{self._py(y):.1f}" for x, y in zip(band.x, band.high, strict=True)]
            back = [f"{self._px(x):.1f},{self._py(y):.1f}" for x, y in zip(band.x, band.low, strict=True)]
            out.append(f'<polygon class="{band.css}" points="{" ".join(there + back[::-1])}"/>')
        for position, label in self.rules:
            x = self._px(position)
            out.append(f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
            # above the plot, where no curve is, and within the picture
            half = len(label) * _CHARACTER / 2
            middle = min(max(x, _LEFT + half), _WIDTH - 4 - half)
            out.append(f'<text x="{middle:.1f}" y="{_TOP - 9}" text-anchor="middle">{escape(label)}</text>')
        for line in self.lines:
            name = f"<title>{escape(line.name)}</title>" if line.name else ""
            out.append(f'<path class="{line.css}" d="{self._path(line)}">{name}</path>')
            if line.points:
                out += [
                    f'<circle class="point {line.css}" cx="{self._px(x):.1f}" cy="{self._py(y):.1f}" r="4"/>'
                    for x, y in zip(line.x, line.y, strict=True)
                    if y is not None
                ]
        return _element(_WIDTH, _HEIGHT, self.title, out)


def _element(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'


def legend(names: Sequence[str]) -> str:
    """Which line is which, where there are several: the first is drawn as ``line first``, the next as ``line second``."""
    if len(names) < 2:
        return ""
    swatches = [
        f'<span><svg class="swatch" viewBox="0 0 30 10" aria-hidden="true"><path class="line {css}" d="M1 5L29 5"/></svg>'
        f"{escape(name)}</span>"
        for name, css in zip(names, SERIES, strict=False)
    ]
    return f'<p class="legend">{"".join(swatches)}</p>'


SERIES = ("first", "second")


def heatmap(counts: Sequence[Sequence[int]], labels: Sequence[str], title: str, *, half: bool = False) -> str:
    """A confusion matrix: true class in rows, predicted in columns, shaded by the share of the row; or half as wide."""
    n, width = len(labels), _WIDTH * (0.65 if half and len(labels) < 5 else 1.0)
    left, top = 78, 58
    cell = min(130.0, (width - left - 4) / n)
    row_height = min(cell, 64)
    height = top + n * row_height + 6
    out = [f'<text x="{left + n * cell / 2:.1f}" y="14" text-anchor="middle">predicted</text>']
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
            css = "count strong" if share > 0.55 else "count"
            lines = [f"{value}"] + ([f"{share:.0%}"] if total else [])
            for i, text in enumerate(lines):
                at = y + row_height / 2 + 3 + (i - (len(lines) - 1) / 2) * 15
                out.append(
                    f'<text class="{css}" x="{x + cell / 2 - 1:.1f}" y="{at:.1f}" text-anchor="middle">{text}</text>'
                )
    return _element(width, height, title, out)


def _label(name: str, x: float, y: float, room: float, *, anchor: str, upwards: bool = False) -> str:
    """A class's name in as many lines as fit beside each other, at most two, cut where even these are too long."""
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


@dataclass(frozen=True, slots=True)
class Bar:
    """An accuracy with its interval; no accuracy where nothing was decided."""

    accuracy: float | None
    interval: tuple[float, float]


def interval_bars(rows: Sequence[tuple[str, Sequence[Bar], tuple[float, float]]], chance: float, title: str) -> str:
    """Accuracies as points with their intervals, one row per name, over each row's chance interval.

    Parameters
    ----------
    rows : sequence of (name, bars, chance interval)
        Bars in the order of :data:`SERIES`.
    chance : float
        Drawn as a vertical line.
    title : str

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    left, top, head = 12, 4, 18
    step = head + 14 * max((len(bars) for _, bars, _ in rows), default=1) + 8
    span, bottom = _WIDTH - 2 * left, top + step * len(rows)

    def px(value: float) -> float:
        return left + value * span

    out = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        out.append(f'<line class="grid" x1="{px(tick)}" x2="{px(tick)}" y1="{top}" y2="{bottom}"/>')
        anchor = "start" if tick == 0 else "end" if tick == 1 else "middle"
        out.append(f'<text x="{px(tick)}" y="{bottom + 18}" text-anchor="{anchor}">{tick:.0%}</text>')
    for i, (name, bars, by_chance) in enumerate(rows):
        y = top + i * step
        low, high = px(by_chance[0]), px(by_chance[1])
        out.append(
            f'<rect class="chance" x="{low:.1f}" y="{y + head}" width="{high - low:.1f}" height="{step - head - 4}" rx="4"/>'
        )
        told = " / ".join("none" if bar.accuracy is None else f"{bar.accuracy:.0%}" for bar in bars)
        most = int((span - len(told) * _CHARACTER) / _CHARACTER) - 2
        shown = name if len(name) <= most else f"…{name[1 - most :]}"
        out.append(f'<text x="{left}" y="{y + 13}">{escape(shown)}</text>')
        out.append(f'<text class="count" x="{px(1)}" y="{y + 13}" text-anchor="end">{told}</text>')
        for j, (bar, css) in enumerate(zip(bars, SERIES, strict=False)):
            at = y + head + 9 + 14 * j
            if bar.accuracy is None:
                continue
            out.append(
                f'<line class="whisker {css}" x1="{px(bar.interval[0]):.1f}" x2="{px(bar.interval[1]):.1f}" '
                f'y1="{at}" y2="{at}"/><circle class="point {css}" cx="{px(bar.accuracy):.1f}" cy="{at}" r="5"/>'
            )
    out.append(f'<line class="rule" x1="{px(chance):.1f}" x2="{px(chance):.1f}" y1="{top}" y2="{bottom}"/>')
    return _element(_WIDTH, bottom + 24, title, out)
