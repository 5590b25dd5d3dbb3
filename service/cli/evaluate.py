"""``mindwire evaluate``: how good a model would have been, live, on recordings with cues."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from service.errors import UsageError

if TYPE_CHECKING:
    from service.pseudo_online import Progress

_ASSIGNMENT = re.compile(r"[^=]+=[A-Za-z_][\w.-]*")


def evaluate(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Recordings with cue markers, XDF.")],
    out: Annotated[Path, typer.Option(help="Folder for report.json and report.html.")],
    model: Annotated[Path | None, typer.Option(help="Bundle to evaluate.")] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Classes to decide between, comma-separated; fewer than the model's are renormalised."),
    ] = None,
    markers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=CLASS", help="Which marker means which class, 2=left_hand; markers named so need none."
        ),
    ] = None,
    at: Annotated[float, typer.Option(help="Seconds after the cue at which a trial is decided.")] = 4.0,
    stream: Annotated[str | None, typer.Option(help="The signal: name=…,type=…,source_id=…,id=…")] = None,
    marker_stream: Annotated[str | None, typer.Option(help="Name of the marker stream; without it, all.")] = None,
    channels: Annotated[
        str | None, typer.Option(help="Labels by position, comma-separated, for a recording that names no channels.")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="Unit of the samples where the recording states none.")] = None,
    alignment: Annotated[
        Literal["online", "frozen", "off"],
        typer.Option(help="online as live, frozen at the bundle's warm start, or off."),
    ] = "online",
    beside: Annotated[
        Literal["online", "frozen", "off"] | None,
        typer.Option(help="Another --alignment to run as well, side by side: what adaptation is worth."),
    ] = None,
    idle: Annotated[
        str | None, typer.Option(help="Class that asks for nothing; else one called idle, rest or nothing.")
    ] = None,
    activation: Annotated[
        float, typer.Option(help="Probability at which a program would act, for false activations.")
    ] = 0.6,
    dwell: Annotated[float, typer.Option(help="Seconds for which a class must have it.")] = 0.5,
    views: Annotated[
        bool,
        typer.Option(
            "--views", help="Draw the network too: temporal filters as spectra, spatial ones as scalp maps, attention."
        ),
    ] = False,
    rate: Annotated[
        float | None, typer.Option(min=1.0, help="Rate in hertz to accept where the nominal rate is wrong.")
    ] = None,
    bad_channels: Annotated[
        Literal["auto", "interpolate", "invalidate"],
        typer.Option(help="What becomes of bad channels: auto interpolates when they are few."),
    ] = "auto",
    bridge_ms: Annotated[
        float, typer.Option(min=0.0, help="Gaps up to this many milliseconds are bridged and flagged.")
    ] = 40.0,
    adapt: Annotated[
        Literal["alignment", "bn", "entropy"],
        typer.Option(help="What follows the person, as for serve: bn and entropy run the network in PyTorch."),
    ] = "alignment",
    engine: Annotated[Literal["auto", "onnxruntime", "torch"], typer.Option(help="What runs the model.")] = "auto",
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where it runs.")] = "auto",
    protocol: Annotated[
        Literal["wimpff2024"] | None,
        typer.Option(
            help="Instead of a bundle: train and score by a paper's protocol on BCI Competition IV 2a (A01T.gdf "
            "A01E.gdf … or .mat), beside the live pipeline. The protocol itself does not run live."
        ),
    ] = None,
    attention: Annotated[str, typer.Option(help="With --protocol: the network's attention.")] = "none",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="With --protocol: epochs, the paper's unless given.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="With --protocol: how many seeds.")] = 1,
) -> None:
    """Play recordings through the live pipeline and report how many trials it decides right.

    Each trial is decided by the newest prediction that existed so many seconds after its cue. The report
    gives accuracy with its interval, chance, κ, confusion, accuracy over time, transfer rate, calibration and, where
    a class is idle, false activations per minute and the time to a right one. Recordings of another day tell how
    a model carries over; to hold out each of the recordings that it is trained on, see mindwire train.
    """
    from dataclasses import replace

    from rich.console import Console

    from models.bundle import load_bundle
    from service.evaluation import AlignmentMode, score_runs
    from service.evaluation_idle import ActivationRule, idle_class, idle_figures
    from service.evaluation_views import draw_views
    from service.inference.load import load_decoder
    from service.options import PipelineOptions
    from service.pseudo_online import RunSettings, choose_classes, run_recordings
    from service.report import Beside, describe_run, headline, idle_sentence, table
    from service.report_page import write_report
    from service.sources.recording import Selector
    from service.trials import parse_marker_map

    if protocol is not None:
        _run_protocol(files, out, model, attention=attention, epochs=epochs, seeds=seeds)
        return
    if model is None:
        msg = "Say which bundle to evaluate with --model BUNDLE."
        raise UsageError(msg)
    if not at > 0:
        msg = f"--at must be above 0 seconds, found {at:g}."
        raise UsageError(msg)
    paths, assignments = split_files(files, expect_assignments=bool(markers))
    bundle = load_bundle(model)
    chosen = choose_classes(split_list(classes), bundle.contract)
    rule, at_rest = ActivationRule(activation, dwell), idle_class(idle, chosen)
    labels = split_list(channels)
    settings = RunSettings(
        markers=parse_marker_map([*(markers or []), *assignments]),
        marker_stream=marker_stream,
        stream=Selector.parse(stream) if stream else None,
        alignment=AlignmentMode(alignment),
        pipeline=PipelineOptions(
            channels=tuple(labels) if labels else None,
            unit=unit,
            sfreq=rate,
            bad_channels=bad_channels,
            bridge_seconds=bridge_ms / 1e3,
            adapt=adapt,
        ),
    )
    decoder = load_decoder(bundle, engine=engine, device=device, adapt=adapt, purpose="recording")
    hop_s = bundle.contract.hop_samples / bundle.contract.sfreq
    with progress_bar("Evaluating") as progress:
        runs = run_recordings(paths, bundle.contract, decoder, classes=chosen, settings=settings, progress=progress)
    overall, scores = score_runs(runs, bundle.contract, chosen, at, hop_s=hop_s)
    other = None
    if beside is not None:
        otherwise = replace(settings, alignment=AlignmentMode(beside))
        with progress_bar(f"Evaluating, alignment {beside}") as progress:
            again = run_recordings(
                paths, bundle.contract, decoder, classes=chosen, settings=otherwise, progress=progress
            )
        everything, each = score_runs(again, bundle.contract, chosen, at, hop_s=hop_s)
        other = Beside(alignment=otherwise.alignment, overall=everything, runs=each)
    report = describe_run(
        overall,
        scores,
        bundle=bundle,
        decoder=decoder,
        classes=chosen,
        at_s=at,
        alignment=settings.alignment,
        idle=None if at_rest is None else idle_figures(runs, bundle.contract, chosen, idle=at_rest, at_s=at, rule=rule),
        beside=other,
    )
    pictures = draw_views(bundle, paths, chosen, at, settings=settings, folder=out) if views else []
    written = [*write_report(report, out, pictures), *pictures]
    console = Console()
    console.print(table(report))
    console.print(headline(report), highlight=False)
    if report.idle is not None:
        console.print(idle_sentence(report.idle), highlight=False)
    console.print(f"Wrote {', '.join(str(path) for path in written)}.", highlight=False, soft_wrap=True)


def _run_protocol(
    files: list[str], out: Path, model: Path | None, *, attention: str, epochs: int | None, seeds: int
) -> None:
    """Train and score by the authors' protocol; write ``protocol.json``."""
    from rich.console import Console

    from service.errors import MissingExtraError, RecordingError
    from service.protocols.bcic2a import read_sessions

    if model is not None:
        msg = "--protocol trains networks of its own; leave out --model."
        raise UsageError(msg)
    paths, _ = split_files(files, expect_assignments=False)
    try:
        from models.attention import ATTENTION_MODES
        from service.protocols import wimpff2024
        from service.protocols.wimpff2024_published import published
    except ImportError as error:
        msg = "--protocol trains, which takes PyTorch and MNE-Python; pip install 'mindwire[train]'."
        raise MissingExtraError(msg) from error
    if attention not in {"none", *ATTENTION_MODES}:
        msg = f"--attention {attention}: known are none, {', '.join(ATTENTION_MODES)}."
        raise UsageError(msg)
    chosen = {"epochs": epochs} if epochs is not None else {}
    settings = wimpff2024.Settings(
        seeds=tuple(range(seeds)),
        network_arguments=published(None if attention == "none" else attention).network_arguments,
        **chosen,
    )
    people = read_sessions(paths)
    with progress_bar("Training") as progress:
        report = wimpff2024.run_protocol(people, settings, progress)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "protocol.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        msg = f"{out}: the report cannot be written ({error.strerror}); choose another place with --out."
        raise RecordingError(msg) from error
    console = Console()
    console.print(wimpff2024.table(report))
    console.print(wimpff2024.published_table(report))
    console.print(f"Wrote {out / 'protocol.json'}.", highlight=False, soft_wrap=True)


def split_list(text: str | None) -> list[str] | None:
    """Names from a comma-separated option; None when it was not given."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def split_files(arguments: list[str], *, expect_assignments: bool) -> tuple[list[Path], list[str]]:
    """Tell recordings from further ``LABEL=CLASS`` after ``--markers``, which the shell puts among the files.

    Returns
    -------
    files : list of Path
    assignments : list of str

    Raises
    ------
    UsageError
        No file is left, or one does not exist.
    """
    assignments = [
        text for text in arguments if expect_assignments and _ASSIGNMENT.fullmatch(text) and not Path(text).exists()
    ]
    paths = [Path(text) for text in arguments if text not in assignments]
    if not paths:
        msg = "Expected at least one recording to read, found none; name a file."
        raise UsageError(msg)
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        msg = f"{missing[0]}: there is no such recording; check the path."
        raise UsageError(msg)
    return paths, assignments


@contextmanager
def progress_bar(title: str) -> Iterator[Progress | None]:
    """A progress bar with the time left when on a terminal; nothing otherwise."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with Bar(console=console, transient=True) as bar:
        task = bar.add_task(title)
        yield lambda done, total: bar.update(task, completed=done, total=total)
