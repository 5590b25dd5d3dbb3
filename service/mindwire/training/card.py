"""What a trained bundle says of itself: scores with intervals, the baseline beside them, data and recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mindwire.evaluation.scores import Score
from mindwire.evaluation.tables import TextTable
from mindwire.training.data import RecordedTrials, RecordingSource, TrialSpan
from mindwire.training.fit import Validation

if TYPE_CHECKING:
    from mindwire.training.fit import Candidate


def verdict(network: Validation | None, baseline: Validation | None) -> str:
    """The first line of every report: network and baseline, and plainly which is better.

    Parameters
    ----------
    network, baseline : Validation or None
        None where it was not trained or not validated.

    Returns
    -------
    str
    """
    if network is None and baseline is None:
        return "This model was not validated; evaluate it on recordings that it was not trained on."
    if network is None or baseline is None:
        what, found = ("network", network) if baseline is None else ("tangent-space baseline", baseline)
        assert found is not None  # noqa: S101 - one of the two is there
        return f"The {what} decides {_right(found.overall)}.{_against_guessing([(what, found.overall)])}"
    ours, theirs = network.overall.n_correct, baseline.overall.n_correct
    guessing = _against_guessing([("network", network.overall), ("baseline", baseline.overall)])
    both = f"{_right(network.overall)}, the tangent-space baseline {_right(baseline.overall, brief=True)}"
    if ours > theirs:
        return f"The network decides {both}.{guessing}"
    relation = "only equals" if ours == theirs else "does not beat"
    return (
        f"The network {relation} the baseline: it decides {both}. "
        f"The baseline itself is exported with --decoder riemann.{guessing}"
    )


def _against_guessing(scores: Sequence[tuple[str, Score]]) -> str:
    """Which of the decoders is better than guessing; empty where nothing was decided."""
    first = scores[0][1]
    if not first.n_trials:
        return ""
    if first.better_than_chance is None:
        return " All decided trials are of one class, so there is no verdict."
    low, high = first.chance_interval
    better = [name for name, score in scores if score.better_than_chance]
    which = f"the {' and the '.join(better)} {'are' if len(better) > 1 else 'is'}" if better else "nothing here is"
    return f" Guessing gives {first.chance:.0%} (95 % within {low:.0%} to {high:.0%}); {which} better than that."


def _right(score: Score, *, brief: bool = False) -> str:
    text = f"{score.n_correct} of {score.n_trials}"
    if not brief:
        text += " held-out trials right"
    if score.accuracy is not None:
        low, high = score.accuracy_interval
        text += f" ({score.accuracy:.0%}, 95 % interval {low:.0%} to {high:.0%})"
    return text


def comparison_rows(
    sources: Sequence[RecordingSource], network: Validation | None, baseline: Validation | None
) -> tuple[list[str], list[list[str]]]:
    """A table of scores per recording: its head and its rows, the last of which is over all.

    Parameters
    ----------
    sources : sequence of RecordingSource
    network, baseline : Validation or None

    Returns
    -------
    head : list of str
    rows : list of list of str
    """
    columns = [(name, v) for name, v in (("network", network), ("baseline", baseline)) if v is not None]
    head = ["recording", *(name for name, _ in columns), "undecided"]
    rows = []
    for index, source in enumerate(sources):
        cells = [v.recordings[index] for _, v in columns]
        rows.append([Path(source.file).name, *map(_cell, cells), str(cells[0].n_undecided if cells else 0)])
    overall = [v.overall for _, v in columns]
    rows.append(["all", *map(_cell, overall), str(overall[0].n_undecided if overall else 0)])
    return head, rows


def _cell(score: Score) -> str:
    share = "–" if score.accuracy is None else f"{score.accuracy:.0%}"
    return f"{score.n_correct}/{score.n_trials} {share}"


def provenance(
    *,
    data: RecordedTrials,
    sources: Sequence[RecordingSource],
    span: TrialSpan,
    candidate: Candidate | None,
    network: Validation | None,
    baseline: Validation | None,
    n_folds: int,
) -> str:
    """The part of the model card that tells how the model came to be, in Markdown.

    Parameters
    ----------
    data : RecordedTrials
    sources : sequence of RecordingSource
    span : TrialSpan
    candidate : Candidate or None
        None where the baseline itself is the model.
    network, baseline : Validation or None
    n_folds : int

    Returns
    -------
    str
    """
    parts = [verdict(network, baseline), ""]
    if network is not None or baseline is not None:
        unit = "recordings" if len(sources) > 1 else "stretches of successive trials"
        parts += [
            (
                f"Cross-validated in {n_folds} folds that hold out whole {unit}, through the live causal pipeline, decided "
                f"{span.decided_at:.4g} s after the cue. Decided trials only; undecided ones had no valid window then."
            ),
            "",
            *TextTable(*comparison_rows(sources, network, baseline)).markdown(),
            "",
        ]
        parts += [_figures(name, v) for name, v in (("Network", network), ("Baseline", baseline)) if v is not None]
        parts.append("")
    parts += [
        (
            f"Trained on {len(data.usable)} of {len(data.labels)} trials ({len(data.windows)} windows; a trial lasts from "
            f"{span.offset:g} to {span.offset + span.length:.4g} s after its cue, and windows reach at most "
            f"{span.slide:g} s beyond it){_left_out(data)}."
        ),
        "",
        *TextTable(
            ["recording", "trials used", "SHA-256"],
            [[Path(s.file).name, f"{s.n_usable} of {s.n_cued}", f"`{s.sha256}`"] for s in sources],
        ).markdown(),
    ]
    if candidate is not None:
        recipe = {**asdict(candidate.recipe), "members": candidate.members, **candidate.network_arguments}
        parts += ["", "Recipe: " + ", ".join(_flat(recipe)) + "."]
    return "\n".join(parts)


def _figures(name: str, validation: Validation) -> str:
    overall = validation.overall
    figures = [
        f"κ {overall.kappa:.2f}" if overall.kappa is not None else "",
        f"normalised MCC {overall.normalised_mcc:.2f}" if overall.normalised_mcc is not None else "",
        (
            f"chance {overall.chance:.0%} (95 % of guessing within {overall.chance_interval[0]:.0%} to "
            f"{overall.chance_interval[1]:.0%})"
        ),
        f"calibration error {overall.calibration_error:.0%} at temperature {validation.temperature:.2f}"
        if overall.calibration_error is not None
        else "",
    ]
    return f"- {name}: {', '.join(figure for figure in figures if figure)}."


def _left_out(data: RecordedTrials) -> str:
    return f"; trials without a valid window by reason: {data.why_left_out}" if data.left_out else ""


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    flat = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat += _flat(value, f"{name}.")
        elif value is not None:
            flat.append(f"{prefix}{name} {value}")
    return flat
