"""The evaluation report as a self-contained HTML page, and its files."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

from models.atomic import replace_file
from service.evaluation import Score
from service.outputs import writing
from service.report import Figures, Report, headline, idle_sentence, interval_text, number, percent, undecided_text
from service.svg import Axis, Band, Figure, Line, heatmap, interval_bars

_STYLE = """
:root { --ink:#1d2430; --soft:#5b6677; --line:#d9dee7; --paper:#fff; --card:#f6f8fb; --accent:#2563a8; --chance:#c9a227; }
@media (prefers-color-scheme: dark) {
  :root { --ink:#e8ecf2; --soft:#9aa7b8; --line:#323c4a; --paper:#12171e; --card:#1a212b; --accent:#6aaef2; --chance:#d8b84a; }
}
body { margin:0 auto; max-width:60rem; padding:2rem 1.25rem 4rem; background:var(--paper); color:var(--ink);
  font:16px/1.55 system-ui, sans-serif; }
h1 { font-size:1.6rem; margin:0 0 .25rem; } h2 { font-size:1.15rem; margin:2.2rem 0 .6rem; }
p.lead { font-size:1.1rem; } .soft, footer { color:var(--soft); }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums; }
th, td { padding:.4rem .6rem; text-align:right; border-bottom:1px solid var(--line); } th:first-child, td:first-child { text-align:left; }
tr.all td { font-weight:600; } .wide { overflow-x:auto; }
dl { display:grid; grid-template-columns:repeat(auto-fit, minmax(9.5rem, 1fr)); gap:.75rem; margin:1rem 0; }
dl div { background:var(--card); border-radius:10px; padding:.7rem .9rem; } dt { color:var(--soft); font-size:.85rem; }
dd { margin:0; font-size:1.35rem; font-variant-numeric:tabular-nums; } dd small { display:block; font-size:.8rem; color:var(--soft); }
img { width:100%; background:#fff; border-radius:10px; margin:.5rem 0; }
svg { width:100%; height:auto; font:13px system-ui, sans-serif; } svg text { fill:var(--soft); }
.grid { stroke:var(--line); } .axis, .tick { stroke:var(--soft); } .rule { stroke:var(--soft); stroke-dasharray:4 4; }
.line { fill:none; stroke:var(--accent); stroke-width:2.5; } .diagonal { fill:none; stroke:var(--soft); stroke-dasharray:2 4; }
.band { fill:var(--accent); opacity:.16; } .chance { fill:var(--chance); opacity:.28; }
.whisker { stroke:var(--accent); stroke-width:3; } .point { fill:var(--accent); }
.cell { fill:var(--accent); } svg text.count { fill:var(--ink); } svg text.strong { fill:var(--paper); font-weight:600; }
footer { margin-top:3rem; font-size:.85rem; overflow-wrap:anywhere; }
"""


def _tiles(report: Figures) -> str:
    overall = report.overall
    tiles = [
        ("Accuracy", percent(overall.accuracy), interval_text(overall.accuracy_interval)),
        ("Right", f"{overall.n_correct} of {overall.n_trials}", f"p by guessing {overall.chance_p_value:.2g}"),
        ("Cohen's κ", number(overall.kappa), f"normalised MCC {number(overall.normalised_mcc)}"),
        ("Chance", percent(overall.chance), f"95 % within {interval_text(overall.chance_interval)}"),
        (
            "Transfer rate",
            f"{number(overall.itr_bits_per_minute, 1)} bits/min",
            f"{number(overall.itr_bits_per_decision)} bits per decision",
        ),
        ("Undecided", f"{overall.n_undecided} of {overall.n_cued}", "no valid prediction at that time"),
        ("Calibration error", percent(overall.calibration_error), "confidence against accuracy"),
    ]
    if report.beside is not None:
        other = report.beside.overall
        name = f"Accuracy, alignment {report.beside.alignment}"
        tiles.append((name, percent(other.accuracy), interval_text(other.accuracy_interval)))
    if report.idle is not None:
        rate = number(report.idle.false_activations_per_minute, 1)
        tiles.append(("False activations", f"{rate} per minute", f"at {report.idle.idle_class}"))
        reached = f"{report.idle.n_reached} of {report.idle.n_movements} trials"
        tiles.append(
            ("Time to a right activation", f"{number(report.idle.median_seconds, 1)} s", f"median of {reached}")
        )
    cells = [f"<div><dt>{escape(t)}</dt><dd>{escape(v)}<small>{escape(n)}</small></dd></div>" for t, v, n in tiles]
    return f"<dl>{''.join(cells)}</dl>"


def _accuracy_over_time(report: Figures) -> str:
    overall, curve = report.overall, report.overall.curve
    highest = max(curve.seconds)
    chance = [overall.chance_interval[0]] * 2, [overall.chance_interval[1]] * 2
    figure = Figure(
        title="Accuracy over time since the cue",
        x=Axis(0, highest, list(range(math.floor(highest) + 1)), "seconds since the cue"),
        y=Axis(0, 1, (0, 0.25, 0.5, 0.75, 1), "accuracy"),
        bands=(
            Band([0, highest], *chance, css="chance"),
            Band(curve.seconds, [low for low, _ in curve.interval], [high for _, high in curve.interval]),
        ),
        lines=(Line(curve.seconds, curve.accuracy, name="accuracy"),),
        rules=((report.at_s, f"decided at {report.at_s:g} s"),),
    )
    return figure.svg()


def _reliability(score: Score) -> str:
    figure = Figure(
        title="Reliability curve",
        x=Axis(0, 1, (0, 0.25, 0.5, 0.75, 1), "probability of the decided class"),
        y=Axis(0, 1, (0, 0.25, 0.5, 0.75, 1), "share that was right"),
        lines=(
            Line([0, 1], [0, 1], css="diagonal"),
            Line([b.confidence for b in score.reliability], [b.accuracy for b in score.reliability], points=True),
        ),
    )
    return figure.svg()


def _runs_table(report: Figures) -> str:
    heads = ("recording", "right", "accuracy", "95 % interval", "κ", "bits/min", "undecided", "valid predictions")
    rows = [
        (
            Path(run.file).name,
            f"{run.n_correct} of {run.n_trials}",
            percent(run.accuracy),
            interval_text(run.accuracy_interval),
            number(run.kappa),
            number(run.itr_bits_per_minute, 1),
            undecided_text(run),
            percent(run.n_valid / run.n_predictions if run.n_predictions else None),
        )
        for run in report.runs
    ]
    return table_html(heads, rows)


def _pictures(pictures: Sequence[Path]) -> str:
    """Pictures inside the page, so that it needs nothing beside itself."""
    if not pictures:
        return ""
    images = [
        f'<img alt="{escape(path.stem.replace("-", " "))}" src="data:image/png;base64,'
        f'{base64.b64encode(path.read_bytes()).decode()}">'
        for path in pictures
    ]
    return f"<h2>Inside the network</h2>{''.join(images)}"


def figures_html(figures: Figures) -> str:
    """Tiles, accuracy over time, recordings, confusion and calibration, as a part of a page."""
    bars: list[tuple[str, float | None, tuple[float, float], tuple[float, float]]] = [
        (Path(run.file).name, run.accuracy, run.accuracy_interval, run.chance_interval) for run in figures.runs
    ]
    overall = figures.overall
    bars.append(("all", overall.accuracy, overall.accuracy_interval, overall.chance_interval))
    return f"""{_tiles(figures)}
{f"<p>{escape(idle_sentence(figures.idle))}</p>" if figures.idle is not None else ""}
<h2>Accuracy over time since the cue</h2>
<p class="soft">The line with its 95 % interval is what the newest prediction said that long after the cue; before the
window's length has passed, the window still holds signal from before the cue. The yellow band is where 95 % of guessing falls.</p>
{_accuracy_over_time(figures)}
<h2>Recordings</h2>
{interval_bars(bars, overall.chance, "Accuracy of each recording")}
{_runs_table(figures)}
<h2>Confusion</h2>
{heatmap(overall.confusion, figures.classes, "Confusion matrix")}
<h2>Calibration</h2>
<p class="soft">On the dotted line, a probability means what it says.</p>
{_reliability(overall)}"""


def warning_html(warning: str | None) -> str:
    """What has to be read before anything else."""
    return f'<p class="lead"><strong>{escape(warning)}</strong></p>\n' if warning else ""


def notes_html(notes: Sequence[str]) -> str:
    """Sentences on trials and classes, as a list."""
    return f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>" if notes else ""


def table_html(heads: Sequence[str], rows: Sequence[Sequence[str]], *, strong: Sequence[int] = ()) -> str:
    """A table; rows whose index is in ``strong`` are set in bold."""
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    body = "".join(
        ('<tr class="all">' if index in strong else "<tr>")
        + "".join(f"<td>{escape(cell)}</td>" for cell in row)
        + "</tr>"
        for index, row in enumerate(rows)
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def page_html(title: str, body: str, definitions: Mapping[str, str], footer: str) -> str:
    """A page that needs nothing beside itself; body and footer are HTML, the rest is text."""
    items = "".join(f"<li><b>{escape(name)}</b>: {escape(text)}</li>" for name, text in definitions.items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{_STYLE}</style></head><body>
<h1>{escape(title)}</h1>
{body}
<h2>Definitions</h2>
<ul>{items}</ul>
<footer>{footer}</footer>
</body></html>
"""


def render_html(report: Report, pictures: Sequence[Path] = ()) -> str:
    """The report as one HTML page that needs nothing beside itself.

    Parameters
    ----------
    report : Report
    pictures : sequence of Path
        PNG files to put inside.

    Returns
    -------
    str
    """
    hashes = "<br>".join(f"{escape(run.file)} sha256 {run.sha256}" for run in report.runs)
    body = f"""<p class="soft">{report.created:%Y-%m-%d %H:%M} UTC · classes {escape(", ".join(report.classes))} · alignment
{escape(report.alignment)} · {escape(report.model.engine)} on {escape(report.model.device)}</p>
{warning_html(report.warning)}<p class="lead">{escape(headline(report))}</p>
{notes_html(report.notes)}
{figures_html(report)}
{_pictures(pictures)}"""
    footer = f"Mindwire {escape(report.mindwire)}, model sha256 {report.model.sha256}<br>{hashes}"
    title = f"{'TRAINING DATA: evaluation' if report.warning else 'Evaluation'} of {report.model.name}"
    return page_html(title, body, report.definitions, footer)


def write_report(report: Report, folder: Path, pictures: Sequence[Path] = ()) -> Sequence[Path]:
    """Write ``report.json`` and ``report.html`` into a folder, which is made when missing.

    Returns
    -------
    sequence of Path
        The two files.

    Raises
    ------
    RecordingError
        The folder cannot be written.
    """
    return write_files(folder, report.model_dump_json(indent=2) + "\n", lambda: render_html(report, pictures))


def write_files(folder: Path, data: str, page: Callable[[], str]) -> Sequence[Path]:
    """The same for any report: its JSON, and what renders its page.

    Raises
    ------
    RecordingError
        The folder cannot be written.
    """
    targets = (folder / "report.json", folder / "report.html")
    with writing(folder, "the report"):
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(targets[0], data)
        replace_file(targets[1], page())
    return targets
