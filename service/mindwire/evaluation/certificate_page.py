"""The page of a certificate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mindwire.evaluation.certificate import Quantiles, RunCertificate
from mindwire.evaluation.page import render
from mindwire.evaluation.svg import Axis, Figure, Line
from mindwire.evaluation.tables import TextTable
from mindwire_models.text import printable

if TYPE_CHECKING:
    from mindwire.evaluation.certificate_report import Certificate

_STAGES = {
    "age": "last sample to publication",
    "receive": "– until received",
    "condition": "– conditioning",
    "wait": "– waiting for the decoder",
    "decode": "– decoding",
}
_DEFINITIONS = {
    "confirmed": "the recorded value follows from the recorded EEG, the model and its options, derived again by the same pipeline",
    "bit for bit": "the recorded 32-bit probabilities are the same in every bit; on another processor the last bits may differ",
    "age": "from the time stamp of the newest sample that a prediction is made of to its publication, as the service measured "
    "it; delays of the amplifier and its driver before the stamp are not included",
    "clock offset": "between the clock of the stream's sender and the recorder's, as LSL measures it every few seconds; its "
    "residual is the distance from a straight line",
    "drift": "Riemannian distance of the person's mean covariance from where the alignment first was ready",
}


def certificate_page(found: Certificate, signer: str | None) -> str:
    """Render a certificate as one HTML page that loads nothing; ``signer`` is the key that signs it."""
    runs = [run for run in found.runs if run.predictions]
    return render(
        "certified_session.html",
        title=printable(f"Certificate of {found.title}"),
        created=found.created,
        verdict=printable(found.verdict),
        confirmed=found.confirmed,
        faults=[printable(text) for text in (*found.faults, *found.of_runs("faults"))],
        lacking=[printable(text) for text in found.of_runs("lacking")],
        cells=_tiles(runs),
        derived=_derived(runs),
        latency=_latency(runs),
        signal=_signal(runs),
        adaptation=_adaptation(runs),
        drift=_drift(runs),
        clocks=_clocks(found.runs),
        policies=_policies(found.runs),
        events=_events(found.runs),
        further=sum(run.further_events for run in found.runs),
        files=_files(found),
        software=_software(found),
        signer=signer,
        definitions=_DEFINITIONS,
        mindwire=found.software["mindwire"],
    )


def _tiles(runs: Sequence[RunCertificate]) -> list[tuple[str, str, str]]:
    if not runs:
        return []
    confirmed, recorded = (sum(run.predictions[key] for run in runs) for key in ("confirmed", "recorded"))
    cells = [("Predictions", f"{confirmed} of {recorded}", "confirmed")]
    controlled = [run.decisions for run in runs if run.decisions is not None]
    if controlled:
        made, wrong = (sum(one[key] for one in controlled) for key in ("confirmed", "different"))
        cells.append(("Decisions", f"{made} of {made + wrong}", "confirmed"))
    worst = max(run.predictions["largest_difference"] for run in runs)
    cells.append(("Largest difference", f"{worst:.2g}", "in probability; the file rounds to 32 bits"))
    ages = [run.latency_ms["age"] for run in runs if "age" in run.latency_ms]
    if ages:
        cells.append(("Age, 99th percentile", f"{max(age.p99 for age in ages):.1f} ms", "last sample to publication"))
    decided = [run.decision_age_ms for run in runs if run.decision_age_ms]
    if decided:
        cells.append(("Largest age at a decision", f"{max(age.max for age in decided):.1f} ms", "newest sample"))
    signals = [run.signal for run in runs if run.signal]
    gaps = sum(one.gaps for one in signals)
    cells.append(("Gaps", str(gaps), f"{sum(one.gap_seconds for one in signals):.2f} s together"))
    return cells


def _derived(runs: Sequence[RunCertificate]) -> TextTable:
    rows = []
    for run in runs:
        found, device = run.predictions, run.input
        rows.append(
            [
                printable(run.label),
                f"{found['confirmed']} of {found['recorded']}",
                str(found["valid"]),
                str(found["equal"]),
                f"{found['largest_difference']:.2g}",
                str(found["unchecked"]),
                *(_share(one) for one in (run.decisions, run.axes)),
                "–" if device is None else f"{device['same']} of {sum(device.values())}",
            ]
        )
    head = [
        "run", "predictions confirmed", "of them valid", "bit for bit", "largest difference", "not checked",
        "decisions confirmed", "axes confirmed", "samples as the device's",
    ]  # fmt: skip
    return TextTable(head, rows)


def _share(found: Mapping[str, Any] | None) -> str:
    return "–" if found is None else f"{found['confirmed']} of {found['confirmed'] + found['different']}"


def _latency(runs: Sequence[RunCertificate]) -> TextTable:
    rows: list[list[str]] = []
    for run in runs:
        parts: dict[str, Quantiles] = {_STAGES[name]: part for name, part in run.latency_ms.items()}
        if run.decision_age_ms is not None:
            parts["last sample to a decision"] = run.decision_age_ms
        if parts and len(runs) > 1:
            rows.append([printable(run.label)])
        rows += [
            [name, str(part.n), *(f"{value:.2f}" for value in (part.p50, part.p99, part.max))]
            for name, part in parts.items()
        ]
    return TextTable(["part", "number", "median", "99th percentile", "largest"], rows)


def _signal(runs: Sequence[RunCertificate]) -> TextTable:
    head = [
        "run",
        "samples",
        "valid",
        "invalid, by reason",
        "gaps",
        "seconds",
        "clock resets",
        "reconnections",
        "skipped",
    ]
    rows = []
    for run in runs:
        if (signal := run.signal) is not None:
            invalid = ", ".join(f"{reason.replace('_', ' ')} {n}" for reason, n in signal.invalid.items()) or "none"
            counts = (
                signal.gaps,
                f"{signal.gap_seconds:.2f}",
                signal.clock_resets,
                signal.reconnections,
                signal.skipped,
            )
            rows.append([printable(run.label), str(signal.samples), str(signal.valid), invalid, *map(str, counts)])
    return TextTable(head, rows)


def _adaptation(runs: Sequence[RunCertificate]) -> TextTable:
    rows = []
    for run in runs:
        if (adapted := run.adaptation) is not None:
            drifts = (f"{adapted.drift:.3f}", f"{adapted.largest_drift:.3f}")
            state = "frozen" if adapted.frozen else "learning"
            rows.append([printable(run.label), str(adapted.updates), f"{adapted.good_seconds:.0f}", *drifts, state])
    return TextTable(["run", "changes", "good s", "drift", "largest", "at the end"], rows)


def _drift(runs: Sequence[RunCertificate]) -> str | None:
    """Draw the drift over time, a line per run."""
    curves = [run.adaptation.points for run in runs if run.adaptation and len(run.adaptation.points) > 1]
    end = max((points[-1][0] for points in curves), default=0.0)
    top = max((drift for points in curves for _, drift in points), default=0.0)
    if end <= 0 or top <= 0:
        return None
    step = next(step for step in (5, 10, 30, 60, 120, 300, 600, 1800, 3600, 1 << 30) if end / step <= 6)
    ticks = [tick * step for tick in range(int(end // step) + 1)]
    return Figure(
        title="Drift of the alignment",
        x=Axis(0, end, ticks, "seconds of the run"),
        y=Axis(0, top, [0, top / 2, top], "drift", form=".2f"),
        lines=[Line([x for x, _ in points], [y for _, y in points], css="line") for points in curves],
    ).svg()


def _clocks(runs: Sequence[RunCertificate]) -> TextTable:
    rows = []
    for run in runs:
        for clock in run.clocks:
            figures = (clock.range_s, clock.residual_rms_s, clock.residual_max_s)
            cells = ["–" if value is None else f"{value * 1e6:.1f}" for value in figures]
            drift = "–" if clock.drift_ppm is None else f"{clock.drift_ppm:.2f}"
            label = printable(f"{run.file}, {clock.stream}")
            rows.append([label, str(clock.n_offsets), cells[0], drift, *cells[1:], str(clock.resets)])
    head = ["stream", "offsets", "range, µs", "drift, ppm", "residual RMS, µs", "largest residual, µs", "resets"]
    return TextTable(head, rows)


def _policies(runs: Sequence[RunCertificate]) -> TextTable:
    rows = []
    for run in runs:
        for one in run.policies:
            state = {None: "in force", True: "paused", False: "resumed"}[one["paused"]]
            rows.append([printable(run.label), str(one["seq"]), state, str(one["hash"] or "as before")])
    return TextTable(["run", "from seq", "control", "policy sha256"], rows)


def _events(runs: Sequence[RunCertificate]) -> TextTable:
    rows = []
    for run in runs:
        for event in run.events:
            passed = (event["unix_time"] or 0.0) - (run.begun_unix or 0.0)
            shown = f"{passed:.1f} s" if 0 <= passed < 1e7 else "–"
            rows.append([printable(run.label), shown, printable(str(event["kind"])), printable(str(event["message"]))])
    return TextTable(["run", "after", "kind", "message"], rows)


def _files(found: Certificate) -> TextTable:
    rows = [["recordings"]]
    rows += [[printable(run.file), f"{run.size_bytes} bytes, sha256 {run.sha256}"] for run in found.runs]
    if found.session is not None:
        rows.append(["session.json", f"sha256 {found.session['sha256']}"])
    models = {model.sha256: model for run in found.runs for model in run.models}
    for model in models.values():
        rows.append([printable(f"model {model.name}")])
        rows.append(["identity", f"sha256 {model.sha256}"])
        rows += [[name, f"sha256 {digest}"] for name, digest in model.files.items()]
    return TextTable(["file", "hash"], rows)


def _software(found: Certificate) -> TextTable:
    """Tell what everything was derived again with and, in a column for each difference, what it was recorded with."""
    columns = [("derived again with", dict(_software_rows(found.software)))]
    for run in found.runs:
        rows = dict(_software_rows(run.software)) if run.software else columns[0][1]
        if rows not in [known for _, known in columns]:
            columns.append((printable(f"recorded with ({run.label})"), rows))
    if len(columns) == 1 and all(run.software for run in found.runs):
        columns = [("derived again and recorded with", columns[0][1])]
    parts = dict.fromkeys(part for _, rows in columns for part in rows)
    return TextTable(
        ["part", *(name for name, _ in columns)],
        [[part, *(rows.get(part, "–") for _, rows in columns)] for part in parts],
    )


def _software_rows(side: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Mindwire", printable(str(side.get("mindwire", "–")))
    yield "source sha256", printable(str(side.get("sha256", "–")))
    yield "Python", printable(str(side.get("python", "–")))
    for package, version in dict(side.get("versions", {})).items():
        yield printable(package), printable(str(version))
    yield "system", printable(str(side.get("system", "–")))
    yield "processor", printable(f"{side.get('processor', '–')}, {side.get('cores', '–')} cores")
