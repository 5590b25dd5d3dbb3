"""Train and score by the protocol of Wimpff et al. 2024 and through the live pipeline.

    python -m benchmarks.wimpff2024 A01T.gdf A01E.gdf … --out FOLDER [--attention se] [--epochs 1000] [--seeds 5]

The files are those of BCI Competition IV data set 2a (GDF or MAT, both days of each person). Needs the extra ``train``.
Writes ``protocol.json`` and prints two tables: both protocols person by person, and the table of the paper.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from benchmarks.wimpff2024 import protocol
from benchmarks.wimpff2024.bcic2a import read_sessions
from benchmarks.wimpff2024.published import published
from mindwire.errors import MindwireError
from mindwire.outputs import writing
from mindwire_models.atomic import replace_file
from mindwire_models.network.attention import ATTENTION_MODES


def main(arguments: list[str] | None = None) -> int:
    """Run the protocol and return the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.wimpff2024", description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, help="A01T.gdf A01E.gdf … or .mat")
    parser.add_argument("--out", required=True, type=Path, help="folder for protocol.json")
    parser.add_argument("--attention", choices=["none", *ATTENTION_MODES], default="none")
    parser.add_argument("--epochs", type=int, default=protocol.EPOCHS)
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds")
    options = parser.parse_args(arguments)
    row = published(None if options.attention == "none" else options.attention)
    settings = protocol.Settings(options.epochs, tuple(range(options.seeds)), row.network_arguments)
    console = Console()
    try:
        people = read_sessions(options.files)
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("Training", total=None)
            report = protocol.run_protocol(
                people, settings, lambda done, total: bar.update(task, completed=done, total=total)
            )
        with writing(options.out, "the report"):
            options.out.mkdir(parents=True, exist_ok=True)
            replace_file(options.out / "protocol.json", report.model_dump_json(indent=2) + "\n")
    except MindwireError as error:
        print(error, file=sys.stderr)
        return 1
    console.print(protocol.table(report))
    console.print(protocol.published_table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
