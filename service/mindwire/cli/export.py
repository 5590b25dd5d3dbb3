"""``mindwire export``: weights from anywhere become a bundle."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from mindwire.cli import options
from mindwire.cli.console import print_run_command, progress_bar
from mindwire.cli.groups import option
from mindwire.cli.train_options import base_contract
from mindwire.errors import UsageError
from mindwire_models.text import printable


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms of the contract; the fields are named as ``edit_contract`` has them, but for the samples of ``window`` and ``hop``."""

    PANEL = "Contract"
    channels: str | None = options.CHANNELS
    sfreq: float | None = option("Sampling rate in Hz.")
    unit: str | None = options.UNIT
    reference: str | None = option("Reference and ground of the training data.")
    highpass: str | None = option("FREQ or FREQ:ORDER in Hz, or none.")
    lowpass: str | None = option("FREQ or FREQ:ORDER in Hz, or none.")
    notch: list[str] | None = option("FREQ or FREQ:Q in Hz, or none; may be repeated.")
    normalisation: str | None = option("none, euclidean or riemannian.")
    scale: str | None = option("Of an alignment: window_sum or sample_mean.")
    forgetting: float | None = option("Of an alignment: time constant in seconds.")
    window: int | None = option("Window in samples.")
    hop: int | None = option("Default hop in samples.")
    classes: str | None = option("Names in the order of the logits, comma-separated.")
    temperature: float | None = option("Softmax temperature.")


def export(
    source: Annotated[
        str,
        typer.Argument(
            help="A Lightning .ckpt, a braindecode folder, a Hugging Face Hub id, an ONNX file, an exported program of "
            "PyTorch (.pt2), a pipeline of scikit-learn (.joblib), a file of weights, or a bundle."
        ),
    ],
    out: options.BundleFolder,
    terms: Terms,
    preset: str | None = options.PRESET,
    contract: Path | None = options.CONTRACT,
    config: Path | None = option("The network's arguments (JSON), or a checkpoint's hyperparameters (YAML)."),
    architecture: str | None = option("Class of braindecode.models, where arguments and weights do not tell."),
    output: Literal["logits", "probabilities"] | None = option(
        "Outputs of an ONNX file or another decoder from outside; by default, what they look like."
    ),
    trust_pickle: bool = option(
        "Load a pipeline's file or an exported program, which runs whatever code it holds.", False, "--trust-pickle"
    ),
    name: str | None = options.NAME,
    provenance: str | None = option("Origin of the weights, for the model card."),
    plain: bool = option("Write PyTorch's own graph instead of the fast one.", False, "--plain"),
) -> None:
    """Write a model as a bundle: weights, checked ONNX graph, contract, model card.

    Any decoder of windows can be exported, also those of other programs: see docs/bring-your-own-decoder.md.
    """
    from mindwire.signal.named_channels import check_separators
    from mindwire_models.bundle import check_target
    from mindwire_models.contract_edit import edit_contract

    base = base_contract(preset, contract)
    name = name or Path(source).stem
    check_target(out, name)
    if out.exists() and Path(source).exists() and out.samefile(source):
        msg = f"--out {out} would write over the model that is read; choose another folder."
        raise UsageError(msg)
    edits = asdict(terms)
    edits |= {key: options.split_list(edits[key]) for key in ("channels", "classes")}
    edits |= {f"{key}_samples": edits.pop(key) for key in ("window", "hop")}
    check_separators(edits["channels"] or (), "--channels")
    warnings: list[str] = []
    with progress_bar("Exporting"):
        from mindwire_models.external import ExternalDecoder, export_external
        from mindwire_models.pipelines import FittedPipeline
        from mindwire_models.source import open_source

        opened = open_source(source, config, architecture=architecture, output=output, trust_pickle=trust_pickle)
        demanded = edit_contract(base or opened.contract or opened.network, **edits)
        same = opened.contract is not None and demanded.classes == opened.contract.classes
        policy, origin = opened.policy if same else None, provenance or opened.provenance
        decoder = opened.network
        if output is not None and not isinstance(decoder, ExternalDecoder):
            msg = "--output says what an ONNX file or another network gives; leave it out here."
            raise UsageError(msg)
        if isinstance(decoder, FittedPipeline):
            warnings += decoder.doubts
            decoder = decoder.decoder(demanded)
        if isinstance(decoder, ExternalDecoder):
            bundle = export_external(
                decoder, demanded, out, name=name, provenance=origin, policy=policy, warn=warnings.append
            )
        else:
            from mindwire_models.export import export_bundle

            graph: Literal["plain", "folded"] = "plain" if plain else "folded"
            bundle = export_bundle(decoder, demanded, out, name=name, provenance=origin, graph=graph, policy=policy)
    for warning in warnings:
        typer.echo(printable(f"warning: {warning}"), err=True)
    if opened.policy is not None and not same:
        typer.echo("The control policy was left out, for the classes are others.")
    typer.echo(printable(f"{bundle.path}: {bundle.name}, {bundle.graph} graph, SHA-256 {bundle.sha256[:12]}"))
    print_run_command(bundle, "Run it with")
