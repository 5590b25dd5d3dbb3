"""Pictures of a measurement: latency distributions as one self-contained SVG, figures as one HTML page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 400, 64, 190, 48, 56
_COLOURS = ("#2563a8", "#c2571a", "#2f855a", "#8b3fb5", "#9a7d0a", "#5b6677")
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_SHARES = (0.5, 0.1, 0.01, 0.001)


def distributions(milliseconds: Mapping[str, NDArray[np.float64]], title: str, note: str = "") -> str:
    """Which share of predictions is older than so many milliseconds, one curve each, both axes logarithmic.

    Parameters
    ----------
    milliseconds : mapping of str to ndarray
        Ages by name.
    title, note : str

    Returns
    -------
    str
        An SVG document.
    """
    low = max(0.05, min(float(np.quantile(values, 0.005)) for values in milliseconds.values()) * 0.8)
    high = max(float(values.max()) for values in milliseconds.values()) * 1.2
    floor = 1.0 / max(len(values) for values in milliseconds.values())
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def px(value: float) -> float:
        share = (math.log(max(value, low)) - math.log(low)) / (math.log(high) - math.log(low))
        return _LEFT + share * (right - _LEFT)

    def py(share: float) -> float:
        return _TOP + math.log(max(share, floor)) / math.log(floor) * (bottom - _TOP)

    out = [f'<text x="{_LEFT}" y="22" class="title">{escape(title)}</text>']
    out.append(f'<text x="{_LEFT}" y="{_HEIGHT - 6}">{escape(note)}</text>')
    for tick in (tick for tick in _TICKS if low <= tick <= high):
        out.append(f'<line class="grid" x1="{px(tick):.1f}" x2="{px(tick):.1f}" y1="{_TOP}" y2="{bottom}"/>')
        out.append(f'<text x="{px(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>')
    for share in (share for share in _SHARES if share >= floor):
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{py(share):.1f}" y2="{py(share):.1f}"/>')
        out.append(f'<text x="{_LEFT - 8}" y="{py(share) + 4:.1f}" text-anchor="end">{share:.1%}</text>')
    out.append(
        f'<text x="{(_LEFT + right) / 2}" y="{bottom + 36}" text-anchor="middle">milliseconds after the push</text>'
    )
    middle = (_TOP + bottom) / 2
    turn = f'transform="rotate(-90 16 {middle})"'
    out.append(f'<text x="16" y="{middle}" text-anchor="middle" {turn}>predictions later than this</text>')
    for index, (name, values) in enumerate(milliseconds.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        ordered = np.sort(values)
        shares = 1 - np.arange(len(ordered)) / len(ordered)
        # evenly spaced in what is drawn: few points where many predictions are, all where few are
        at = np.unique(len(ordered) - np.geomspace(len(ordered), 1, 300).astype(int))
        points = " ".join(f"{px(float(ordered[i])):.1f},{py(float(shares[i])):.1f}" for i in at)
        out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2.2" points="{points}"/>')
        y = _TOP + 16 + 40 * index
        p50, p99 = np.quantile(values, [0.5, 0.99])
        out.append(f'<rect x="{right + 14}" y="{y - 9}" width="12" height="12" rx="3" fill="{colour}"/>')
        out.append(f'<text x="{right + 32}" y="{y + 1}" class="name">{escape(name)}</text>')
        out.append(f'<text x="{right + 32}" y="{y + 17}">p50 {p50:.2f}, p99 {p99:.2f} ms</text>')
    style = (
        "text{font:12px system-ui,sans-serif;fill:#4a5568}.title{font-size:15px;font-weight:600;fill:#1d2430}"
        ".name{fill:#1d2430}.grid{stroke:#d9dee7}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}">'
        f"<style>{style}</style>"
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(out)}</svg>\n'
    )


def table_html(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; the first column names the row."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
