"""The evaluation report as a self-contained HTML page, and its files."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

from mindwire.evaluation.report import (
    Figures,
    Report,
    headline,
    idle_sentence,
    interval_text,
    number,
    percent,
    undecided_text,
)
from mindwire.evaluation.scores import Score
from mindwire.evaluation.svg import SERIES, Axis, Band, Bar, Figure, Line, heatmap, interval_bars, legend
from mindwire.outputs import writing
from mindwire_models.atomic import replace_file

# Cells of more characters may be broken into lines.
_LONG_CELL = 24
_STYLE = """
:root { --ink:#1d2430; --soft:#566172; --line:#d9dee7; --paper:#fff; --card:#f6f8fb; --accent:#2563a8; --second:#b4500a;
  --chance:#c9a227; }
@media (prefers-color-scheme: dark) {
  :root { --ink:#e8ecf2; --soft:#9aa7b8; --line:#323c4a; --paper:#12171e; --card:#1a212b; --accent:#6aaef2; --second:#f2a154;
    --chance:#d8b84a; }
  img { filter:invert(1) hue-rotate(180deg); mix-blend-mode:screen; }
}
* { box-sizing:border-box; }
body { margin:0 auto; max-width:76rem; padding:2rem clamp(.9rem, 3vw, 2rem) 4rem; background:var(--paper); color:var(--ink);
  font:16px/1.55 system-ui, sans-serif; }
h1 { font-size:1.6rem; margin:0 0 .25rem; line-height:1.25; } h2 { font-size:1.15rem; margin:2.2rem 0 .6rem; }
h3 { font-size:1rem; margin:0 0 .3rem; } p { margin:.5rem 0; max-width:80ch; }
p.lead { font-size:1.1rem; } .soft, footer { color:var(--soft); }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums; }
th, td { padding:.4rem .6rem; text-align:right; border-bottom:1px solid var(--line); white-space:nowrap; }
td.long { white-space:normal; min-width:10rem; } th { white-space:normal; vertical-align:bottom; } th:first-child, td:first-child { text-align:left; }
tr.all td { font-weight:600; } .wide { overflow-x:auto; }
dl { display:flex; flex-wrap:wrap; gap:.75rem; margin:1rem 0; }
dl div { flex:1 1 9.6rem; background:var(--card); border-radius:10px; padding:.7rem .9rem; }
dt { color:var(--soft); font-size:.85rem; }
dd { margin:0; font-size:1.35rem; font-variant-numeric:tabular-nums; white-space:nowrap; }
dd small { display:block; font-size:.8rem; color:var(--soft); white-space:normal; }
.figures { display:grid; grid-template-columns:repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap:1.75rem 2.5rem; margin:2rem 0; }
.pair { display:grid; grid-template-columns:repeat(auto-fit, minmax(min(100%, 13rem), 1fr)); gap:1rem; }
.figures section { min-width:0; } .figures p { font-size:.9rem; margin:.2rem 0 .4rem; }
img { display:block; max-width:100%; margin:.75rem 0; }
svg { display:block; width:100%; height:auto; font:13px system-ui, sans-serif; } svg text { fill:var(--soft); }
.legend { display:flex; flex-wrap:wrap; gap:.2rem 1.2rem; } .legend span { display:flex; align-items:center; gap:.4rem; }
svg.swatch { width:1.9rem; flex:none; }
.grid { stroke:var(--line); } .axis, .tick { stroke:var(--soft); } .rule { stroke:var(--soft); stroke-dasharray:4 4; }
.line { fill:none; stroke:var(--accent); stroke-width:2.5; } .diagonal { fill:none; stroke:var(--soft); stroke-dasharray:2 4; }
.line.second { stroke:var(--second); stroke-dasharray:7 4; }
.band { fill:var(--accent); opacity:.16; } .band.second { fill:var(--second); } .chance { fill:var(--chance); opacity:.28; }
.whisker { stroke:var(--accent); stroke-width:3; } .whisker.second { stroke:var(--second); }
.point, .point.line { fill:var(--accent); stroke:none; } .point.second { fill:var(--second); }
.cell { fill:var(--accent); } svg text.count { fill:var(--ink); } svg text.strong { fill:var(--paper); font-weight:600; }
footer { margin-top:3rem; font-size:.85rem; overflow-wrap:anywhere; }
"""


def in_words(text: str, classes: Sequence[str]) -> str:
    """A text with the names of classes as people read them: ``left_hand`` is left hand."""
    for name in sorted(classes, key=len, reverse=True):
        text = text.replace(name, name.replace("_", " "))
    return text


def tiles_html(report: Figures) -> str:
    """The most important figures, large."""
    overall = report.overall
    tiles = [
        ("Accuracy", percent(overall.accuracy), interval_text(overall.accuracy_interval)),
        ("Right", f"{overall.n_correct} of {overall.n_trials}", f"p by guessing {overall.chance_p_value:.2g}"),
        ("Cohen's κ", number(overall.kappa), f"normalised MCC {number(overall.normalised_mcc)}"),
        ("Chance", percent(overall.chance), f"95 % within {interval_text(overall.chance_interval)}"),
        (
            "Transfer rate",
            number(overall.itr_bits_per_minute, 1),
            f"bits per minute; {number(overall.itr_bits_per_decision)} bits per decision",
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
        tiles.append(("False activations", rate, f"per minute of {in_words(report.idle.idle_class, report.classes)}"))
        reached = f"{report.idle.n_reached} of {report.idle.n_movements} trials"
        tiles.append(
            ("Time to a right activation", f"{number(report.idle.median_seconds, 1)} s", f"median of {reached}")
        )
    cells = [f"<div><dt>{escape(t)}</dt><dd>{escape(v)}<small>{escape(n)}</small></dd></div>" for t, v, n in tiles]
    return f"<dl>{''.join(cells)}</dl>"


def _accuracy_over_time(series: Sequence[Figures]) -> str:
    first = series[0]
    overall, highest = first.overall, max(max(one.overall.curve.seconds) for one in series)
    chance = [overall.chance_interval[0]] * 2, [overall.chance_interval[1]] * 2
    curves = [(one.overall.curve, css) for one, css in zip(series, SERIES, strict=False)]
    figure = Figure(
        title="Accuracy over time since the cue",
        x=Axis(0, highest, list(range(math.floor(highest) + 1)), "seconds since the cue"),
        y=Axis(0, 1, (0, 0.25, 0.5, 0.75, 1), "accuracy"),
        bands=(
            Band([0, highest], *chance, css="chance"),
            *(
                Band(
                    curve.seconds,
                    [low for low, _ in curve.interval],
                    [high for _, high in curve.interval],
                    f"band {css}",
                )
                for curve, css in curves
            ),
        ),
        lines=[Line(curve.seconds, curve.accuracy, css=f"line {css}") for curve, css in curves],
        rules=((first.at_s, f"decided at {first.at_s:g} s"),),
    )
    return figure.svg()


def _reliability(series: Sequence[Figures]) -> str:
    figure = Figure(
        title="Reliability curve",
        x=Axis(0, 1, (0, 0.25, 0.5, 0.75, 1), "probability of the decided class"),
        y=Axis(0, 1, (0, 0.25, 0.5, 0.75, 1), "share that was right"),
        lines=(
            Line([0, 1], [0, 1], css="diagonal"),
            *(
                Line(
                    [b.confidence for b in one.overall.reliability],
                    [b.accuracy for b in one.overall.reliability],
                    css=f"line {css}",
                    points=True,
                )
                for one, css in zip(series, SERIES, strict=False)
            ),
        ),
    )
    return figure.svg()


def _bars(series: Sequence[Figures]) -> str:
    """A row per recording and one for all, and in it a bar per decoder."""
    first = series[0]
    rows = [(Path(run.file).name, [one.runs[i] for one in series]) for i, run in enumerate(first.runs)]
    every: list[tuple[str, Sequence[Score]]] = [*rows, ("all", [one.overall for one in series])]
    return interval_bars(
        [
            (name, [Bar(score.accuracy, score.accuracy_interval) for score in scores], scores[0].chance_interval)
            for name, scores in every
        ],
        first.overall.chance,
        "Accuracy of each recording",
    )


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


def figures_html(series: Sequence[Figures], names: Sequence[str]) -> str:
    """Accuracy over time and of each recording, confusion and calibration, as a part of a page.

    Parameters
    ----------
    series : sequence of Figures
        One or two decoders over the same recordings; what can be is drawn into one picture.
    names : sequence of str
        Theirs.
    """
    key = legend(names)
    several = len(series) > 1
    confusions = []
    for one, name in zip(series, names, strict=True):
        labels = [in_words(label, one.classes) for label in one.classes]
        matrix = heatmap(one.overall.confusion, labels, f"Confusion matrix, {name}", half=several)
        confusions.append(f"<div>{f'<h3>{escape(name)}</h3>' if several else ''}{matrix}</div>")
    return f"""<div class="figures">
<section><h2>Accuracy over time since the cue</h2>
<p class="soft">What the newest prediction said that long after the cue, with its 95 % interval; before the
window's length has passed, the window still holds signal from before the cue. 95 % of guessing falls into the yellow band.</p>
{key}{_accuracy_over_time(series)}</section>
<section><h2>Recordings</h2>
<p class="soft">Accuracy with its 95 % interval, over the band into which 95 % of guessing falls.</p>
{key}{_bars(series)}</section>
<section><h2>Confusion</h2>
<div class="pair">{"".join(confusions)}</div></section>
<section><h2>Calibration</h2>
<p class="soft">On the dotted line, a probability means what it says.</p>
{key}{_reliability(series)}</section>
</div>"""


def warning_html(warning: str | None) -> str:
    """What has to be read before anything else."""
    return f'<p class="lead"><strong>{escape(warning)}</strong></p>\n' if warning else ""


def notes_html(notes: Sequence[str]) -> str:
    """Sentences on trials and classes, as a list."""
    return f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>" if notes else ""


def table_html(heads: Sequence[str], rows: Sequence[Sequence[str]], *, strong: Sequence[int] = ()) -> str:
    """A table; rows whose index is in ``strong`` are set in bold."""
    long = ' class="long"'
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    body = "".join(
        ('<tr class="all">' if index in strong else "<tr>")
        + "".join(f"<td{long if len(cell) > _LONG_CELL else ''}>{escape(cell)}</td>" for cell in row)
        + "</tr>"
        for index, row in enumerate(rows)
    )
    return f'<div class="wide" role="region" aria-label="Table" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def page_html(title: str, body: str, definitions: Mapping[str, str], footer: str) -> str:
    """A page that needs nothing beside itself; body and footer are HTML, the rest is text."""
    items = "".join(f"<li><b>{escape(name)}</b>: {escape(text)}</li>" for name, text in definitions.items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{_STYLE}</style></head><body>
<main>
<h1>{escape(title)}</h1>
{body}
<h2>Definitions</h2>
<ul>{items}</ul>
</main>
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
    hashes = "<br>".join(f"{escape(Path(run.file).name)} sha256 {run.sha256}" for run in report.runs)
    body = f"""<p class="soft">{report.created:%Y-%m-%d %H:%M} UTC · classes {escape(in_words(", ".join(report.classes), report.classes))} · alignment
{escape(report.alignment)} · {escape(report.model.engine)} on {escape(report.model.device)}</p>
{warning_html(report.warning)}<p class="lead">{escape(in_words(headline(report), report.classes))}</p>
{notes_html([in_words(note, report.classes) for note in report.notes])}
{tiles_html(report)}
{f"<p>{escape(in_words(idle_sentence(report.idle), report.classes))}</p>" if report.idle is not None else ""}
{figures_html([report], [report.model.name])}
<h2>Each recording</h2>
{_runs_table(report)}
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
