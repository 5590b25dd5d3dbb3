"""``mindwire simulate``: a simulated person on the network, for any LSL program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mindwire.cli.console import stop_event
from mindwire.cli.groups import option
from mindwire.errors import ArgumentError, UsageError
from mindwire_models.text import counted

if TYPE_CHECKING:
    from mindwire.sources.simulator import Artefacts


def simulate(
    name: str = option("Name of the EEG outlet.", "Mindwire-Simulator"),
    type: str = option("LSL type of the EEG outlet.", "EEG"),  # noqa: A002
    source_id: str | None = option("Source id of the EEG outlet."),
    seed: int = option("Random seed of the participant, the noise and the order of trials.", 1),
    sfreq: float = option("Sampling rate in Hz.", 250.0),
    chunk: int = option("Samples per push.", 10),
    duration: float | None = option("Seconds to run; by default until Ctrl-C."),
    line: float = option("Line noise in Hz, 50 or 60; 0 for none.", 50.0),
    artefacts: str = option("all, none, or some of blinks,muscle,drift.", "all"),
    channels: str | None = option("Labels of the 10-10 system, comma-separated; by default the 22 of preset bcic2a."),
) -> None:
    """Simulate EEG of imagined movements on an LSL outlet, with the cues on a second one."""
    from mindwire.sources.simulator import Simulator
    from mindwire.sources.simulator_outlets import SimulatorOutlets, drive
    from mindwire_models.presets import BCIC2A_CHANNELS

    labels = tuple(label.strip() for label in channels.split(",")) if channels is not None else BCIC2A_CHANNELS
    if duration is not None and duration <= 0:
        msg = f"--duration must be above 0 seconds, found {duration:g}."
        raise UsageError(msg)
    stop = stop_event()
    try:
        kinds = parse_artefacts(artefacts)
        simulator = Simulator(seed, sfreq=sfreq, channels=labels, line_freq=line or None, artefacts=kinds, name=name)
        outlets = SimulatorOutlets(simulator, type=type, source_id=source_id, chunk_samples=chunk)
    except ArgumentError as error:
        raise UsageError(str(error)) from error

    typer.echo(
        f"{outlets.name} (type {outlets.type}, source_id {outlets.source_id}): {counted(len(labels), 'channel')} at {sfreq:g} Hz, "
        f"cues on {outlets.marker_name}. Stop with Ctrl-C."
    )
    drive([outlets], stop, duration)


def parse_artefacts(text: str) -> Artefacts:
    """Return the artefacts of ``all``, ``none`` or a comma-separated choice."""
    from mindwire.sources.simulator import Artefacts

    wanted = Artefacts.NONE
    for word in map(str.strip, text.split(",")):
        if word.upper() not in Artefacts.__members__:
            known = ", ".join(str(kind.name).lower() for kind in Artefacts)
            msg = f"--artefacts: expected all, none or some of {known}, found {word!r}."
            raise UsageError(msg)
        wanted |= Artefacts[word.upper()]
    return wanted
