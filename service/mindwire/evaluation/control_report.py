"""Figures of control in a report: a policy beside the raw argmax, the frontier, and the sentences and the table for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import BaseModel

from mindwire.control.policy import ControlPolicy
from mindwire.evaluation.control import (
    RAW_RULE,
    ControlFigures,
    ControlRun,
    ControlTask,
    Counts,
    control_counts,
    raw_argmax,
)
from mindwire.evaluation.frontier import Choice, choice_policies, frontier_picture
from mindwire.evaluation.metrics import CONFIDENCE
from mindwire.evaluation.tables import TextTable, number, percent
from mindwire_models.text import counted, printable

DEFINITIONS = {
    "right activation": "a decision of the trial's class between its cue and its end, or the next cue; the policy runs through the "
    "whole recording, so what came before the cue is still in its evidence. Beside it, the number that is expected if "
    "decisions had nothing to do with the classes: the mean over all exchanges of the classes among a recording's trials",
    "wrong activation": "a decision of another class in a trial; wrong first: before any right one",
    "false activations of a policy": "decisions at rest, per minute of rest with a valid prediction; the windows of the first seconds of "
    "rest still hold signal from before, so a late answer to a trial counts as false. Exact 95 % interval of a Poisson "
    "rate (Garwood 1936), which is too narrow where false activations come in series",
    "time to a right activation": "from the cue to the first right decision, over the trials that have one",
    "undecided share": "part of the time of trials before their first decision",
    "raw argmax": RAW_RULE,
    "transfer rate of control": "Wolpaw's for the first decision of each trial, over the time until then. It knows no rest: false "
    "activations do not lower it, so it says nothing without them",
}


class RecordingFigures(ControlFigures):
    """Figures of a policy on one recording."""

    file: str


class ControlScore(BaseModel, frozen=True):
    """Figures of a policy on some recordings, together and each."""

    overall: ControlFigures
    runs: list[RecordingFigures]

    @classmethod
    def of(cls, runs: Sequence[ControlRun], counts: Sequence[Counts], n_commands: int) -> Self:
        """Return the figures of the counts on each recording."""
        each = [
            RecordingFigures(file=Path(run.file).name, **ControlFigures.of(one, n_commands).model_dump())
            for run, one in zip(runs, counts, strict=True)
        ]
        return cls(overall=ControlFigures.of(sum(counts, Counts()), n_commands), runs=each)


class ControlReport(BaseModel, frozen=True):
    """Control by a policy, beside the raw argmax.

    ``frontier`` has the figures of the policy's other choices on these recordings, in the order of its own frontier;
    ``trial_s`` is the length of a trial in seconds.
    """

    policy: ControlPolicy
    sha256: str
    trial_s: float
    score: ControlScore
    raw: ControlScore
    frontier: list[ControlFigures]
    notes: list[str]


def report_control(runs: Sequence[ControlRun], policy: ControlPolicy, task: ControlTask) -> ControlReport:
    """Evaluate a policy on recordings."""
    n = task.n_commands
    score = ControlScore.of(runs, control_counts(runs, policy, task), n)
    raw = ControlScore.of(runs, control_counts(runs, raw_argmax(task.idle), task), n)
    totals = [sum(control_counts(runs, choice, task), Counts()) for choice in choice_policies(policy)]
    return ControlReport(
        policy=policy,
        sha256=policy.hash,
        trial_s=task.trial_s,
        score=score,
        raw=raw,
        frontier=[ControlFigures.of(total, n) for total in totals],
        notes=[
            rest_note(score.overall, policy.tuning.budget_per_minute if policy.tuning else None),
            *tuned_on(runs, policy),
        ],
    )


def tuned_on(runs: Sequence[ControlRun], policy: ControlPolicy) -> list[str]:
    """Return a note where a policy was tuned on some of the recordings."""
    known = set(policy.tuning.recordings) if policy.tuning else set()
    found = [printable(Path(run.file).name) for run in runs if run.sha256 in known]
    if not found:
        return []
    return [
        f"The policy was tuned on {', '.join(found)}, so its figures there are too good; count it on other recordings."
    ]


def picture(report: ControlReport) -> str | None:
    """Draw the frontier on the recordings of a report; None where there is no rest or no trial."""
    choices = [choice_of(figures) for figures in (report.score.overall, report.raw.overall, *report.frontier)]
    if not (choices[0].minutes and choices[0].trials):
        return None
    tuning = report.policy.tuning
    return frontier_picture(choices[2:], choices[0], choices[1], tuning.budget_per_minute if tuning else None)


def choice_of(figures: ControlFigures) -> Choice:
    """Return figures as a point of the frontier's picture."""
    return Choice(figures.false_activations, figures.rest_minutes, figures.n_right, figures.n_trials)


def rest_note(figures: ControlFigures, budget_per_minute: float | None = None) -> str:
    """Return what the recorded rest proves of false activations, and of their budget."""
    bound, interval = figures.false_bound, figures.false_interval
    if bound is None or interval is None:
        return (
            "There is no rest in these recordings, so false activations cannot be counted; name rest with --rest, or "
            "count the time between trials with --between."
        )
    proven = f"{figures.false_activations} in {figures.rest_minutes:.1f} minutes of rest"
    says = f"{proven} proves at most {bound:.2f} false activations a minute (exact 95 % bound)"
    if budget_per_minute is None:
        return f"{says}."
    budget = f"the budget of {budget_per_minute:g} a minute"
    if interval[0] > budget_per_minute:
        return f"{proven} are more false activations than {budget} allows: at least {interval[0]:.2f} a minute (exact 95 % interval)."
    if bound <= budget_per_minute:
        return f"{says}, which keeps {budget}."
    needed = -math.log(1 - CONFIDENCE) / budget_per_minute
    return f"{says}, which does not prove {budget}: that takes {needed:.1f} minutes of rest without any, and more with some."


def per_minute(figures: ControlFigures) -> tuple[str, str]:
    """Return the false activations per minute and their interval."""
    if figures.false_per_minute is None or figures.false_interval is None:
        return "–", "–"
    low, high = figures.false_interval
    return f"{figures.false_per_minute:.2f}", f"{low:.1f}–{high:.1f}"


def control_sentence(figures: ControlFigures) -> str:
    """Return the figures of a policy in a sentence; what there is none of is left out."""
    parts = []
    if figures.n_trials:
        low, high = figures.right_interval
        parts.append(
            f"{figures.n_right} of {figures.n_trials} trials with a right activation ({figures.n_right / figures.n_trials:.0%}, 95 % interval "
            f"{low:.0%} to {high:.0%}; {figures.right_by_chance:.1f} expected by chance), {figures.n_wrong_first} with a wrong one first"
        )
    if figures.false_interval is not None:
        rate, _ = per_minute(figures)
        low, high = figures.false_interval
        parts.append(f"{rate} false activations per minute of rest (95 % interval {low:.2f} to {high:.2f})")
    if figures.median_s is not None and figures.p90_s is not None:
        parts.append(
            f"a right activation takes {figures.median_s:.1f} s (median), 90 % of them up to {figures.p90_s:.1f} s"
        )
    if figures.undecided_share is not None:
        parts.append(f"{figures.undecided_share:.0%} of the trials' time undecided")
    if figures.itr_bits_per_minute is not None:
        parts.append(
            f"{figures.itr_bits_per_minute:.1f} bits per minute by the first decisions, whatever the false activations"
        )
    return f"{'; '.join(parts) or 'no trial and no rest'}."


LEGEND = (
    "right: trials with a right activation. wrong first: with one of another class before. false/min: at rest, with its exact 95 % "
    "interval. s: median and 90th percentile to a right one. undecided: of the trials' time. raw argmax: "
    + RAW_RULE
    + "."
)


def control_table(groups: Sequence[tuple[str, ControlScore]], title: str = "", *, detailed: bool = False) -> TextTable:
    """Return figures as a table: for each policy, under its name, a row per recording and one over all.

    ``detailed`` adds what a terminal of 80 columns has no room for: minutes of rest and trials right by chance.
    """
    head = ["recording", "right", "wrong\nfirst", "false/\nmin", "95 %", "median\ns", "90 %\ns", "un-\ndecided"]
    head += ["minutes\nof rest", "false", "right by\nchance", "wrong", "bits/\nmin"] if detailed else []
    rows: list[list[str]] = []
    totals = []
    for name, score in groups:
        rows.append([name])
        scored: list[ControlFigures] = [*score.runs, score.overall]
        rows += [_row(figures, detailed=detailed) for figures in scored]
        totals.append(len(rows) - 1)
    return TextTable(head, rows, totals, title)


def _row(figures: ControlFigures, *, detailed: bool) -> list[str]:
    more = [
        f"{figures.rest_minutes:.2f}",
        str(figures.false_activations),
        f"{figures.right_by_chance:.1f}",
        str(figures.n_wrong),
    ]
    return [
        printable(figures.file) if isinstance(figures, RecordingFigures) else "all",
        f"{figures.n_right}/{figures.n_trials}",
        str(figures.n_wrong_first),
        *per_minute(figures),
        number(figures.median_s, 1),
        number(figures.p90_s, 1),
        percent(figures.undecided_share),
        *([*more, number(figures.itr_bits_per_minute, 1)] if detailed else []),
    ]


def sentences(report: ControlReport) -> list[str]:
    """Return the figures of the policy and of the raw argmax in a sentence each, and the notes."""
    return [f"{name}: {control_sentence(score.overall)}" for name, score in _groups(report)] + report.notes


def report_table(report: ControlReport, *, detailed: bool = False) -> TextTable:
    """Return the policy and the raw argmax as a table."""
    return control_table(_groups(report), f"Control in the {report.trial_s:.4g} s after each cue", detailed=detailed)


def _groups(report: ControlReport) -> list[tuple[str, ControlScore]]:
    return [("policy", report.score), ("raw argmax", report.raw)]


def tiles(report: ControlReport) -> list[tuple[str, str, str]]:
    """Return the main figures for the top of a page: name, value and explanation of each."""
    figures = report.score.overall
    rate, interval = per_minute(figures)
    return [
        ("Right activations", f"{figures.n_right} of {figures.n_trials}", f"{figures.right_by_chance:.1f} by chance"),
        ("Wrong first", str(figures.n_wrong_first), f"{counted(figures.n_wrong, 'wrong activation')} in trials"),
        ("False activations", rate, f"per minute of rest, 95 % {interval}; {figures.rest_minutes:.1f} min"),
        ("Time to a right activation", f"{number(figures.median_s, 1)} s", "median of the trials with one"),
    ]
