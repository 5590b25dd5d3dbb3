"""``mindwire export-bids``: sessions and recordings as a BIDS data set."""

from pathlib import Path
from typing import Annotated

import typer

from mindwire.cli import options
from mindwire.cli.groups import option


def export_bids(
    source: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="Folder of sessions, a participant's or one session's; or recordings."),
    ],
    out: Path = option("Folder of the data set; recordings are added to one that is there.", ..., "--out", "-o"),
    task: str = option("Name of the task.", "imagery"),
    name: str = option("Name of a new data set.", "Sessions recorded with Mindwire"),
    participant: str | None = option(
        "Participant of recordings that are in no session; by default their folder's name."
    ),
    line_freq: float | None = option("Frequency of the mains in Hz, 50 or 60.", min=1.0),
    reference: str | None = option("Reference electrode; by default what the recording states."),
    cue_seconds: float = option("Duration of a trial from its cue on, for the events.", 0.0, min=0.0),
    stream: str | None = options.STREAM,
    marker_stream: str | None = option("Marker stream whose markers are the cues; by default all."),
    unit: str | None = options.UNIT,
    channels: str | None = options.CHANNELS,
    rate: float | None = option("True sampling rate in Hz, overriding the nominal one.", min=1.0),
    force: bool = option("Replace runs that are in the data set already.", False, "--force"),
) -> None:
    """Export sessions, or any recordings, as a BIDS data set of EEG.

    The signal is written in BrainVision's format as 32-bit floats, as it was recorded, not conditioned. Cues are events of
    their markers' text, decisions of a recorded run events decision/CLASS, gaps are filled with zeros and marked
    BAD_ACQ_SKIP. Nothing that is there is replaced without --force.
    """
    from mindwire.errors import UsageError
    from mindwire.offline.bids import ExportOptions, sources_in
    from mindwire.offline.bids import export_bids as export
    from mindwire.signal.named_channels import split_labels
    from mindwire.sources.recording import Selector
    from mindwire_models.text import printable

    if not source.exists():
        msg = f"{source} does not exist; check the path."
        raise UsageError(msg)
    chosen = ExportOptions(
        task=task,
        name=name,
        line_freq=line_freq,
        reference=reference,
        duration_s=cue_seconds,
        unit=unit,
        channels=tuple(split_labels(channels) or ()) if channels else None,
        rate=rate,
        stream=None if stream is None else Selector.parse(stream),
        marker_stream=marker_stream,
        force=force,
    )
    for line in export(sources_in(source, participant), out, chosen):
        typer.echo(printable(line))
    typer.echo(f"{out} is a BIDS data set.")
