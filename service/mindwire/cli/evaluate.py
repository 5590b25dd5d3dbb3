"""``mindwire evaluate``: how good a model would have been, live, on recordings with cues."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from mindwire.cli import train_options as options
from mindwire.errors import UsageError

if TYPE_CHECKING:
    from mindwire.evaluation.pseudo_online import Progress

_ASSIGNMENT = re.compile(r".*\S\s*=\s*\S.*", re.DOTALL)
_RECORDINGS = (".xdf", ".xdfz", ".gz", ".edf", ".bdf", ".gdf", ".vhdr", ".fif", ".set", ".cnt", ".mat")


class EvaluateCommand(TyperCommand):
    """Gives ``--train`` every name up to the next option, for that is what a shell makes of ``--train day1*.xdf``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments, ``--train`` repeated before each of its names."""
        return super().parse_args(ctx, spread_option(args, "--train"))


COMMAND_CLASS = EvaluateCommand


def spread_option(arguments: list[str], option: str) -> list[str]:
    """``--train a b --at 4`` as ``--train a --train b --at 4``."""
    spread: list[str] = []
    inside = first = False
    for argument in arguments:
        if argument.startswith("-"):
            inside = first = argument == option
            spread.append(argument)
        else:
            spread += [argument] if first or not inside else [option, argument]
            first = False
    return spread


def evaluate(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Recordings with cue markers: XDF, or what MNE-Python reads.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for report.json and report.html.")],
    model: Annotated[Path | None, typer.Option(help="Bundle to evaluate; live recordings name theirs.")] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Classes to decide between, comma-separated; fewer than the model's are renormalised."),
    ] = None,
    markers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=CLASS",
            help="Which marker means which class: --markers 1=idle 'Stimulus/S  2=left_hand'; split at the last =.",
        ),
    ] = None,
    at: Annotated[
        float | None,
        typer.Option(help="Seconds after the cue at which a trial is decided; else as in training, or at 4 s."),
    ] = None,
    stream: Annotated[str | None, typer.Option(help="The signal: name=…,type=…,source_id=…,id=…")] = None,
    marker_stream: Annotated[
        str | None,
        typer.Option(help="Marker stream by name, source id, number in the file, or stimulus channel; all without it."),
    ] = None,
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
    allow_training_data: Annotated[
        bool,
        typer.Option("--allow-training-data", help="Evaluate also what the bundle was trained on; the report says so."),
    ] = False,
    idle: Annotated[
        str | None, typer.Option(help="Class that asks for nothing; else one called idle, rest or nothing.")
    ] = None,
    activation: Annotated[
        float,
        typer.Option(
            help="Probability at which a program would act, to count false activations (actions during idle)."
        ),
    ] = 0.6,
    dwell: Annotated[float, typer.Option(help="Seconds for which a class must have it.")] = 0.5,
    views: Annotated[
        bool,
        typer.Option(
            "--views",
            help="Add pictures of the network: temporal filters as spectra, patterns as scalp maps, attention.",
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
    engine: Annotated[Literal["auto", "onnxruntime", "torch"], typer.Option(help="Inference engine.")] = "auto",
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Device.")] = "auto",
    protocol: Annotated[
        Literal["wimpff2024"] | None,
        typer.Option(
            help="Instead of a bundle: train and score by a paper's protocol on BCI Competition IV 2a (A01T.gdf "
            "A01E.gdf … or .mat), beside the live pipeline. The protocol itself does not run live."
        ),
    ] = None,
    attention: Annotated[str, typer.Option(help="With --protocol: the network's attention.")] = "none",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of --protocol, the paper's unless given; of a training, as train.")
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="With --protocol, --leave-one-out or --train: how many seeds of the network.")
    ] = 1,
    leave_one_out: Annotated[
        bool,
        typer.Option(
            "--leave-one-out",
            help="Instead of a bundle: train on all recordings but one and evaluate on that, each in turn.",
            rich_help_panel=options.TRAINING,
        ),
    ] = False,
    train: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE...",
            help="Instead of a bundle: train on these recordings, all names up to the next option, of another session.",
            rich_help_panel=options.TRAINING,
        ),
    ] = None,
    decoder: Annotated[
        Literal["network", "riemann", "both"],
        typer.Option(
            help="What to train: the network, the tangent-space baseline, or both.", rich_help_panel=options.TRAINING
        ),
    ] = "both",
    preset: Annotated[
        str | None,
        typer.Option(help="Contract that comes with Mindwire; else as train.", rich_help_panel=options.TRAINING),
    ] = None,
    contract: Annotated[
        Path | None, typer.Option(help="Contract as a JSON file.", rich_help_panel=options.TRAINING)
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Argument of the network, as train; may be repeated.",
            rich_help_panel=options.TRAINING,
        ),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="Part of the recipe, as train; may be repeated.", rich_help_panel=options.TRAINING
        ),
    ] = None,
    offset: options.Offset = 0.0,
    length: options.Length = None,
    slide: options.Slide = None,
    pick: options.Pick = None,
    sfreq: options.Sfreq = None,
    window: options.WindowSeconds = None,
    hop: options.HopSeconds = None,
    highpass: options.Highpass = None,
    lowpass: options.Lowpass = None,
    notch: options.Notch = None,
    normalisation: options.Normalisation = None,
    forgetting: options.Forgetting = None,
    start: options.Start = None,
    members: options.Members = 1,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Trainings side by side; else one per core.", rich_help_panel=options.TRAINING),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files in --out that Mindwire did not write.")] = False,
) -> None:
    """Play recordings through the live pipeline and report how many trials it decides right.

    Each trial is decided by the newest prediction that existed so many seconds after its cue. Markers, channels, unit
    and that moment are those that the bundle was trained with, unless given. The report
    gives accuracy with its interval, chance, κ, confusion, accuracy over time, transfer rate, calibration and, where
    a class is idle, false activations per minute and the time to a right one. Recordings of another day tell how
    a model carries over. With --leave-one-out or --train, network and baseline are trained first and compared on
    recordings that they have not met.
    """
    from mindwire.cli import evaluate_bundle, evaluate_protocol
    from mindwire.cli import evaluate_held_out as held_out
    from mindwire.evaluation.idle import ActivationRule
    from mindwire.evaluation.pseudo_online import RunSettings
    from mindwire.evaluation.scores import AlignmentMode
    from mindwire.offline.recorded_bundle import bundle_path
    from mindwire.offline.trials import parse_marker_map
    from mindwire.options import PipelineOptions
    from mindwire.outputs import PICTURES, check_report
    from mindwire.signal.named_channels import split_labels
    from mindwire.sources.recording import Selector, open_recording
    from mindwire.training.contract import ContractChoices

    alone = [
        o for o, given in (("--protocol", protocol), ("--leave-one-out", leave_one_out), ("--train", train)) if given
    ]
    if len(alone) > 1:
        msg = f"{' and '.join(alone)} are different evaluations; choose one."
        raise UsageError(msg)
    check_report(
        out,
        ("protocol.json",) if protocol else ("report.json", "report.html", *(PICTURES if views else ())),
        inputs=[model, contract, *(Path(text) for text in [*files, *(train or [])] if text)],
        force=force,
    )
    if protocol is not None:
        evaluate_protocol.run(files, out, model, attention=attention, epochs=epochs, seeds=seeds)
        return
    if at is not None and not at > 0:
        msg = f"--at must be above 0 seconds, found {at:g}."
        raise UsageError(msg)
    parse_marker_map(markers or [])  # before what follows it is taken for recordings
    paths, assignments = split_files(files, expect_assignments=bool(markers))
    rule = ActivationRule(activation, dwell)
    labels = split_labels(channels)
    settings = RunSettings(
        markers=parse_marker_map([*(markers or []), *assignments]),
        marker_stream=marker_stream,
        stream=Selector.parse(stream) if stream else None,
        alignment=AlignmentMode(alignment),
        pipeline=PipelineOptions(
            channels=None if labels is None else tuple(labels),
            unit=unit,
            sfreq=rate,
            bad_channels=bad_channels,
            bridge_seconds=bridge_ms / 1e3,
            adapt=adapt,
        ),
    )
    choices = ContractChoices(
        pick=split_labels(pick),
        sfreq=sfreq,
        window_s=window,
        hop_s=hop,
        highpass=highpass,
        lowpass=lowpass,
        notch=notch,
        normalisation=normalisation,
        forgetting=forgetting,
    )
    if leave_one_out or train:
        if model is not None or views:
            msg = f"{alone[0]} trains decoders of its own, which are not kept; leave out --model and --views."
            raise UsageError(msg)
        held_out.run(
            held_out.Choices(
                paths=paths,
                train=None if leave_one_out else split_files(train or [], expect_assignments=False)[0],
                classes=split_list(classes),
                at=at,
                beside=None if beside is None else AlignmentMode(beside),
                decoder=decoder,
                base=options.base_contract(preset, contract),
                contract=choices,
                offset=offset,
                length=length,
                slide=slide,
                start=start,
                members=members,
                network=network or [],
                recipe=recipe or [],
                epochs=epochs,
                seeds=seeds,
                workers=workers,
                idle=idle,
                rule=rule,
                engine=engine,
                device=device,
                out=out,
            ),
            settings,
        )
        return
    if model is None:
        own = [open_recording(path) for path in paths if ".xdf" in path.name.casefold()]
        model, sentence = bundle_path(None, own, None)
        if sentence:
            typer.echo(sentence)
    if model is None:
        msg = "Say which bundle to evaluate with --model BUNDLE, or train first with --leave-one-out or --train."
        raise UsageError(msg)
    if choices != ContractChoices() or (offset, length, slide, start, members) != (0.0, None, None, None, 1):
        msg = (
            "Options of a training, such as --length or --window, change nothing of a bundle; leave them out, or train "
            "with --leave-one-out or --train."
        )
        raise UsageError(msg)
    evaluate_bundle.run(
        evaluate_bundle.Choices(
            model=model,
            paths=paths,
            classes=split_list(classes),
            at=at,
            beside=None if beside is None else AlignmentMode(beside),
            idle=idle,
            rule=rule,
            views=views,
            engine=engine,
            device=device,
            out=out,
            allow_training_data=allow_training_data,
        ),
        settings,
    )


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
    assignments = [text for text in arguments if expect_assignments and _is_assignment(text)]
    paths = [Path(text) for text in arguments if text not in assignments]
    if not paths:
        msg = "Expected at least one recording to read, found none; name a file."
        raise UsageError(msg)
    missing = [str(path) for path in paths if not _exists(str(path))]
    if missing:
        hint = "check the path" if not _is_assignment(missing[0]) else "LABEL=CLASS is given after --markers"
        msg = f"{missing[0]}: there is no such recording; {hint}."
        raise UsageError(msg)
    return paths, assignments


def _is_assignment(text: str) -> bool:
    """Whether an argument is ``LABEL=CLASS`` rather than a recording."""
    return _ASSIGNMENT.fullmatch(text) is not None and not text.casefold().endswith(_RECORDINGS) and not _exists(text)


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # longer than a file's name may be, or with characters that none has
        return False


@contextmanager
def progress_bar(title: str) -> Iterator[Progress | None]:
    """A progress bar when on a terminal, nothing otherwise: it moves at once, and has a share from the first step on."""
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with Bar(*Bar.get_default_columns(), TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total) if done else None
