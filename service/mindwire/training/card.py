"""Model card of a trained bundle: scores with intervals, those of the baseline, data and recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mindwire.evaluation.scores import Score
from mindwire.evaluation.tables import TextTable
from mindwire.training.data import RecordingSource
from mindwire.training.fit import Validation
from mindwire_models.text import printable

if TYPE_CHECKING:
    from mindwire.training.run import Result


def verdict(network: Validation | None, baseline: Validation | None) -> str:
    """Return the first line of every report: which of network and baseline is better; None was not validated."""
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
    """Return which of the decoders are better than guessing; empty where nothing was decided."""
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


def comparison(
    sources: Sequence[RecordingSource], network: Validation | None, baseline: Validation | None
) -> TextTable:
    """Return a table of scores, a row per recording and one over all."""
    validations = {"network": network, "baseline": baseline}
    columns = {name: found for name, found in validations.items() if found is not None}
    rows = []
    for index, source in enumerate(sources):
        scores = [found.recordings[index] for found in columns.values()]
        rows.append([printable(source.path.name), *map(_cell, scores), str(scores[0].n_undecided)])
    overall = [found.overall for found in columns.values()]
    rows.append(["all", *map(_cell, overall), str(overall[0].n_undecided)])
    return TextTable(["recording", *columns, "undecided"], rows, [len(rows) - 1])


def _cell(score: Score) -> str:
    share = "–" if score.accuracy is None else f"{score.accuracy:.0%}"
    return f"{score.n_correct}/{score.n_trials} {share}"


def provenance(result: Result) -> str:
    """Return the part of the model card on the model's origin, in Markdown."""
    prepared, candidate, network, baseline = result.prepared, result.candidate, result.network, result.baseline
    data, sources, span = prepared.data, prepared.sources, prepared.span
    left_out = f"; trials without a valid window by reason: {data.why_left_out}" if data.left_out else ""
    parts = [verdict(network, baseline), ""]
    if network is not None or baseline is not None:
        unit = "recordings" if len(sources) > 1 else "stretches of successive trials"
        parts += [
            (
                f"Cross-validated in {len(prepared.folds)} folds that hold out whole {unit}, through the live causal pipeline, decided "
                f"{span.decided_at:.4g} s after the cue. Decided trials only; undecided ones had no valid window then."
            ),
            "",
            *comparison(sources, network, baseline).markdown(),
            "",
        ]
        parts += [_figures(name, v) for name, v in (("Network", network), ("Baseline", baseline)) if v is not None]
        parts.append("")
    parts += [
        (
            f"Trained on {len(data.usable)} of {len(data.labels)} trials ({len(data.windows)} windows; a trial lasts from "
            f"{span.offset:g} to {span.offset + span.length:.4g} s after its cue, and windows reach at most "
            f"{span.slide:g} s beyond it){left_out}."
        ),
        "",
        *TextTable(
            ["recording", "trials used", "SHA-256"],
            [[s.path.name, f"{s.n_usable} of {s.n_cued}", f"`{s.sha256}`"] for s in sources],
        ).markdown(),
    ]
    if candidate is not None:
        recipe = {**asdict(candidate.recipe), "members": candidate.members, **candidate.network_arguments}
        parts += ["", "Recipe: " + ", ".join(_flat(recipe)) + "."]
    return "\n".join(parts)


def _figures(name: str, validation: Validation) -> str:
    overall = validation.overall
    low, high = overall.chance_interval
    figures = [] if overall.kappa is None else [f"κ {overall.kappa:.2f}"]
    if overall.normalised_mcc is not None:
        figures.append(f"normalised MCC {overall.normalised_mcc:.2f}")
    figures.append(f"chance {overall.chance:.0%} (95 % of guessing within {low:.0%} to {high:.0%})")
    if overall.calibration_error is not None:
        figures.append(f"calibration error {overall.calibration_error:.0%} at temperature {validation.temperature:.2f}")
    return f"- {name}: {', '.join(figures)}."


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    flat = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat += _flat(value, f"{name}.")
        elif value is not None:
            flat.append(f"{prefix}{name} {value}")
    return flat
