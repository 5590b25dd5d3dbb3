"""``mindwire inspect``: a description of a bundle, in words and pictures."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mindwire.cli import options
from mindwire.cli.console import wrapped
from mindwire.cli.groups import Given, option

if TYPE_CHECKING:
    from mindwire_models.bundle import Bundle
    from mindwire_models.contract import Contract

_LAYERS, _SPECTRA, _MAPS = "layers.md", "temporal-filters.png", "spatial-filters.png"
_WIDTH = 80
_HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")


def inspect(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    given: Given,
    out: Path | None = option("Folder for pictures of the filters and the table of layers.", None, "--out"),
    force: bool = options.FORCE,
) -> None:
    """Verify a bundle and print its contract, its content and its origin."""
    from mindwire_models.bundle import load_bundle

    if out is not None:
        from mindwire.outputs import check_report

        check_report(out, (_LAYERS, _SPECTRA, _MAPS), inputs=[bundle], force=force)
    else:
        given.refuse("--force", why="--force replaces files at --out")
    loaded = load_bundle(bundle)
    typer.echo(_summary(loaded))
    typer.echo(plain_text(_layers(loaded, out)))


def _summary(bundle: Bundle) -> str:
    from mindwire_models.bundle import CARD

    contract = bundle.contract
    streaming = "no, whole windows" if bundle.streaming is None else "yes, each sample is computed once"
    if bundle.outdated_streaming:
        streaming += ": the streaming graphs are of another version; export the bundle again to stream"
    filters = ", ".join(contract.filters.describe())
    if filters:
        filters += f"; settled after {contract.settling_samples / contract.sfreq:.2f} s"
    rows = [
        ("model", bundle.name),
        ("identity", bundle.sha256),
        ("graph", bundle.graph),
        ("streaming", streaming),
        *_decoder_rows(bundle),
        ("channels", f"{contract.n_channels}: {' '.join(contract.channels)}"),
        ("sampling rate", f"{contract.sfreq:g} Hz"),
        ("unit", contract.unit),
        ("reference", contract.reference or "not stated"),
        ("filters", filters or "none"),
        ("normalisation", _normalisation(contract)),
        ("window", f"{contract.window_samples} samples ({contract.window_samples / contract.sfreq:g} s)"),
        ("hop", f"{contract.hop_samples} samples ({contract.hop_samples / contract.sfreq * 1e3:g} ms)"),
        ("classes", ", ".join(contract.classes)),
        ("temperature", f"{contract.temperature:g}"),
    ]
    if (training := bundle.training) is not None:
        listed = ", ".join(f"{label}={name}" for label, name in training.markers.items())
        rows.append(("markers", listed or "named as the classes"))
        rows.append(("trial", f"decided {training.decided_at_s:.4g} s after its cue"))
    lines = [wrapped(f"{name:15}{value}", _WIDTH, 15) for name, value in rows]
    card = bundle.read(CARD).decode(errors="replace")
    _, _, provenance = card.partition("## Where it comes from")
    lines += ["", "Where it comes from:", *(line for line in plain_text(provenance.strip()).splitlines() if line)]
    lines += ["", "SHA-256:", *(f"  {name}\n    {digest}" for name, digest in sorted(bundle.digests.items()))]
    return "\n".join(lines)


def _decoder_rows(bundle: Bundle) -> list[tuple[str, str]]:
    if bundle.config.get("decoder") == "external":
        return [("decoder", f"{bundle.config.get('source')}, from outside")]
    return [("attention", str(bundle.config.get("attention_mode") or "none"))]


def plain_text(markdown: str) -> str:
    """Return Markdown as text for a terminal of 80 columns: tables aligned, hashes shortened, lines wrapped."""
    lines: list[str] = []
    for is_table, group in itertools.groupby(markdown.splitlines(), key=lambda line: line.startswith("|")):
        if is_table:
            lines += _aligned(list(group))
        else:
            lines += [wrapped(line.removeprefix("## "), _WIDTH, 2 * line.startswith("- ")) for line in group]
    return "\n".join(lines)


def _aligned(table: list[str]) -> list[str]:
    rows = [[_HASH.sub(r"\1…", cell.strip().strip("`")) for cell in line.strip("|").split("|")] for line in table]
    head, rule, *body = rows
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    widths[0] = min(widths[0], max(len(head[0]), _WIDTH - sum(widths[1:]) - 2 * (len(widths) - 1)))
    form = "  ".join(
        f"{{:{'>' if cell.endswith(':') else '<'}{width}}}" for cell, width in zip(rule, widths, strict=True)
    )
    lines = []
    for name, *values in [head, *body]:
        if len(name) > widths[0]:  # too long for its column, it has a line of its own
            lines.append(name)
        lines.append(form.format(name if len(name) <= widths[0] else "", *values).rstrip())
    return lines


def _normalisation(contract: Contract) -> str:
    from mindwire_models.contract import Alignment

    norm = contract.normalisation
    if not isinstance(norm, Alignment):
        return norm.kind
    forgetting = "all the past" if norm.forgetting_seconds is None else f"the last {norm.forgetting_seconds:g} s or so"
    return (
        f"{norm.kind} alignment, {norm.scale}, of {forgetting}, every {norm.update_samples} samples, "
        f"trusted after {norm.ready_samples}"
    )


def _layers(bundle: Bundle, out: Path | None) -> str:
    from mindwire_models.bundle import load_network
    from mindwire_models.errors import BundleError, ContractError, MissingExtraError

    try:
        network = load_network(bundle)
    except (BundleError, MissingExtraError) as error:
        # A bundle of several networks or of none is as good as any; it only has no such layers to show.
        if out is not None:
            raise
        return f"\nNo table of layers: {error}"
    from mindwire.outputs import writing
    from mindwire_models.atomic import replace_file
    from mindwire_models.graphs.folded_weights import fold
    from mindwire_models.views.layers import folded_layers, layer_table, network_layers
    from mindwire_models.views.pictures import draw_spatial_filters, draw_temporal_filters

    tables = layer_table("The network", network_layers(network))
    tables += "\n" + layer_table("The folded graph", folded_layers(network))
    text = "\n" + tables
    if out is None:
        return text
    weights = fold(network)
    with writing(out, "tables and pictures"):
        out.mkdir(parents=True, exist_ok=True)
        replace_file(out / _LAYERS, tables)
        draw_temporal_filters(weights, bundle.contract, out / _SPECTRA)
        text += f"\nWritten to {out}: {_LAYERS}, {_SPECTRA}"
        try:
            draw_spatial_filters(weights, bundle.contract, out / _MAPS)
        except ContractError as error:
            return f"{text}; no scalp maps: {error}"
    return f"{text}, {_MAPS}"
