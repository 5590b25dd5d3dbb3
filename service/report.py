"""The evaluation report: one JSON for programs, one self-contained HTML page and one table for people."""

from __future__ import annotations

import base64
import math
import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict
from rich.table import Table

from models.bundle import Bundle
from service import __version__
from service.errors import RecordingError
from service.evaluation import AlignmentMode, Curve, RunScore, Score
from service.evaluation_idle import IdleFigures
from service.evaluation_metrics import ITR_FORMULA
from service.inference.decoder import Decoder
from service.svg import Axis, Band, Figure, Line, heatmap, interval_bars

DEFINITIONS = {
    "decision": "the newest valid prediction whose time is at most the cue plus the seconds stated, at most one hop "
    "and a half old; probabilities of classes left out are dropped and the rest renormalised",
    "undecided": "trials whose newest prediction was withheld or flagged invalid at that time; neither right nor wrong",
    "accuracy": "right decisions divided by decided trials; interval after Wilson, 95 %",
    "chance": "guessing with equal probability among the classes; 95 % interval of the binomial distribution",
    "Cohen's κ": "(p_o − p_e) / (1 − p_e), agreement beyond what the margins of the confusion matrix give",
    "normalised MCC": "(R_K + 1) / 2 with R_K the multi-class Matthews correlation (Gorodkin 2004)",
    "information transfer rate": ITR_FORMULA,
    "activation": "a class other than idle that leads with the probability stated, in successive valid predictions, for the "
    "dwell stated; counted once as long as it leads. Idle trials count from their cue to the moment of decision; a "
    "window there still holds signal from before the cue",
    "calibration error": "mean distance between confidence and accuracy over ten bins, weighted by trials",
}


class EvaluatedModel(BaseModel):
    """Which bundle was evaluated, and what ran it."""

    model_config = ConfigDict(frozen=True)

    name: str
    sha256: str
    engine: str
    device: str


class Beside(BaseModel):
    """The same recordings with the alignment otherwise."""

    model_config = ConfigDict(frozen=True)

    alignment: AlignmentMode
    overall: Score
    runs: list[RunScore]


class Report(BaseModel):
    """Everything ``report.json`` says.

    ``classes`` orders the rows (true) and columns (predicted) of every confusion matrix.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    created: datetime
    mindwire: str
    model: EvaluatedModel
    classes: list[str]
    at_s: float
    alignment: AlignmentMode
    overall: Score
    runs: list[RunScore]
    idle: IdleFigures | None = None
    beside: Beside | None = None
    definitions: dict[str, str]


def describe_run(
    overall: Score,
    runs: Sequence[RunScore],
    *,
    bundle: Bundle,
    decoder: Decoder,
    classes: Sequence[str],
    at_s: float,
    alignment: AlignmentMode,
    idle: IdleFigures | None = None,
    beside: Beside | None = None,
) -> Report:
    """Put scores into a report with what was run and what the figures mean."""
    return Report(
        created=datetime.now(UTC),
        mindwire=__version__,
        model=EvaluatedModel(name=bundle.name, sha256=bundle.sha256, engine=decoder.engine, device=decoder.device),
        classes=list(classes),
        at_s=at_s,
        alignment=alignment,
        overall=overall,
        runs=list(runs),
        idle=idle,
        beside=beside,
        definitions=dict(DEFINITIONS),
    )


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _interval(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.0%} to {interval[1]:.0%}"


def _undecided(score: Score) -> str:
    if not score.n_undecided:
        return "0"
    reasons = ", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in sorted(score.undecided.items()))
    return f"{score.n_undecided} ({reasons})"


def headline(report: Report) -> str:
    """The result in one or two sentences, chance and undecided trials not left out."""
    overall = report.overall
    if overall.accuracy is None:
        return f"None of {overall.n_cued} trials had a valid prediction {report.at_s:g} s after its cue."
    better = overall.accuracy > overall.chance_interval[1]
    text = (
        f"{overall.n_correct} of {overall.n_trials} trials right ({overall.accuracy:.0%}, 95 % interval "
        f"{_interval(overall.accuracy_interval)}) {report.at_s:g} s after the cue; "
        f"{'better than' if better else 'not distinguishable from'} guessing among {len(report.classes)} classes "
        f"(chance {overall.chance:.0%}, 95 % of guessing falls within {_interval(overall.chance_interval)})."
    )
    if overall.n_undecided:
        text += f" {overall.n_undecided} of {overall.n_cued} trials were undecided and are not counted."
    if report.beside is not None:
        other = report.beside.overall
        text += (
            f" With alignment {report.beside.alignment}: {other.n_correct} of {other.n_trials} right "
            f"({_percent(other.accuracy)}, {_interval(other.accuracy_interval)})."
        )
    return text


def idle_sentence(idle: IdleFigures) -> str:
    """False activations and the time to a right one, in one or two sentences."""
    text = (
        f"Acting on {idle.probability:g} for {idle.dwell_s:g} s: {idle.false_activations} false activations in "
        f"{idle.idle_minutes:.1f} min of {idle.idle_class} ({_number(idle.false_activations_per_minute, 1)} per minute); "
        f"{idle.n_reached} of {idle.n_movements} other trials acted on rightly"
    )
    if idle.median_seconds is not None:
        text += f", half of them within {idle.median_seconds:.1f} s of the cue"
    return f"{text}; in {idle.n_wrong} a wrong class came first."


def table(report: Report) -> Table:
    """The report as a table for the terminal."""
    made = Table(title=f"{report.model.name}: {', '.join(report.classes)} at {report.at_s:g} s after the cue")
    made.add_column("recording", overflow="fold", min_width=24)
    beside = report.beside
    for name in ("right", "accuracy", "95 %", "κ", "bits/min", "undecided"):
        made.add_column(name, justify="right")
    others: list[Score] = []
    if beside is not None:
        made.add_column(f"alignment {beside.alignment}", justify="right")
        others = [*beside.runs, beside.overall]
    rows: list[tuple[str, Score]] = [(Path(run.file).name, run) for run in report.runs]
    for index, (name, score) in enumerate([*rows, ("all", report.overall)]):
        made.add_row(
            name,
            f"{score.n_correct}/{score.n_trials}",
            _percent(score.accuracy),
            f"{100 * score.accuracy_interval[0]:.0f}–{100 * score.accuracy_interval[1]:.0f}",
            _number(score.kappa),
            _number(score.itr_bits_per_minute, 1),
            _undecided(score),
            *(f"{other.n_correct}/{other.n_trials} {_percent(other.accuracy)}" for other in others[index : index + 1]),
            style="bold" if score is report.overall else None,
        )
    return made


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


def _tiles(report: Report) -> str:
    overall = report.overall
    tiles = [
        ("Accuracy", _percent(overall.accuracy), _interval(overall.accuracy_interval)),
        ("Right", f"{overall.n_correct} of {overall.n_trials}", f"p by guessing {overall.chance_p_value:.2g}"),
        ("Cohen's κ", _number(overall.kappa), f"normalised MCC {_number(overall.normalised_mcc)}"),
        ("Chance", _percent(overall.chance), f"95 % within {_interval(overall.chance_interval)}"),
        (
            "Transfer rate",
            f"{_number(overall.itr_bits_per_minute, 1)} bits/min",
            f"{_number(overall.itr_bits_per_decision)} bits per decision",
        ),
        ("Undecided", f"{overall.n_undecided} of {overall.n_cued}", "no valid prediction at that time"),
        ("Calibration error", _percent(overall.calibration_error), "confidence against accuracy"),
    ]
    if report.beside is not None:
        other = report.beside.overall
        name = f"Accuracy, alignment {report.beside.alignment}"
        tiles.append((name, _percent(other.accuracy), _interval(other.accuracy_interval)))
    if report.idle is not None:
        rate = _number(report.idle.false_activations_per_minute, 1)
        tiles.append(("False activations", f"{rate} per minute", f"at {report.idle.idle_class}"))
        reached = f"{report.idle.n_reached} of {report.idle.n_movements} trials"
        tiles.append(
            ("Time to a right activation", f"{_number(report.idle.median_seconds, 1)} s", f"median of {reached}")
        )
    cells = [f"<div><dt>{escape(t)}</dt><dd>{escape(v)}<small>{escape(n)}</small></dd></div>" for t, v, n in tiles]
    return f"<dl>{''.join(cells)}</dl>"


def _curve(curve: Curve, report: Report) -> str:
    highest = max(curve.seconds)
    overall = report.overall
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


def _runs_table(report: Report) -> str:
    heads = ("recording", "right", "accuracy", "95 % interval", "κ", "bits/min", "undecided", "valid predictions")
    rows = [
        (
            Path(run.file).name,
            f"{run.n_correct} of {run.n_trials}",
            _percent(run.accuracy),
            _interval(run.accuracy_interval),
            _number(run.kappa),
            _number(run.itr_bits_per_minute, 1),
            _undecided(run),
            _percent(run.n_valid / run.n_predictions if run.n_predictions else None),
        )
        for run in report.runs
    ]
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


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
    bars: list[tuple[str, float | None, tuple[float, float], tuple[float, float]]] = [
        (Path(run.file).name, run.accuracy, run.accuracy_interval, run.chance_interval) for run in report.runs
    ]
    overall = report.overall
    bars.append(("all", overall.accuracy, overall.accuracy_interval, overall.chance_interval))
    definitions = "".join(
        f"<li><b>{escape(name)}</b>: {escape(text)}</li>" for name, text in report.definitions.items()
    )
    hashes = "<br>".join(f"{escape(run.file)} sha256 {run.sha256}" for run in report.runs)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evaluation of {escape(report.model.name)}</title><style>{_STYLE}</style></head><body>
<h1>Evaluation of {escape(report.model.name)}</h1>
<p class="soft">{report.created:%Y-%m-%d %H:%M} UTC · classes {escape(", ".join(report.classes))} · alignment
{escape(report.alignment)} · {escape(report.model.engine)} on {escape(report.model.device)}</p>
<p class="lead">{escape(headline(report))}</p>
{_tiles(report)}
{f"<p>{escape(idle_sentence(report.idle))}</p>" if report.idle is not None else ""}
<h2>Accuracy over time since the cue</h2>
<p class="soft">The line with its 95 % interval is what the newest prediction said that long after the cue; before the
window's length has passed, the window still holds signal from before the cue. The yellow band is where 95 % of guessing falls.</p>
{_curve(overall.curve, report)}
<h2>Recordings</h2>
{interval_bars(bars, overall.chance, "Accuracy of each recording")}
{_runs_table(report)}
<h2>Confusion</h2>
{heatmap(overall.confusion, report.classes, "Confusion matrix")}
<h2>Calibration</h2>
<p class="soft">On the dotted line, a probability means what it says.</p>
{_reliability(overall)}
{_pictures(pictures)}
<h2>Definitions</h2>
<ul>{definitions}</ul>
<footer>Mindwire {escape(report.mindwire)}, model sha256 {report.model.sha256}<br>{hashes}</footer>
</body></html>
"""


def _write(path: Path, text: str) -> None:
    # Beside the target and renamed, so that a reader never sees half a report.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)


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
    targets = (folder / "report.json", folder / "report.html")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(targets[0], report.model_dump_json(indent=2) + "\n")
        _write(targets[1], render_html(report, pictures))
    except OSError as error:
        msg = f"{folder}: the report cannot be written ({error.strerror}); choose another folder with --out."
        raise RecordingError(msg) from error
    return targets
