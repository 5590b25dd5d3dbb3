"""``mindwire streams``: the LSL streams on the network and their descriptions."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

import typer

from mindwire.cli import options
from mindwire.cli.groups import option

if TYPE_CHECKING:
    from mindwire.types import SignalInfo

_LABELS_SHOWN = 60
_FILE_WIDTH = 200
_LINE_LENGTH = 400
_CELL_LENGTH = 200


def streams(
    timeout: float = option("Seconds to collect answers.", 1.0, min=0.1),
    as_json: bool = options.AS_JSON,
) -> None:
    """List the LSL streams on the network."""
    from mindwire.sources.lsl_discovery import survey

    infos = survey(timeout)
    if as_json:
        typer.echo(json.dumps([_as_dict(info) for info in infos], indent=2))
        return
    if not infos:
        typer.echo(
            "No LSL stream answered. Check that the device's program runs in the same network and that multicast passes; "
            "where it does not, name the machine under KnownPeers in an lsl_api.cfg."
        )
        return
    _print_table(infos)


def _as_dict(info: SignalInfo) -> dict[str, object]:
    return {
        "name": info.name,
        "type": info.type,
        "source_id": info.source_id,
        "n_channels": info.n_channels,
        "labels": list(info.labels) if info.labels else None,
        "units": list(info.units) if info.units else None,
        "sfreq": info.sfreq,
        "format": info.dtype,
        "hostname": info.hostname,
        "uid": info.uid,
    }


def _print_table(infos: list[SignalInfo]) -> None:
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    from mindwire_models.text import printable

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("name", "type", "source_id", "channels", "labels", "unit", "rate", "host"):
        table.add_column(heading, justify="right" if heading in ("channels", "rate") else "left", overflow="fold")
    for info in infos:
        labels = " ".join(label or "?" for label in info.labels or ())
        shown = labels if len(labels) <= _LABELS_SHOWN else labels[:_LABELS_SHOWN].rsplit(" ", 1)[0] + " …"
        cells = (
            info.name,
            info.type or "-",
            info.source_id or "-",
            str(info.n_channels),
            shown or "-",
            ", ".join(sorted(set(info.units or ()) - {""})) or "-",
            f"{info.sfreq:g} Hz" if info.sfreq else "irregular",
            info.hostname or "-",
        )
        # as plain text: a stream's name may hold what rich would take for markup
        table.add_row(*(Text(printable(cell, _CELL_LENGTH)) for cell in cells))
    console = Console()
    if not console.is_terminal:
        Console(width=_FILE_WIDTH).print(table)
    elif Measurement.get(console, console.options.update(max_width=_FILE_WIDTH), table).maximum <= console.width:
        console.print(table)
    else:
        for info in infos:
            typer.echo(_block(info, console.width))


def _block(info: SignalInfo, width: int) -> str:
    """Return a stream on several lines, for a terminal narrower than the table."""
    from mindwire_models.text import counted, printable

    rate = f"{info.sfreq:g} Hz" if info.sfreq else "irregular"
    channels = counted(info.n_channels, "channel")
    facts = {
        "source_id": info.source_id,
        "host": info.hostname,
        "unit": ", ".join(sorted(set(info.units or ()) - {""})),
        "labels": " ".join(label or "?" for label in info.labels or ()),
    }
    lines = [f"{info.name}: {info.type or 'no type'}, {channels}, {rate}"]
    lines += [f"  {name + ':':<11}{value}" for name, value in facts.items() if value]
    return "\n".join(
        textwrap.fill(printable(line, _LINE_LENGTH), width, subsequent_indent=" " * 13, break_on_hyphens=False)
        for line in lines
    )
