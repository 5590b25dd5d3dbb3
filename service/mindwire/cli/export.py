"""``mindwire export``: weights from anywhere become a bundle."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from mindwire.cli.evaluate import progress_bar
from mindwire.errors import UsageError
from mindwire_models.text import printable


def export(
    source: Annotated[
        str,
        typer.Argument(
            help="A Lightning .ckpt, a braindecode folder, a Hugging Face Hub id, a file of weights, or a bundle."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the bundle; a bundle there is replaced.")],
    preset: Annotated[str | None, typer.Option(help="Contract that comes with Mindwire, for example bcic2a.")] = None,
    contract: Annotated[Path | None, typer.Option(help="Contract as a JSON file.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="The network's arguments (JSON), or a checkpoint's hyperparameters (YAML).")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model; by default that of the source.")] = None,
    provenance: Annotated[str | None, typer.Option(help="Where the weights come from, for the model card.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Write PyTorch's own graph instead of the fast one.")] = False,
    channels: Annotated[str | None, typer.Option(help="Labels in order, separated by commas.")] = None,
    sfreq: Annotated[float | None, typer.Option(help="Sampling rate in hertz.")] = None,
    unit: Annotated[str | None, typer.Option(help="V, mV, uV or nV.")] = None,
    reference: Annotated[str | None, typer.Option(help="Reference and ground of the training data.")] = None,
    highpass: Annotated[str | None, typer.Option(help="FREQ or FREQ:ORDER in hertz, or none.")] = None,
    lowpass: Annotated[str | None, typer.Option(help="FREQ or FREQ:ORDER in hertz, or none.")] = None,
    notch: Annotated[list[str] | None, typer.Option(help="FREQ or FREQ:Q in hertz, or none; may be repeated.")] = None,
    normalisation: Annotated[str | None, typer.Option(help="none, euclidean or riemannian.")] = None,
    scale: Annotated[str | None, typer.Option(help="Of an alignment: window_sum or sample_mean.")] = None,
    forgetting: Annotated[float | None, typer.Option(help="Of an alignment: time constant in seconds.")] = None,
    window: Annotated[int | None, typer.Option(help="Window in samples.")] = None,
    hop: Annotated[int | None, typer.Option(help="Default hop in samples.")] = None,
    classes: Annotated[str | None, typer.Option(help="Names in the order of the logits, separated by commas.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Softmax temperature.")] = None,
) -> None:
    """Write a model as a bundle: weights, checked ONNX graph, contract, model card."""
    from mindwire.signal.named_channels import check_separators
    from mindwire_models.bundle import check_target
    from mindwire_models.contract import Contract
    from mindwire_models.contract_edit import edit_contract
    from mindwire_models.presets import preset as preset_contract

    if preset is not None and contract is not None:
        msg = "--preset and --contract both give a contract; choose one."
        raise UsageError(msg)
    if preset is not None:
        base: Contract | None = preset_contract(preset)
    else:
        base = None if contract is None else Contract.read(contract)
    check_target(out)
    if out.exists() and Path(source).exists() and out.samefile(source):
        msg = f"--out {out} would write over the model that is read; choose another folder."
        raise UsageError(msg)
    check_separators(_names(channels) or (), "--channels")
    with progress_bar("Exporting"):
        from mindwire_models.export import export_bundle
        from mindwire_models.source import open_source

        opened = open_source(source, config)
        demanded = edit_contract(
            base or opened.contract,
            opened.network,
            channels=_names(channels),
            sfreq=sfreq,
            unit=unit,
            reference=reference,
            highpass=highpass,
            lowpass=lowpass,
            notch=notch,
            normalisation=normalisation,
            scale=scale,
            forgetting=forgetting,
            window=window,
            hop=hop,
            classes=_names(classes),
            temperature=temperature,
        )
        bundle = export_bundle(
            opened.network,
            demanded,
            out,
            name=name or Path(source).stem,
            provenance=provenance or opened.provenance,
            graph="plain" if plain else "folded",
        )
    typer.echo(printable(f"{bundle.path}: {bundle.name}, {bundle.graph} graph, SHA-256 {bundle.sha256[:12]}"))
    typer.echo(printable(f"Run it with: mindwire serve --model {shlex.quote(str(bundle.path))} --stream type=EEG"))


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
