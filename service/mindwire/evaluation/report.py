"""The evaluation report: what ``report.json`` holds, and the sentences and the table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, Field
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mindwire import __version__
from mindwire.evaluation import control_report
from mindwire.evaluation.idle import ActivationRule, IdleFigures, idle_figures
from mindwire.evaluation.metrics import ITR_FORMULA
from mindwire.evaluation.scores import AlignmentMode, EvaluatedRun, RunScore, Score, score_runs
from mindwire.evaluation.tables import TextTable, number, percent
from mindwire_models.contract import Contract
from mindwire_models.text import printable

DEFINITIONS = {
    "decision": "the newest valid prediction whose time is at most the cue plus the seconds stated, at most one hop "
    "and a half old; probabilities of classes left out are dropped and the rest renormalised",
    "undecided": "trials whose newest prediction was withheld or flagged invalid at that time; neither right nor wrong",
    "accuracy": "right decisions divided by decided trials; interval after Wilson, 95 %",
    "chance": "the share of the most frequent class among the decided trials, which always answering that class decides "
    "rightly; 95 % interval of the binomial distribution. Fewer than two classes allow no verdict",
    "Cohen's κ": "(p_o − p_e) / (1 − p_e), agreement beyond what the margins of the confusion matrix give",
    "normalised MCC": "(R_K + 1) / 2 with R_K the multi-class Matthews correlation (Gorodkin 2004)",
    "information transfer rate": ITR_FORMULA,
    "activation": "a class other than idle that leads with the probability stated, in successive valid predictions, for the "
    "dwell stated; counted once as long as it leads. Idle trials with a valid prediction count from their cue to the moment of decision; a "
    "window there still holds signal from before the cue",
    "false activations": "activations in trials of the idle class, when the person asks for nothing",
    "valid": "a prediction made of a whole window of continuous, clean signal, its filters settled and its alignment learnt; "
    "otherwise it carries its reasons (gap, flat, saturated, settling …) and decides nothing",
    "calibration error": "expected calibration error (ECE): mean distance between confidence and accuracy over ten bins, "
    "weighted by trials; 0 % where a probability of 80 % is right in 80 % of the trials",
}


class EvaluatedModel(BaseModel, frozen=True):
    """Bundle that was evaluated, and the engine that ran it."""

    name: str
    sha256: str
    engine: str
    device: str


class ParticipantScore(BaseModel, frozen=True):
    """Trials of one participant's recordings in one session; accuracy over the decided ones."""

    participant: str
    session: str
    n_recordings: int
    n_trials: int
    n_correct: int
    accuracy: float | None


def participant_scores(runs: Sequence[RunScore], participants: Mapping[str, tuple[str, str]]) -> list[ParticipantScore]:
    """Return the scores of each participant and session, which are given by the hashes of the recordings."""
    scores = []
    for participant, session in sorted(set(participants.values())):
        own = [run for run in runs if participants.get(run.sha256) == (participant, session)]
        n_trials, n_correct = sum(run.n_trials for run in own), sum(run.n_correct for run in own)
        one = ParticipantScore(
            participant=participant,
            session=session,
            n_recordings=len(own),
            n_trials=n_trials,
            n_correct=n_correct,
            accuracy=n_correct / n_trials if n_trials else None,
        )
        scores.append(one)
    return scores


def participants_table(scores: Sequence[ParticipantScore]) -> TextTable:
    """Return the scores of participants, a row for each session."""
    rows = [
        [one.participant, one.session, str(one.n_recordings), f"{one.n_correct}/{one.n_trials}", percent(one.accuracy)]
        for one in scores
    ]
    return TextTable(["participant", "session", "recordings", "right", "accuracy"], rows)


class Comparison(BaseModel, frozen=True):
    """Scores of the same recordings with another alignment."""

    alignment: AlignmentMode
    overall: Score
    runs: list[RunScore]


class Figures(BaseModel, frozen=True):
    """Scores of some recordings, together and each.

    ``classes`` orders the rows (true) and columns (predicted) of every confusion matrix. ``warning`` says that the
    figures are of recordings that were trained on; ``notes`` are sentences on trials and classes.
    """

    warning: str | None = None
    notes: list[str] = []
    classes: list[str]
    at_s: float
    alignment: AlignmentMode
    overall: Score
    runs: list[RunScore]
    idle: IdleFigures | None = None
    control: control_report.ControlReport | None = None
    comparison: Comparison | None = Field(
        None, validation_alias=AliasChoices("comparison", "beside"), serialization_alias="beside"
    )


class Report(Figures, frozen=True):
    """Content of ``report.json``."""

    version: Literal[1] = 1
    created: datetime = Field(default_factory=lambda: datetime.now(UTC))
    mindwire: str = __version__
    model: EvaluatedModel
    failed: dict[str, str] = {}  # recordings that could not be evaluated, with the reason
    participants: list[ParticipantScore] = []  # where a table of the recordings names them
    definitions: dict[str, str] = DEFINITIONS


def score_modes(
    runs: Mapping[AlignmentMode, Sequence[EvaluatedRun]],
    contract: Contract,
    classes: Sequence[str],
    at_s: float,
    *,
    idle: str | None,
    rule: ActivationRule,
) -> dict[str, Any]:
    """Score the same recordings with one alignment or, for comparison, two; return the values of :class:`Figures`.

    Activations are counted where there is an ``idle`` class.
    """
    scores = {mode: score_runs(some, contract, classes, at_s) for mode, some in runs.items()}
    (mode, (overall, each)), *others = scores.items()
    return {
        "classes": list(classes),
        "at_s": at_s,
        "alignment": mode,
        "overall": overall,
        "runs": each,
        "idle": idle_figures(runs[mode], contract, classes, idle=idle, at_s=at_s, rule=rule) if idle else None,
        "comparison": next((Comparison(alignment=m, overall=o, runs=r) for m, (o, r) in others), None),
    }


def interval_text(interval: tuple[float, float]) -> str:
    """Both ends in whole percent."""
    return f"{interval[0]:.0%} to {interval[1]:.0%}"


def reasons_text(score: Score) -> str:
    """Why trials were undecided, with counts."""
    return ", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in sorted(score.undecided.items()))


def undecided_text(score: Score) -> str:
    """Return the number of undecided trials and the reasons."""
    return f"{score.n_undecided} ({reasons_text(score)})" if score.n_undecided else "0"


def guessing_text(score: Score, classes: Sequence[str]) -> str:
    """Return the comparison of a score with guessing; empty without any decided trial."""
    present = [name for name, row in zip(classes, score.confusion, strict=True) if any(row)]
    if not present:
        return ""
    if score.better_than_chance is None:
        return f"all are of {present[0]}, which always answering {present[0]} decides as well: no verdict"
    return (
        f"{'better than' if score.better_than_chance else 'not distinguishable from'} guessing among {len(present)} classes "
        f"(chance {score.chance:.0%}, 95 % of guessing falls within {interval_text(score.chance_interval)})"
    )


def headline(report: Figures) -> str:
    """The result in one or two sentences, chance and undecided trials not left out."""
    overall = report.overall
    if overall.accuracy is None:
        if overall.n_cued == 1:
            return (
                f"The only trial had no valid prediction {report.at_s:.4g} s after its cue ({reasons_text(overall)})."
            )
        return (
            f"None of the {overall.n_cued} trials had a valid prediction {report.at_s:.4g} s after its cue "
            f"({reasons_text(overall)})."
        )
    text = (
        f"{overall.n_correct} of {overall.n_trials} trials right ({overall.accuracy:.0%}, 95 % interval "
        f"{interval_text(overall.accuracy_interval)}) {report.at_s:.4g} s after the cue; "
        f"{'recordings that were trained on: no verdict' if report.warning else guessing_text(overall, report.classes)}."
    )
    if overall.n_undecided:
        one = overall.n_undecided == 1
        text += (
            f" {overall.n_undecided} of {overall.n_cued} trials {'was' if one else 'were'} undecided "
            f"({reasons_text(overall)}) and {'is' if one else 'are'} not counted."
        )
    if report.comparison is not None:
        other = report.comparison.overall
        text += (
            f" With alignment {report.comparison.alignment}: {other.n_correct} of {other.n_trials} right "
            f"({percent(other.accuracy)}, {interval_text(other.accuracy_interval)})."
        )
    return text


def idle_sentence(idle: IdleFigures) -> str:
    """False activations and the time to a right one, in a sentence; what there is none of is left out."""
    parts = []
    if idle.false_activations_per_minute is not None:
        count = f"{idle.false_activations} in {idle.idle_minutes:.1f} min"
        parts.append(
            f"{idle.false_activations_per_minute:.1f} false activations per minute of {idle.idle_class} ({count})"
        )
    if idle.n_movements:
        median = "" if idle.median_seconds is None else f" (median {idle.median_seconds:.1f} s after the cue)"
        parts.append(f"{idle.n_reached} of {idle.n_movements} other trials triggered the right class{median}")
    if idle.n_wrong:
        parts.append(f"{idle.n_wrong} triggered a wrong class first")
    return f"With threshold {idle.probability:g} held for {idle.dwell_s:g} s: {'; '.join(parts) or 'no trial'}."


LEGEND = (
    "95 %: interval of the accuracy. κ: agreement beyond chance, 0 none, 1 full; nMCC: likewise, 0.5 none. bits/min: transfer "
    "rate. cal. error: expected calibration error (ECE), how far probabilities are from the share that was right. "
    "undecided: no valid prediction (of a whole, clean window) then."
)


def score_table(title: str, groups: Sequence[tuple[str, Figures]], *, detailed: bool = False) -> TextTable:
    """Return scores as a table: for each group, under its heading, a row per recording and one over all.

    ``detailed`` adds what a terminal of 80 columns has no room for: reasons of undecided trials, share of valid predictions.
    """
    head = ["recording", "right", "accu-\nracy", "95 %", "κ", "nMCC", "bits/\nmin", "cal.\nerror", "un-\ndecided"]
    head += ["valid\npredictions"] if detailed else []
    head += [
        f"alignment\n{figures.comparison.alignment}" for _, figures in groups[:1] if figures.comparison is not None
    ]
    rows: list[list[str]] = []
    totals = []
    for heading, figures in groups:
        rows += [[heading]] if heading else []
        comparison = figures.comparison
        scores: list[Score] = [*figures.runs, figures.overall]
        others: list[Score] = [] if comparison is None else [*comparison.runs, comparison.overall]
        for index, score in enumerate(scores):
            valid = ""
            if isinstance(score, RunScore) and score.n_predictions:
                valid = percent(score.n_valid / score.n_predictions)
            low, high = score.accuracy_interval
            rows.append(
                [
                    printable(Path(score.file).name) if isinstance(score, RunScore) else "all",
                    f"{score.n_correct}/{score.n_trials}",
                    percent(score.accuracy),
                    f"{100 * low:.0f}–{100 * high:.0f}",
                    number(score.kappa),
                    number(score.normalised_mcc),
                    number(score.itr_bits_per_minute, 1),
                    percent(score.calibration_error),
                    undecided_text(score) if detailed else str(score.n_undecided),
                    *([valid] if detailed else []),
                    *(f"{other.n_correct}/{other.n_trials}" for other in others[index : index + 1]),
                ]
            )
        totals.append(len(rows) - 1)
    return TextTable(head, rows, totals, title)


def table(report: Report) -> Table:
    """Return the report as a table for the terminal."""
    title = f"{report.model.name}: {', '.join(report.classes)} at {report.at_s:.4g} s after the cue"
    return score_table(title, [("", report)]).terminal()


def terminal_parts(report: Report) -> list[RenderableType]:
    """Return what the terminal shows of a report: tables, their legends and sentences."""
    parts: list[RenderableType] = [table(report), Text(LEGEND, "dim"), headline(report), *report.notes]
    if report.participants:
        parts.append(participants_table(report.participants).terminal())
    if report.control is not None:
        shown = control_report.report_table(report.control).terminal()
        parts += [shown, Text(control_report.LEGEND, "dim"), *control_report.sentences(report.control)]
    elif report.idle is not None:
        parts.append(idle_sentence(report.idle))
    return parts
