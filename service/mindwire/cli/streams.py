"""``mindwire streams``: the LSL streams on the network and their descriptions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from mindwire.cli import options
from mindwire.cli.console import wrapped
from mindwire.cli.groups import option
from mindwire_models.text import counted, printable

if TYPE_CHECKING:
    from mindwire.types import SignalInfo

_JSON_FIELDS = "name type source_id n_channels labels units sfreq dtype hostname uid".split()
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
        fields = [
            {"format" if name == "dtype" else name: getattr(info, name) for name in _JSON_FIELDS} for info in infos
        ]
        typer.echo(json.dumps(fields, indent=2))
    elif infos:
        _print_table(infos)
    else:
        typer.echo(
            "No LSL stream answered. Check that the device's program runs in the same network and that multicast passes; "
            "where it does not, name the machine under KnownPeers in an lsl_api.cfg."
        )


def _facts(info: SignalInfo) -> dict[str, str]:
    return {
        "name": info.name,
        "type": info.type,
        "source_id": info.source_id,
        "channels": str(info.n_channels),
        "labels": " ".join(label or "?" for label in info.labels or ()),
        "unit": ", ".join(sorted(set(info.units or ()) - {""})),
        "rate": f"{info.sfreq:g} Hz" if info.sfreq else "irregular",
        "host": info.hostname,
    }


def _print_table(infos: list[SignalInfo]) -> None:
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in _facts(infos[0]):
        table.add_column(heading, justify="right" if heading in ("channels", "rate") else "left", overflow="fold")
    for facts in map(_facts, infos):
        if len(facts["labels"]) > _LABELS_SHOWN:
            facts["labels"] = facts["labels"][:_LABELS_SHOWN].rsplit(" ", 1)[0] + " …"
        # as plain text: a stream's name may hold what rich would take for markup
        table.add_row(*(Text(printable(cell or "-", _CELL_LENGTH)) for cell in facts.values()))
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
    facts = _facts(info)
    lines = [f"{info.name}: {info.type or 'no type'}, {counted(info.n_channels, 'channel')}, {facts['rate']}"]
    lines += [f"  {name + ':':<11}{facts[name]}" for name in ("source_id", "host", "unit", "labels") if facts[name]]
    return "\n".join(wrapped(printable(line, _LINE_LENGTH), width, 13) for line in lines)
