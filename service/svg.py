"""Small inline SVG plots, so that a report is one file, needs no plotting library and fetches nothing.

Colours are CSS variables of the page around the plot; a plot therefore follows its light or dark theme.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 16, 44


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
            out.append(f'<text x="{x + 5:.1f}" y="{_TOP + 12}">{escape(label)}</text>')
        for line in self.lines:
            name = f"<title>{escape(line.name)}</title>" if line.name else ""
            out.append(f'<path class="{line.css}" d="{self._path(line)}">{name}</path>')
            if line.points:
                out += [
                    f'<circle class="point" cx="{self._px(x):.1f}" cy="{self._py(y):.1f}" r="4"/>'
                    for x, y in zip(line.x, line.y, strict=True)
                    if y is not None
                ]
        return _element(_WIDTH, _HEIGHT, self.title, out)


def _element(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}" '
        f'style="max-width:{width:g}px">{"".join(parts)}</svg>'
    )


def heatmap(counts: Sequence[Sequence[int]], labels: Sequence[str], title: str) -> str:
    """A confusion matrix: true class in rows, predicted in columns, shaded by the share of the row."""
    cell, left, top = 84, 128, 52
    n = len(labels)
    width, height = left + n * cell + 8, top + n * cell + 8
    out = [f'<text x="{left + n * cell / 2}" y="16" text-anchor="middle">predicted</text>']
    out += [
        f'<text x="{left + (i + 0.5) * cell}" y="{top - 10}" text-anchor="middle">{escape(name)}</text>'
        for i, name in enumerate(labels)
    ]
    for row, (name, values) in enumerate(zip(labels, counts, strict=True)):
        y, total = top + row * cell, sum(values)
        out.append(f'<text x="{left - 10}" y="{y + cell / 2 + 4}" text-anchor="end">{escape(name)}</text>')
        for column, value in enumerate(values):
            share = value / total if total else 0.0
            x = left + column * cell
            out.append(
                f'<rect class="cell" style="fill-opacity:{0.06 + 0.84 * share:.3f}" x="{x}" y="{y}" '
                f'width="{cell - 3}" height="{cell - 3}" rx="6"/>'
            )
            css = "count strong" if share > 0.55 else "count"
            text = f"{value}" + (f" ({share:.0%})" if total else "")
            out.append(
                f'<text class="{css}" x="{x + cell / 2 - 1}" y="{y + cell / 2 + 4}" text-anchor="middle">{text}</text>'
            )
    return _element(width, height, title, out)


def interval_bars(
    rows: Sequence[tuple[str, float | None, tuple[float, float], tuple[float, float]]], chance: float, title: str
) -> str:
    """Accuracies as points with their intervals, one row per name, over each row's chance interval.

    Parameters
    ----------
    rows : sequence of (name, accuracy, interval, chance interval)
    chance : float
        Drawn as a vertical line.
    title : str

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    left, step, top = 230, 30, 8
    span, height = _WIDTH - left - 60, top + step * len(rows) + 34
    bottom = top + step * len(rows)

    def px(value: float) -> float:
        return left + value * span

    out = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        out.append(f'<line class="grid" x1="{px(tick)}" x2="{px(tick)}" y1="{top}" y2="{bottom}"/>')
        out.append(f'<text x="{px(tick)}" y="{bottom + 20}" text-anchor="middle">{tick:g}</text>')
    for i, (name, accuracy, interval, by_chance) in enumerate(rows):
        y = top + (i + 0.5) * step
        low, high = px(by_chance[0]), px(by_chance[1])
        out.append(f'<rect class="chance" x="{low:.1f}" y="{y - 11}" width="{high - low:.1f}" height="22" rx="4"/>')
        shown = name if len(name) <= 32 else f"…{name[-31:]}"
        out.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{escape(shown)}</text>')
        if accuracy is None:
            out.append(f'<text x="{_WIDTH - 52}" y="{y + 4}">none</text>')
            continue
        out.append(
            f'<line class="whisker" x1="{px(interval[0]):.1f}" x2="{px(interval[1]):.1f}" y1="{y}" y2="{y}"/>'
            f'<circle class="point" cx="{px(accuracy):.1f}" cy="{y}" r="5"/>'
            f'<text x="{_WIDTH - 52}" y="{y + 4}">{accuracy:.0%}</text>'
        )
    out.append(f'<line class="rule" x1="{px(chance):.1f}" x2="{px(chance):.1f}" y1="{top}" y2="{bottom}"/>')
    return _element(_WIDTH, height, title, out)
