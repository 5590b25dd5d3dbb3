"""Tables of a tuning: the frontier, and the tuned policies counted on recordings that nothing was chosen on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Decide, EstimatedPrior, Evidence, Leaky
from mindwire.errors import UsageError
from mindwire.evaluation import frontier
from mindwire.evaluation.control import ControlFigures, ControlRun, Counts, control_counts, raw_argmax
from mindwire.evaluation.metrics import poisson_forecast, poisson_interval
from mindwire.evaluation.tables import TextTable
from mindwire.evaluation.tuning import PolicySearch, TunedPolicy

_BUDGET = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*/\s*(min|minute|h|hour)")
_LARGEST = 60.0
LEGEND = (
    "Expected: from the tuning with each recording left out in turn, the rate and the number in this rest, 95 %; * others were observed.",
    "Like raw: the policy that made at most as many false activations as the raw argmax in the recordings it was tuned on.",
)


def parse_budget(text: str) -> float:
    """Return the false activations per minute of ``1/min`` or ``30/h``; a UsageError says that the text is no such rate."""
    match = _BUDGET.fullmatch(text.strip())
    rate = float(match[1]) / (1 if match[2].startswith("m") else 60) if match else 0.0
    if not 0 < rate <= _LARGEST:
        msg = f"--budget {text}: expected a rate of false activations above 0 and up to {_LARGEST:g} a minute, such as 1/min or 30/h."
        raise UsageError(msg)
    return rate


def _described(evidence: Evidence, decide: Decide) -> list[str]:
    """Return evidence, its contrast and prior, commit threshold, dwell and refractory time of a policy as cells."""
    kind, contrast = evidence.kind.replace("_", " "), "–"
    if isinstance(evidence, Leaky):
        kind, contrast = f"leaky {evidence.time_constant_s:g} s", f"{evidence.contrast:g}"
    prior = f"{evidence.prior.time_constant_s:g} s" if isinstance(evidence.prior, EstimatedPrior) else "uniform"
    return [kind, contrast, prior, f"{decide.commit:.3f}", f"{decide.dwell_s:g}, {decide.refractory_s:g} s"]


def frontier_table(tuned: TunedPolicy) -> TextTable:
    """Return the policies along the frontier, the chosen one in bold, and the raw argmax."""
    tuning, minutes = tuned.tuning, tuned.tuning.rest_minutes
    rows: list[list[str]] = []
    totals: list[int] = []
    for point in tuning.frontier:
        if (point.evidence, point.decide) == (tuned.policy.evidence, tuned.policy.decide):
            totals.append(len(rows))
        low, high = poisson_interval(round(point.false_per_minute * minutes), minutes)
        rows.append(
            [
                f"{point.false_per_minute:.2f}",
                f"{low:.2f}–{high:.2f}",
                f"{point.right}",
                f"{point.wrong_first}",
                *_described(point.evidence, point.decide),
            ]
        )
    raw, rule = ControlFigures.of(tuned.raw, 0), raw_argmax(tuned.policy.idle)
    low, high = poisson_interval(raw.false_activations, minutes)
    rows.append(
        [
            f"{raw.false_per_minute:.2f}",
            f"{low:.2f}–{high:.2f}",
            f"{raw.n_right}",
            f"{raw.n_wrong_first}",
            "raw argmax",
            *_described(rule.evidence, rule.decide)[1:],
        ]
    )
    return TextTable(
        [
            "false/\nmin",
            "95 %",
            f"right\nof {tuning.trials}",
            "wrong\nfirst",
            "evidence",
            "con-\ntrast",
            "prior",
            "commit",
            "dwell,\npause",
        ],
        rows,
        totals,
        title=f"Frontier in {minutes:.1f} minutes of rest; bold: chosen for {tuning.budget_per_minute:g} a minute",
    )


def draw(tuned: TunedPolicy) -> str:
    """Draw the frontier with the chosen policy and the raw argmax, as an ``<svg>`` element."""
    chosen, raw = frontier.Choice.of(tuned.counts), frontier.Choice.of(tuned.raw)
    return frontier.frontier_picture(frontier.tuned_choices(tuned.tuning), chosen, raw, tuned.tuning.budget_per_minute)


def held_out_table(search: PolicySearch, results: Sequence[TunedPolicy], runs: Sequence[ControlRun]) -> TextTable:
    """Count the tuned policies on other recordings, beside the raw argmax and the policy with as many false activations as it."""

    def counted(policy: ControlPolicy) -> ControlFigures:
        return ControlFigures.of(sum(control_counts(runs, policy, search.task), Counts()), search.task.n_commands)

    def cells(name: str, expected: tuple[str, str], figures: ControlFigures) -> list[str]:
        interval, rate = figures.false_interval, figures.false_per_minute
        return [
            name,
            *expected,
            "–" if rate is None else f"{figures.false_activations} = {rate:.2f}",
            "–" if interval is None else f"{interval[0]:.2f}–{interval[1]:.2f}",
            f"{figures.n_right}",
            f"{figures.n_wrong_first}",
            "–" if figures.median_s is None else f"{figures.median_s:.2f} s",
        ]

    rows = []
    for tuned in results:
        figures, held_out = counted(tuned.policy), tuned.held_out
        expected = ("–", "–")
        if held_out.rest_s and figures.rest_minutes:
            low, high = poisson_interval(held_out.false_activations, held_out.rest_minutes)
            fewest, most = poisson_forecast(held_out.false_activations, held_out.rest_minutes, figures.rest_minutes)
            star = "" if fewest <= figures.false_activations <= most else "*"
            expected = (f"{low:.2f}–{high:.2f}", f"{fewest}–{most}{star}")
        rows.append(cells(f"{tuned.tuning.budget_per_minute:g} a minute", expected, figures))
    raw = counted(raw_argmax(search.task.idle))
    rows += [cells("like raw", ("", ""), counted(search.like_raw())), cells("raw argmax", ("", ""), raw)]
    return TextTable(
        [
            "budget",
            "expected\na minute",
            "in this\nrest",
            "false",
            "a minute,\n95 %",
            f"right\nof {raw.n_trials}",
            "wrong\nfirst",
            "median",
        ],
        rows,
        title=f"On {len(runs)} recordings with {raw.rest_minutes:.1f} minutes of rest that nothing was chosen on",
    )
