"""Reports as self-contained HTML pages, rendered from the templates of this package, and their files."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mindwire.evaluation import control_report
from mindwire.evaluation.report import (
    Figures,
    Report,
    headline,
    idle_sentence,
    interval_text,
    participants_table,
    score_table,
)
from mindwire.evaluation.scores import Score
from mindwire.evaluation.svg import SERIES, Axis, Band, Figure, Line, heatmap, interval_bars
from mindwire.evaluation.tables import number, percent
from mindwire.outputs import writing
from mindwire_models.atomic import replace_file

if TYPE_CHECKING:
    from jinja2 import Environment

_QUARTERS = (0, 0.25, 0.5, 0.75, 1)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mindwire.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = in_words
    return environment


def render(template: str, **values: Any) -> str:
    """Render a template of this package; values are escaped unless they are ``markupsafe.Markup``."""
    return _environment().get_template(template).render(**{"definitions": {}, **values})


def in_words(text: str, classes: Sequence[str]) -> str:
    """Return a text with underscores in the names of classes replaced by blanks: ``left_hand`` is left hand."""
    for name in sorted(classes, key=len, reverse=True):
        text = text.replace(name, name.replace("_", " "))
    return text


def tiles(report: Figures) -> list[tuple[str, str, str]]:
    """Return the main figures for the top of a page: name, value and explanation of each."""
    overall = report.overall
    bits = number(overall.itr_bits_per_decision)
    cells = [
        ("Accuracy", percent(overall.accuracy), interval_text(overall.accuracy_interval)),
        ("Right", f"{overall.n_correct} of {overall.n_trials}", f"p by guessing {overall.chance_p_value:.2g}"),
        ("Cohen's κ", number(overall.kappa), f"normalised MCC {number(overall.normalised_mcc)}"),
        ("Chance", percent(overall.chance), f"95 % within {interval_text(overall.chance_interval)}"),
        ("Transfer rate", number(overall.itr_bits_per_minute, 1), f"bits per minute; {bits} bits per decision"),
        ("Undecided", f"{overall.n_undecided} of {overall.n_cued}", "no valid prediction at that time"),
        ("Calibration error", percent(overall.calibration_error), "confidence against accuracy"),
    ]
    if report.comparison is not None:
        other = report.comparison.overall
        name = f"Accuracy, alignment {report.comparison.alignment}"
        cells.append((name, percent(other.accuracy), interval_text(other.accuracy_interval)))
    if report.control is not None:
        cells += control_report.tiles(report.control)
    elif report.idle is not None:
        idle = report.idle
        rate = number(idle.false_activations_per_minute, 1)
        cells.append(("False activations", rate, f"per minute of {in_words(idle.idle_class, report.classes)}"))
        reached = f"median of {idle.n_reached} of {idle.n_movements} trials"
        cells.append(("Time to a right activation", f"{number(idle.median_seconds, 1)} s", reached))
    return cells


def plots(series: Sequence[Figures], names: Sequence[str]) -> dict[str, Any]:
    """Draw accuracy over time and per recording, confusion and calibration for the macro ``figures``.

    One or two decoders over the same recordings are drawn into shared plots where possible.
    """
    return {
        "names": names,
        "over_time": _accuracy_over_time(series),
        "recordings": _accuracy_of_recordings(series),
        "confusion": [
            heatmap(
                one.overall.confusion,
                [in_words(label, one.classes) for label in one.classes],
                f"Confusion matrix, {name}",
                half=len(series) > 1,
            )
            for one, name in zip(series, names, strict=True)
        ],
        "calibration": _reliability(series),
    }


def _accuracy_over_time(series: Sequence[Figures]) -> str:
    first = series[0]
    highest = max(max(one.overall.curve.seconds) for one in series)
    low, high = first.overall.chance_interval
    curves = [(one.overall.curve, css) for one, css in zip(series, SERIES, strict=False)]
    intervals = [
        Band(curve.seconds, [a for a, _ in curve.interval], [b for _, b in curve.interval], f"band {css}")
        for curve, css in curves
    ]
    return Figure(
        title="Accuracy over time since the cue",
        x=Axis(0, highest, range(math.floor(highest) + 1), "seconds since the cue"),
        y=Axis(0, 1, _QUARTERS, "accuracy"),
        bands=(Band([0, highest], [low] * 2, [high] * 2, css="chance"), *intervals),
        lines=[Line(curve.seconds, curve.accuracy, css=f"line {css}") for curve, css in curves],
        rules=((first.at_s, f"decided at {first.at_s:g} s"),),
    ).svg()


def _reliability(series: Sequence[Figures]) -> str:
    curves = [(one.overall.reliability, css) for one, css in zip(series, SERIES, strict=False)]
    lines = [
        Line([b.confidence for b in bins], [b.accuracy for b in bins], css=f"line {css}", points=True)
        for bins, css in curves
    ]
    return Figure(
        title="Reliability curve",
        x=Axis(0, 1, _QUARTERS, "probability of the decided class"),
        y=Axis(0, 1, _QUARTERS, "share that was right"),
        lines=(Line([0, 1], [0, 1], css="diagonal"), *lines),
    ).svg()


def _accuracy_of_recordings(series: Sequence[Figures]) -> str:
    """Draw a row per recording and one for all, with a bar per decoder."""
    first = series[0]
    rows: list[tuple[str, Sequence[Score]]] = [
        *((Path(run.file).name, [one.runs[i] for one in series]) for i, run in enumerate(first.runs)),
        ("all", [one.overall for one in series]),
    ]
    return interval_bars(rows, first.overall.chance, "Accuracy of each recording")


def render_html(report: Report, pictures: Sequence[Path] = ()) -> str:
    """Render the report as one HTML page that loads nothing, with PNG files embedded."""
    control = None if report.control is None else control_section(report.control)
    return render(
        "evaluation.html",
        title=f"{'TRAINING DATA: evaluation' if report.warning else 'Evaluation'} of {report.model.name}",
        report=report,
        headline=in_words(headline(report), report.classes),
        idle=None if report.idle is None or control else in_words(idle_sentence(report.idle), report.classes),
        control=control,
        cells=tiles(report),
        plots=plots([report], [report.model.name]),
        scores=score_table("", [("", report)], detailed=True),
        participants=participants_table(report.participants),
        pictures=[(path.stem.replace("-", " "), base64.b64encode(path.read_bytes()).decode()) for path in pictures],
        definitions=report.definitions | (control_report.DEFINITIONS if control else {}),
    )


def control_section(report: control_report.ControlReport) -> dict[str, Any]:
    """Return the sentences, the frontier and the table of control for the macro ``control``."""
    return {
        "sentences": control_report.sentences(report),
        "picture": control_report.picture(report),
        "tuned": bool(report.frontier),
        "table": control_report.report_table(report, detailed=True),
        "sha256": report.sha256,
        "trial_s": report.trial_s,
    }


def write_report(report: Report, folder: Path, pictures: Sequence[Path] = ()) -> Sequence[Path]:
    """Write ``report.json`` and ``report.html`` into a folder; see :func:`write_files`."""
    return write_files(folder, report.model_dump_json(indent=2, by_alias=True) + "\n", render_html(report, pictures))


def write_files(folder: Path, data: str, page: str) -> Sequence[Path]:
    """Write a report's JSON and its page to ``report.json`` and ``report.html`` in a folder, which is created if missing.

    A RecordingError says that the folder cannot be written.
    """
    targets = (folder / "report.json", folder / "report.html")
    with writing(folder, "the report"):
        folder.mkdir(parents=True, exist_ok=True)
        for target, text in zip(targets, (data, page), strict=True):
            replace_file(target, text)
    return targets
