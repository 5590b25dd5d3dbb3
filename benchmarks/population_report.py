"""Table and picture of decoders over people: trials right, mean and spread, paired tests against one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, wilcoxon

TRAINED_ON = {"runs": "the person's other runs", "people": "other people"}
_WIDTH_INCHES = 4.6


@dataclass(frozen=True)
class Result:
    """Trials of a session that one decoder had right, trained by one protocol, and the person's name."""

    session: str
    person: str
    protocol: str
    decoder: str
    right: NDArray[np.bool_]


@dataclass(frozen=True)
class Paired:
    """A decoder against the reference, on the sessions that both decided.

    People are better or worse by the mean of the shares of their sessions (exact or normal test of Wilcoxon's signed ranks), trials are
    right for one alone (exact test of McNemar).
    """

    better: int
    worse: int
    people_p: float
    alone: int
    reference_alone: int
    trials_p: float


def by_person(results: Sequence[Result]) -> dict[str, float]:
    """Return each person's share of trials right, the mean over the sessions."""
    shares: dict[str, list[float]] = {}
    for one in results:
        shares.setdefault(one.person, []).append(float(one.right.mean()))
    return {person: float(np.mean(found)) for person, found in shares.items()}


def paired(results: Sequence[Result], reference: Sequence[Result]) -> Paired | None:
    """Compare a decoder's results with the reference's; None where they share no session."""
    others = {one.session: one for one in reference}
    both = [(one, others[one.session]) for one in results if one.session in others]
    if not both:
        return None
    ours, theirs = by_person([one for one, _ in both]), by_person([other for _, other in both])
    differences = np.array([ours[person] - theirs[person] for person in ours]).round(9)
    changed = differences[differences != 0]
    people_p = float(wilcoxon(changed).pvalue) if len(changed) else 1.0
    alone = sum(int((one.right & ~other.right).sum()) for one, other in both)
    reference_alone = sum(int((other.right & ~one.right).sum()) for one, other in both)
    discordant = alone + reference_alone
    trials_p = float(binomtest(alone, discordant, 0.5).pvalue) if discordant else 1.0
    return Paired(int((changed > 0).sum()), int((changed < 0).sum()), people_p, alone, reference_alone, trials_p)


def table(results: Sequence[Result], decoders: Sequence[str], reference: str) -> str:
    """Return all results as one table in Markdown, the protocols one after the other."""
    lines = [f"| person | trained on | trials | {' | '.join(decoders)} |", "|---" * (3 + len(decoders)) + "|"]
    for protocol, trained_on in TRAINED_ON.items():
        some = [one for one in results if one.protocol == protocol]
        cells = {(one.session, one.decoder): one.right for one in some}
        for session in dict.fromkeys(one.session for one in some):
            found = [cells.get((session, decoder)) for decoder in decoders]
            n_trials = next(len(right) for right in found if right is not None)
            right = ["–" if one is None else str(int(one.sum())) for one in found]
            lines.append(f"| {session} | {trained_on} | {n_trials} | {' | '.join(right)} |")
        lines += _summary(some, decoders, reference, trained_on) if some else []
    return "\n".join(lines)


def _summary(results: Sequence[Result], decoders: Sequence[str], reference: str, trained_on: str) -> list[str]:
    """Return the rows over all people: sums, mean and spread, and the paired tests."""
    by_decoder = {name: [one for one in results if one.decoder == name] for name in decoders}
    sums, means, people, trials = [], [], [], []
    for name, some in by_decoder.items():
        if not some:
            for row in (sums, means, people, trials):
                row.append("–")
            continue
        shares = list(by_person(some).values())
        spread = f" ± {100 * np.std(shares, ddof=1):.1f}" if len(shares) > 1 else ""
        sums.append(f"{sum(int(one.right.sum()) for one in some)} of {sum(len(one.right) for one in some)}")
        means.append(f"{100 * np.mean(shares):.1f}{spread} ({len(shares)})")
        test = None if name == reference else paired(some, by_decoder.get(reference, []))
        people.append("–" if test is None else f"{test.better} : {test.worse}, p = {test.people_p:.2g}")
        trials.append("–" if test is None else f"{test.alone} : {test.reference_alone}, p = {test.trials_p:.2g}")
    rows = {
        "**all**, right": sums,
        "mean of people ± spread, % (people)": means,
        f"people better : worse than {reference}, Wilcoxon": people,
        f"trials right for it alone : for {reference} alone, McNemar": trials,
    }
    return [f"| {name} | {trained_on} | | {' | '.join(row)} |" for name, row in rows.items()]


def write_picture(results: Sequence[Result], decoders: Sequence[str], path: Path) -> None:
    """Draw each person's share of trials right by decoder as a line, the mean and the spread over people beside it."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    protocols = [name for name in TRAINED_ON if any(one.protocol == name for one in results)]
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mindwire", "font.size": 9}):
        figure, axes = plt.subplots(
            1, max(1, len(protocols)), figsize=(_WIDTH_INCHES * max(1, len(protocols)), 3.9), sharey=True, squeeze=False
        )
        for axis, protocol in zip(axes[0], protocols, strict=False):
            some = [one for one in results if one.protocol == protocol]
            _draw(axis, {name: by_person([one for one in some if one.decoder == name]) for name in decoders})
            axis.set_title(f"trained on {TRAINED_ON[protocol]}", fontsize=10)
        axes[0, 0].set_ylabel("trials right, %")
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        plt.close(figure)


def _draw(axis: object, shares: Mapping[str, Mapping[str, float]]) -> None:
    known = {name: found for name, found in shares.items() if found}
    people = dict.fromkeys(person for found in known.values() for person in found)
    for person in people:
        heights = [100 * found.get(person, np.nan) for found in known.values()]
        axis.plot(range(len(known)), heights, color="#9aa5b5", linewidth=0.9, marker="o", markersize=3)  # type: ignore[attr-defined]
    for place, found in enumerate(known.values()):
        values = 100 * np.array(list(found.values()))
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        axis.errorbar(place + 0.13, values.mean(), spread, color="#2563a8", marker="s", markersize=6, capsize=3)  # type: ignore[attr-defined]
    axis.set_xlim(-0.5, len(known) - 0.5)  # type: ignore[attr-defined]
    axis.set_xticks(range(len(known)), [name.replace("checkpoint ", "") for name in known], rotation=25, ha="right")  # type: ignore[attr-defined]
    axis.grid(axis="y", color="#d9dee7", linewidth=0.7)  # type: ignore[attr-defined]
    axis.spines[["top", "right"]].set_visible(False)  # type: ignore[attr-defined]
