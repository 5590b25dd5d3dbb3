"""``mindwire train``: recordings with cues become a model for this person and this cap."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from mindwire.cli import train_options as options
from mindwire.cli.evaluate import progress_bar, split_files, split_list
from mindwire.errors import UsageError
from mindwire_models.text import printable


def train(
    files: Annotated[
        list[str], typer.Argument(metavar="RECORDING...", help="XDF, or any file that MNE-Python reads, with cues.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the bundle; a bundle there is replaced.")],
    markers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=CLASS",
            help="Which marker means which class: --markers 1=idle 'Stimulus/S  2=left_hand'; split at the last =.",
        ),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Classes in the model's order, comma-separated; else those of --markers.")
    ] = None,
    decoder: Annotated[
        Literal["network", "riemann"], typer.Option(help="AttentionBaseNet, or the tangent-space baseline itself.")
    ] = "network",
    offset: options.Offset = 0.0,
    length: options.Length = None,
    slide: options.Slide = None,
    at: Annotated[
        float | None, typer.Option(help="Seconds after the cue at which trials are decided; else their end.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Contract that comes with Mindwire, for example bcic2a.")] = None,
    contract: Annotated[Path | None, typer.Option(help="Contract as a JSON file.")] = None,
    channels: Annotated[
        str | None, typer.Option(help="Labels by position, comma-separated, for recordings that name no channels.")
    ] = None,
    pick: options.Pick = None,
    sfreq: options.Sfreq = None,
    window: options.WindowSeconds = None,
    hop: options.HopSeconds = None,
    highpass: options.Highpass = None,
    lowpass: options.Lowpass = None,
    notch: options.Notch = None,
    normalisation: options.Normalisation = None,
    forgetting: options.Forgetting = None,
    unit: Annotated[str | None, typer.Option(help="Unit of the samples where the recording states none.")] = None,
    rate: Annotated[
        float | None, typer.Option(min=1.0, help="Rate in hertz of recordings whose nominal rate is missing or wrong.")
    ] = None,
    reference: Annotated[str | None, typer.Option(help="Reference and ground, for the contract.")] = None,
    stream: Annotated[str | None, typer.Option(help="The signal: name=…,type=…,source_id=…,id=…")] = None,
    marker_stream: Annotated[
        str | None,
        typer.Option(help="Marker stream by name, source id, number in the file, or stimulus channel; all without it."),
    ] = None,
    start: options.Start = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the trials.")] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Argument of the network: attention_mode=se; may be repeated."),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Part of the recipe: learning_rate=5e-4, mixup=0.2; may be repeated."),
    ] = None,
    members: options.Members = 1,
    seed: Annotated[int, typer.Option(help="Seed of the first network.")] = 0,
    folds: Annotated[
        int | None, typer.Option(min=0, help="Folds of the validation; else one per recording. 0 leaves it out.")
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=V,V,…", help="Validate each value, attention_mode=none,se, and write no bundle."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds per value of a sweep.")] = 1,
    workers: Annotated[int | None, typer.Option(min=1, help="Trainings side by side; else one per core.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model; else that of the folder.")] = None,
) -> None:
    """Train a model on recordings through the live pipeline, validate it beside the baseline, write a bundle."""
    from rich.console import Console

    from mindwire.cli.train_options import base_contract, parse_network, parse_recipe, parse_sweep
    from mindwire.evaluation.pseudo_online import RunSettings
    from mindwire.offline.trials import parse_marker_map
    from mindwire.options import PipelineOptions
    from mindwire.signal.named_channels import split_labels
    from mindwire.sources.recording import Selector
    from mindwire.training import run as calibration_run
    from mindwire.training.contract import ContractChoices
    from mindwire_models.bundle import check_target

    parse_marker_map(markers or [])  # before what follows it is taken for recordings
    paths, assignments = split_files(files, expect_assignments=bool(markers))
    mapping = parse_marker_map([*(markers or []), *assignments])
    named = split_list(classes) or list(dict.fromkeys(mapping.values()))
    if len(named) < 2:
        msg = (
            "Training needs at least two classes: name them with --classes, or with --markers 2=left_hand 3=right_hand."
        )
        raise UsageError(msg)
    labels = split_labels(channels)
    plan = calibration_run.Plan(
        paths=paths,
        classes=tuple(named),
        settings=RunSettings(
            markers=mapping,
            marker_stream=marker_stream,
            stream=Selector.parse(stream) if stream else None,
            pipeline=PipelineOptions(channels=None if labels is None else tuple(labels), unit=unit, sfreq=rate),
        ),
        base=base_contract(preset, contract),
        choices=ContractChoices(
            pick=split_labels(pick),
            sfreq=sfreq,
            window_s=window,
            hop_s=hop,
            highpass=highpass,
            lowpass=lowpass,
            notch=notch,
            normalisation=normalisation,
            forgetting=forgetting,
            reference=reference,
        ),
        offset=offset,
        length=length,
        slide=slide,
        decided_at=at,
        n_folds=folds,
        workers=workers,
    )
    if not sweep:
        check_target(out)
    console = Console()
    with progress_bar("Conditioning") as progress:
        prepared = calibration_run.prepare(plan, progress)
    console.print(calibration_run.describe(prepared), highlight=False, markup=False)
    with progress_bar("Preparing"):  # PyTorch takes seconds to load
        candidate = calibration_run.candidate(prepared.contract, start)
        candidate = replace(
            candidate,
            recipe=parse_recipe(candidate.recipe, recipe or [], epochs=epochs, seed=seed),
            network_arguments={**candidate.network_arguments, **parse_network(network or [])},
            members=members,
        )
    if sweep:
        with progress_bar("Training") as progress:
            console.print(calibration_run.sweep(prepared, candidate, parse_sweep(sweep), seeds, progress))
        return
    with progress_bar("Training") as progress:
        if decoder == "riemann":
            result = calibration_run.train_riemann(prepared)
        else:
            result = calibration_run.train_network(prepared, candidate, progress)
    with progress_bar("Writing the bundle"):
        bundle = calibration_run.write(result, out, name or out.name)
    console.print(calibration_run.summary(result))
    run = f"mindwire serve --model {shlex.quote(str(bundle.path))} --stream type=EEG"
    console.print(printable(f"Wrote {bundle.path}; run it with: {run}"), highlight=False, markup=False, soft_wrap=True)
