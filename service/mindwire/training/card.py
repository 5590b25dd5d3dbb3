"""Model card of a trained bundle: scores with intervals, those of the baseline, data and recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from mindwire.evaluation.scores import Score
from mindwire.evaluation.tables import TextTable
from mindwire.training.data import RecordingSource
from mindwire.training.fit import Validation
from mindwire_models.text import printable

if TYPE_CHECKING:
    from mindwire.training.run import Result

_NAMES = {"untouched": "untouched bundle"}


def verdict(scores: Mapping[str, Score], exported: Literal["network", "baseline"] = "network") -> str:
    """Return the first line of every report: which of ``network`` and ``baseline`` is better, of those that have a score.

    ``untouched`` is the network that training started from, if there is such.
    """
    if not scores:
        return "This model was not validated; evaluate it on recordings that it was not trained on."
    if "untouched" in scores:
        return _fine_tuned(scores)
    if len(scores) == 1:
        ((name, score),) = scores.items()
        what = "tangent-space baseline" if name == "baseline" else name
        return f"The {what} decides {_right(score)} held-out trials right{_interval(score)}.{_against_guessing({what: score})}"
    network, baseline = scores["network"], scores["baseline"]
    both = (
        f"{_right(network)} held-out trials right{_interval(network)}, "
        f"the tangent-space baseline {_right(baseline)}{_interval(baseline)}"
    )
    if network.n_correct > baseline.n_correct and exported == "baseline":
        return f"The network decides {both}; the difference may be chance, so this is the baseline.{_against_guessing(scores)}"
    if network.n_correct > baseline.n_correct:
        return f"The network decides {both}.{_against_guessing(scores)}"
    relation = "only equals" if network.n_correct == baseline.n_correct else "does not beat"
    then = (
        "This is the baseline"
        if exported == "baseline"
        else "To have the baseline, train again with --decoder riemann, or best to have the better one"
    )
    return f"The network {relation} the baseline: it decides {both}. {then}.{_against_guessing(scores)}"


def _fine_tuned(scores: Mapping[str, Score]) -> str:
    """Return the verdict on a network that was trained on from another person's, which decides without these trials."""
    network, untouched, baseline = scores["network"], scores["untouched"], scores.get("baseline")
    texts = [f"The fine-tuned network decides {_right(network)} held-out trials right{_interval(network)}"]
    texts.append(f"the untouched bundle it started from {_right(untouched)}{_interval(untouched)}")
    if baseline is not None:
        texts.append(f"the tangent-space baseline {_right(baseline)}{_interval(baseline)}")
    advice = ""
    if baseline is not None and baseline.n_correct > max(network.n_correct, untouched.n_correct):
        advice = " The baseline is the best of them; to have it, train again without --from, with --decoder riemann."
    elif network.n_correct < untouched.n_correct:
        advice = " Fine-tuning gained nothing on these trials; the untouched bundle can be used as it is."
    return f"{', '.join(texts)}.{advice}{_against_guessing(scores)}"


def _against_guessing(scores: Mapping[str, Score]) -> str:
    """Return which of the decoders are better than guessing; empty where nothing was decided."""
    first = next(iter(scores.values()))
    if not first.n_trials:
        return ""
    if first.better_than_chance is None:
        return " All decided trials are of one class, so there is no verdict."
    low, high = first.chance_interval
    better = [_NAMES.get(name, name) for name, score in scores.items() if score.better_than_chance]
    which = f"the {' and the '.join(better)} {'are' if len(better) > 1 else 'is'}" if better else "nothing here is"
    return f" Guessing gives {first.chance:.0%} (95 % within {low:.0%} to {high:.0%}); {which} better than that."


def _right(score: Score) -> str:
    return f"{score.n_correct} of {score.n_trials}"


def _interval(score: Score) -> str:
    if score.accuracy is None:
        return ""
    low, high = score.accuracy_interval
    return f" ({score.accuracy:.0%}, 95 % interval {low:.0%} to {high:.0%})"


def comparison(sources: Sequence[RecordingSource], validations: Mapping[str, Validation]) -> TextTable:
    """Return a table of scores, a row per recording and one over all."""
    names = [*(printable(source.path.name) for source in sources), "all"]
    columns = [[*one.recordings, one.overall] for one in validations.values()]
    rows = [
        [name, *map(_cell, scores), str(scores[0].n_undecided)] for name, *scores in zip(names, *columns, strict=True)
    ]
    return TextTable(["recording", *validations, "undecided"], rows, [len(rows) - 1])


def _cell(score: Score) -> str:
    share = "–" if score.accuracy is None else f"{score.accuracy:.0%}"
    return f"{score.n_correct}/{score.n_trials} {share}"


def provenance(result: Result) -> str:
    """Return the part of the model card on the model's origin, in Markdown."""
    prepared, candidate, validations = result.prepared, result.candidate, result.validations
    data, sources, span = prepared.data, prepared.sources, prepared.span
    left_out = f"; trials without a valid window by reason: {data.why_left_out}" if data.left_out else ""
    parts = [verdict({name: one.overall for name, one in validations.items()}, result.decoder), ""]
    if validations:
        unit = "recordings" if len(sources) > 1 else "stretches of successive trials"
        parts += [
            (
                f"Cross-validated in {len(prepared.folds)} folds that hold out whole {unit}, through the live causal pipeline, decided "
                f"{span.decided_at:.4g} s after the cue. Decided trials only; undecided ones had no valid window then."
            ),
            "",
            *comparison(sources, validations).markdown(),
            "",
            *(_figures(name.capitalize(), one) for name, one in validations.items()),
            "",
        ]
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
    if prepared.start is not None:
        parts += ["", f"Fine-tuned from {prepared.start.name} (`{prepared.start.sha256}`)."]
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
