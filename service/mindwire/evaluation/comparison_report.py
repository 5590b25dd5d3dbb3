"""The report of ``mindwire compare``: ``report.json``, ``decisions.csv``, a page, and tables and sentences for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from mindwire import __version__
from mindwire.evaluation import control_report
from mindwire.evaluation.comparison import TOGETHER_S, ComparedRates, DecisionComparison, DecisionPair, PairedTrials
from mindwire.evaluation.control_report import ControlScore, control_sentence, control_table, rest_note
from mindwire.evaluation.frontier import frontier_picture
from mindwire.evaluation.page import in_words, render, write_files
from mindwire.evaluation.tables import TextTable, number
from mindwire.outputs import writing
from mindwire_models.atomic import replace_file
from mindwire_models.text import counted, printable

if TYPE_CHECKING:
    from rich.console import RenderableType

FILES = ("report.json", "report.html", "decisions.csv")
CSV_COLUMNS = ("time", "recording", "trial", "since_cue_s", "a", "b", "time_a", "time_b")
_SHOWN = 20
CLOSED_LOOP = (
    "The recordings hold what the person did then: in closed loop they would have reacted to each decision, so beyond the first "
    "one that differs this is what would have been decided of the same signal, not what would have happened."
)
DEFINITIONS = {
    "decided otherwise": f"decisions of A and B up to {TOGETHER_S:g} s apart in the same trial or rest are one pair; a pair of different classes, "
    "or a decision of one alone, is otherwise",
    "paired test": "exact test of McNemar on the trials in which A and B differ: binomial with a probability of one half",
    "test of rates": "exact conditional test of two Poisson rates: given their sum, the false activations of A are binomial with A's share of "
    "the minutes. Both are counted on the same rest, so where both err together it finds less than there is",
    "p": "probability of a difference at least as large if A and B were equal; three tests are shown, and none is corrected for the others",
    "agreement": "share of the predictions valid for both whose most probable class is the same, of the classes that both have",
}


class ComparedSide(BaseModel, frozen=True):
    """A model with its policy, and its figures; ``raw`` is True where that is the raw argmax, for there is no other."""

    name: str
    sha256: str
    policy_sha256: str
    raw: bool
    score: ControlScore


class ComparisonReport(BaseModel, frozen=True):
    """Content of ``report.json``."""

    version: Literal[1] = 1
    created: datetime = Field(default_factory=lambda: datetime.now(UTC))
    mindwire: str = __version__
    warning: str | None = None
    trial_s: float
    a: ComparedSide
    b: ComparedSide
    comparison: DecisionComparison
    notes: list[str]


def side_name(letter: str, side: ComparedSide) -> str:
    """Return a side as it is shown."""
    return f"{letter}: {printable(side.name)}, {'raw argmax' if side.raw else f'policy {side.policy_sha256[:8]}'}"


def _figures(report: ComparisonReport, *, detailed: bool = False) -> TextTable:
    title = f"Control in the {report.trial_s:.4g} s after each cue"
    return control_table([("A", report.a.score), ("B", report.b.score)], title, detailed=detailed)


def _paired(what: str, paired: PairedTrials) -> str:
    n = paired.both + paired.only_a + paired.only_b + paired.neither
    return f"{what} in {paired.only_a} of {n} trials with A alone and in {paired.only_b} with B alone (exact paired test p = {paired.p_value:.2g})"


def _rates(rates: ComparedRates) -> str:
    low, high = rates.ratio
    return (
        f"{rates.n_a} false activations in {rates.minutes_a:.1f} minutes of rest with A, {rates.n_b} in {rates.minutes_b:.1f} with B (exact "
        f"conditional test p = {rates.p_value:.2g}; A's rate is {low:.2g} to {'any number of' if high is None else f'{high:.2g}'} times B's, 95 % interval)"
    )


def sentences(report: ComparisonReport) -> list[str]:
    """Return the differences, the figures of each side and the notes, a sentence each."""
    found = report.comparison
    otherwise = sum(not pair.equal for pair in found.decisions)
    says = [
        f"{side_name('A', report.a)}; {side_name('B', report.b)}.",
        f"{otherwise} of {counted(len(found.decisions), 'decision')} differ; those of both within {TOGETHER_S:g} s are one.",
    ]
    says.append(
        f"A right activation {_paired('', found.right).strip()}; a wrong one first {_paired('', found.wrong_first).strip()}."
    )
    if found.false_activations is not None:
        says.append(f"{_rates(found.false_activations)}.")
    if (same := found.agreement) is not None and same.n_predictions:
        share = same.n_equal / same.n_predictions
        says.append(
            f"The predictions agree on {share:.0%} of {same.n_predictions} that are valid for both (κ {number(same.kappa)})."
        )
    for letter, side in (("A", report.a), ("B", report.b)):
        says += [f"{letter}: {control_sentence(side.score.overall)}", f"{letter}: {rest_note(side.score.overall)}"]
    return [*says, *report.notes, CLOSED_LOOP]


def differences(decisions: Sequence[DecisionPair], most: int | None = None) -> TextTable:
    """Return the decisions that differ as a table, all or the first."""
    rows = [
        [printable(d.recording), f"{d.time:.2f}", d.trial or "–", number(d.since_cue_s, 1), d.a or "–", d.b or "–"]
        for d in decisions
        if not d.equal
    ]
    title = (
        "Decided otherwise"
        if most is None or len(rows) <= most
        else f"Decided otherwise, the first {most} of {len(rows)}"
    )
    return TextTable(["recording", "time s", "trial", "since\ncue s", "A", "B"], rows[:most], title=title)


def terminal_parts(report: ComparisonReport) -> list[RenderableType]:
    """Return what the terminal shows of a report."""
    from rich.text import Text

    parts: list[RenderableType] = [_figures(report).terminal(), Text(control_report.LEGEND, "dim")]
    if any(not pair.equal for pair in report.comparison.decisions):
        parts.append(differences(report.comparison.decisions, _SHOWN).terminal())
    return [*parts, *sentences(report)]


def decisions_csv(decisions: Sequence[DecisionPair]) -> str:
    """Return all decisions as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for pair in decisions:
        values = [getattr(pair, name) for name in CSV_COLUMNS]
        writer.writerow([repr(value) if isinstance(value, float) else value or "" for value in values])
    return text.getvalue()


def render_html(report: ComparisonReport) -> str:
    """Render the report as one HTML page that loads nothing."""
    a, b = (control_report.choice_of(side.score.overall) for side in (report.a, report.b))
    drawn = a.minutes and b.minutes and a.trials
    classes = report.comparison.classes
    return render(
        "comparison.html",
        title="Comparison of decisions",
        report=report,
        sentences=[in_words(text, classes) for text in sentences(report)],
        picture=frontier_picture([], a, b, names=("A", "B")) if drawn else None,
        scores=_figures(report, detailed=True),
        differences=differences(report.comparison.decisions),
        definitions=DEFINITIONS | control_report.DEFINITIONS,
    )


def write_comparison(report: ComparisonReport, folder: Path) -> Sequence[Path]:
    """Write ``report.json``, ``report.html`` and ``decisions.csv`` into a folder."""
    written = write_files(folder, report.model_dump_json(indent=2) + "\n", render_html(report))
    table = folder / FILES[2]
    with writing(folder, "the report"):
        replace_file(table, decisions_csv(report.comparison.decisions))
    return [*written, table]
