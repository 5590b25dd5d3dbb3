"""Picture of the Grafana dashboard in docker/ from the answers of a Prometheus to the dashboard's own queries.

    python benchmarks/dashboard_picture.py --prometheus http://127.0.0.1:9090 --minutes 15 --out dashboard.png

Not a screenshot of Grafana: panels, titles, places, units and queries are those of the dashboard's JSON, and Prometheus answers the
queries as it does for Grafana; Matplotlib draws. Needs the extra ``train``.
"""

from __future__ import annotations

import argparse
import json
import re
import time
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter
from PIL import Image

DASHBOARD = Path(__file__).parents[1] / "docker" / "grafana" / "mindwire.json"
UNIT = 0.62  # inches per column of the grid
ROW = 0.34  # inches per row
COLOURS = ["#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#9d8bd0", "#b3a06e", "#8ab8a8"]
STATUS = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c", "blue": "#5794f2", "text": "#d8d9da"}
TEXT, FAINT, PANEL, BACKGROUND = "#d8d9da", "#8e8e8e", "#1f2126", "#111217"
Series = tuple[str, np.ndarray, np.ndarray]


class Prometheus:
    """Answers of a Prometheus over a time, with the variables of Grafana replaced as Grafana replaces them."""

    def __init__(self, address: str, begin: float, end: float, scrape_s: float) -> None:
        self.address, self.begin, self.end = address.rstrip("/"), begin, end
        self.step = max(scrape_s, (end - begin) / 500)
        self.marks: list[tuple[str, float]] = []
        self.rate_s = max(self.step + scrape_s, 4 * scrape_s)

    def series(self, target: dict[str, Any]) -> list[Series]:
        """Return the name, times and values of each series over the time."""
        found = self._ask("query_range", target["expr"], start=self.begin, end=self.end, step=self.step)
        named = [
            (_legend(target["legendFormat"], one["metric"]) or "value", np.array(one["values"], float).T)
            for one in found
        ]
        return [(name, times, values) for name, (times, values) in sorted(named, key=lambda pair: pair[0])]

    def mark(self, annotations: list[dict[str, Any]]) -> None:
        """Keep the moments at which annotations begin, for all series."""
        for one in annotations:
            for _, times, _ in self.series({"expr": one["expr"], "legendFormat": ""}):
                first = np.diff(times, prepend=-np.inf) > 1.5 * self.step
                self.marks += [(one["iconColor"], at) for at in times[first]]

    def table(self, target: dict[str, Any]) -> list[dict[str, str]]:
        """Return the labels, and the value as ``Value``, of each series at the end of the time."""
        return [
            {**one["metric"], "Value": one["value"][1]} for one in self._ask("query", target["expr"], time=self.end)
        ]

    def _ask(self, what: str, query: str, **values: float) -> list[dict[str, Any]]:
        query = query.replace("$__rate_interval", f"{self.rate_s * 1000:.0f}ms").replace("$stream", ".*")
        return self.get(what, query, **values)

    def get(self, what: str, query: str, **values: float) -> list[dict[str, Any]]:
        """Return the result of a request of the query API."""
        url = f"{self.address}/api/v1/{what}?{urllib.parse.urlencode({'query': query, **values})}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return list(json.load(answer)["data"]["result"])


def _legend(form: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{ ?(\w+) ?\}\}", lambda match: labels.get(match[1], ""), form).strip()


def shown(value: float, unit: str, decimals: int | None = None) -> str:
    """Return a value with its unit, as short as Grafana writes it."""
    if unit == "percentunit":
        return f"{value * 100:.{1 if decimals is None else decimals}f} %"
    if unit == "s" and abs(value) < 1:
        return f"{value * 1e3:.3g} ms"
    if unit == "bytes":
        return f"{value / 2**20:.0f} MiB"
    suffix = {"s": " s", "cps": " c/s", "cpm": " c/m", "ppm": " ppm"}.get(unit, "")
    return f"{value:.3g}{suffix}" if decimals is None or value % 1 == 0 else f"{value:.{decimals}f}{suffix}"


def draw(prometheus: Prometheus, out: Path) -> None:
    """Draw all panels of the dashboard where it has them."""
    dashboard = json.loads(DASHBOARD.read_text())
    prometheus.mark(dashboard["annotations"]["list"])
    panels = dashboard["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    mpl.rcParams.update({
        "text.color": TEXT, "axes.labelcolor": TEXT, "xtick.color": FAINT, "ytick.color": FAINT, "font.size": 7,
        "axes.edgecolor": "#35373d", "axes.facecolor": PANEL, "font.family": "DejaVu Sans", "timezone": "UTC",
    })  # fmt: skip
    width, height = 24 * UNIT, rows * ROW + 0.45
    figure = plt.figure(figsize=(width, height), facecolor=BACKGROUND)
    when = " to ".join(f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}" for at in (prometheus.begin, prometheus.end))
    note = f"{dashboard['title']}   –   queries of docker/grafana/mindwire.json, answered by Prometheus, drawn by Matplotlib   –   {when} UTC"
    figure.text(0.006, 1 - 0.28 / height, note, fontsize=9)
    for panel in panels:
        at = panel["gridPos"]
        left, top = at["x"] / 24, 1 - (0.45 + at["y"] * ROW) / height
        w, h = at["w"] / 24, at["h"] * ROW / height
        gap_x, gap_y = 0.045 / width, 0.045 / height
        box = plt.Rectangle(
            (left + gap_x, top - h + gap_y), w - 2 * gap_x, h - 2 * gap_y, transform=figure.transFigure, facecolor=PANEL, zorder=-1
        )  # fmt: skip
        figure.add_artist(box)
        figure.text(left + 0.09 / width, top - 0.21 / height, panel["title"], fontsize=7.5, weight="bold")
        inside = (left + 0.5 / width, top - h + 0.62 / height, w - 0.65 / width, h - 0.97 / height)
        _DRAWN[panel["type"]](figure, inside, (left, top, w, h), panel, prometheus)
    figure.savefig(out, dpi=100, facecolor=BACKGROUND)
    plt.close(figure)
    Image.open(out).convert("RGB").quantize(96).save(out, optimize=True)


def _draw_stat(figure: Any, _inside: Any, place: Any, panel: dict[str, Any], prometheus: Prometheus) -> None:
    left, top, w, h = place
    defaults = panel["fieldConfig"]["defaults"]
    for i, target in enumerate(panel["targets"]):
        found = prometheus.table(target)
        value = float(found[0]["Value"]) if found else float("nan")
        colour = next(
            (step["color"] for step in reversed(defaults["thresholds"]["steps"]) if step["value"] is None or value >= step["value"]), "text"
        )  # fmt: skip
        text = "–" if np.isnan(value) else shown(value, defaults["unit"], defaults.get("decimals"))
        x = left + w * (i + 0.5) / len(panel["targets"])
        size = 17 if len(panel["targets"]) == 1 else 15
        figure.text(x, top - h * 0.58, text, fontsize=size, ha="center", va="center", color=STATUS[colour])
        if len(panel["targets"]) > 1:
            figure.text(x, top - h * 0.88, target["legendFormat"], fontsize=6.5, ha="center", va="center", color=FAINT)


def _axes(figure: Any, inside: Any, prometheus: Prometheus) -> Axes:
    axes = figure.add_axes(inside)
    axes.set_xlim(*(datetime.fromtimestamp(at, UTC) for at in (prometheus.begin, prometheus.end)))
    apart = next(s for s in (60, 120, 300, 600, 1800, 3600, 86400) if (prometheus.end - prometheus.begin) / s <= 6)
    axes.set_xticks(_moments(np.arange(-(-prometheus.begin // apart) * apart, prometheus.end, apart)))
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))
    axes.tick_params(length=0, pad=2, labelsize=6.5)
    axes.grid(color="#2c2f36", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    return axes


def _moments(times: np.ndarray) -> list[datetime]:
    return [datetime.fromtimestamp(at, UTC) for at in times]


def _draw_timeline(figure: Any, inside: Any, _place: Any, panel: dict[str, Any], prometheus: Prometheus) -> None:
    x, y, w, h = inside
    shift = 0.09 * w
    axes = _axes(figure, (x + shift + 0.02, y - h * 0.1, w - shift - 0.02, h * 1.1), prometheus)
    found = [one for target in panel["targets"] for one in prometheus.series(target)]
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    for row, (_, times, values) in enumerate(found):
        for at, value in zip(times, values, strict=True):
            colour = next(s["color"] for s in reversed(steps) if s["value"] is None or value >= s["value"])
            begin, until = _moments(np.array([at, at + prometheus.step]))
            axes.fill_betweenx([row - 0.4, row + 0.4], begin, until, color=STATUS[colour], linewidth=0)
    axes.set_yticks(range(len(found)), [name.removeprefix("Mindwire") for name, _, _ in found])
    axes.set_ylim(max(len(found), 1) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def _draw_series(figure: Any, inside: Any, place: Any, panel: dict[str, Any], prometheus: Prometheus) -> None:
    axes, defaults = _axes(figure, inside, prometheus), panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    found = [one for target in panel["targets"] for one in prometheus.series(target)]
    grid = np.arange(prometheus.begin, prometheus.end + prometheus.step / 2, prometheus.step)
    below = np.zeros(len(grid))
    for i, (name, times, values) in enumerate(found):
        line = np.full(len(grid), np.nan)
        line[np.clip(np.rint((times - prometheus.begin) / prometheus.step).astype(int), 0, len(grid) - 1)] = values
        colour, moments = COLOURS[i % len(COLOURS)], _moments(grid)
        stacked = custom["stacking"]["mode"] == "normal"
        if custom["drawStyle"] == "bars":
            height = np.nan_to_num(line)
            axes.bar(moments, height, prometheus.step / 86400, bottom=below, color=colour, label=name, alpha=0.85)
            below += height
        elif stacked:
            height = np.nan_to_num(line)
            axes.fill_between(moments, below, below + height, color=colour, alpha=0.75, label=name, linewidth=0)
            below += height
        else:
            axes.plot(moments, line, color=colour, linewidth=1, label=name)
    axes.yaxis.set_major_formatter(lambda value, _: shown(value, defaults["unit"]))
    axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(5, integer=defaults.get("decimals") == 0))
    if "min" in defaults or custom["stacking"]["mode"] == "normal" or custom["drawStyle"] == "bars":
        axes.set_ylim(bottom=0)
    for colour, at in prometheus.marks:
        axes.axvline(_moments(np.array([at]))[0], color=STATUS.get(colour, colour), linewidth=0.8, linestyle="--")
    if "max" in defaults:
        axes.set_ylim(top=defaults["max"])
    if not found:
        axes.text(0.5, 0.5, "No data", transform=axes.transAxes, ha="center", color=FAINT)
        axes.set_yticks([])
        return
    left, top, _, h = place
    columns = min(len(found), 4)
    axes.legend(
        loc="lower left", bbox_to_anchor=(left + 0.003, top - h + 0.002), bbox_transform=figure.transFigure, ncol=columns,
        frameon=False, fontsize=6 if len(found) <= 8 else 5.2, handlelength=1, columnspacing=1, labelspacing=0.25, labelcolor=TEXT, borderpad=0.1,
    )  # fmt: skip


def _draw_table(figure: Any, _inside: Any, place: Any, panel: dict[str, Any], prometheus: Prometheus) -> None:
    left, top, w, h = place
    order = panel["transformations"][0]["options"]["indexByName"]
    columns = sorted(order, key=order.__getitem__)
    rows = [dict(zip(columns, columns, strict=True)), *prometheus.table(panel["targets"][0])]
    starts = [0.01, 0.12, 0.28, 0.72, 0.82, 0.9]
    for i, row in enumerate(rows):
        for column, start in zip(columns, starts, strict=True):
            y = top - h * (0.24 + 0.72 * i / max(len(rows), 6))
            colour = FAINT if i == 0 else TEXT
            figure.text(left + start * w, y, row.get(column, ""), fontsize=7, color=colour, va="center")


_DRAWN = {
    "stat": _draw_stat,
    "state-timeline": _draw_timeline,
    "timeseries": _draw_series,
    "table": _draw_table,
}


def main() -> None:
    """Draw the last minutes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--scrape", type=float, default=5.0, help="Seconds between two scrapes.")
    parser.add_argument("--out", type=Path, default=Path("dashboard.png"))
    options = parser.parse_args()
    now = time.time()
    draw(Prometheus(options.prometheus, now - options.minutes * 60, now, options.scrape), options.out)


if __name__ == "__main__":
    main()
