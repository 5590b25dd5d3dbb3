"""``mindwire evaluate --protocol``: the authors' protocol beside the live pipeline."""

from __future__ import annotations

from pathlib import Path

from mindwire.errors import UsageError
from mindwire_models.text import printable


def run(files: list[str], out: Path, model: Path | None, *, attention: str, epochs: int | None, seeds: int) -> None:
    """Train and score by the authors' protocol; write ``protocol.json``.

    Raises
    ------
    UsageError
        A bundle was named too, or the attention is unknown.
    RecordingError
        A file cannot be read, or the report not written.
    MissingExtraError
        PyTorch or MNE-Python is not installed.
    """
    from rich.console import Console

    from mindwire.cli.console import progress_bar
    from mindwire.cli.options import split_files
    from mindwire.errors import MissingExtraError
    from mindwire.outputs import writing
    from mindwire.protocols.bcic2a import read_sessions
    from mindwire_models.atomic import replace_file

    if model is not None:
        msg = "--protocol trains networks of its own; leave out --model."
        raise UsageError(msg)
    paths, _ = split_files(files, expect_assignments=False)
    try:
        from mindwire.protocols import wimpff2024
        from mindwire.protocols.wimpff2024_published import published
        from mindwire_models.network.attention import ATTENTION_MODES
    except ImportError as error:
        msg = "--protocol trains, which takes PyTorch and MNE-Python; pip install '.[train]' in Mindwire's folder."
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
    with writing(out, "the report"):
        out.mkdir(parents=True, exist_ok=True)
        replace_file(out / "protocol.json", report.model_dump_json(indent=2) + "\n")
    console = Console()
    console.print(wimpff2024.table(report))
    console.print(wimpff2024.published_table(report))
    console.print(printable(f"Wrote {out / 'protocol.json'}."), highlight=False, markup=False, soft_wrap=True)
