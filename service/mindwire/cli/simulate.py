"""``mindwire simulate``: a simulated person on the network, for any LSL program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mindwire.cli.console import stop_event
from mindwire.cli.groups import Given, option
from mindwire.errors import ArgumentError, UsageError
from mindwire_models.text import counted

if TYPE_CHECKING:
    from mindwire.sources.simulator import Artefacts


def simulate(
    given: Given,
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
    depth: float | None = option("Share by which imagery lowers the rhythms' amplitude; by default 0.72 to 0.9."),
    rest: float | None = option(
        "Seconds of rest, with a marker rest, before every eight trials, by default 0; with --closed-loop before each target, 12."
    ),
    closed_loop: bool = option("Imagine what moves a cursor to targets, seeing the decisions of a service.", False),
    decisions: str | None = option("With --closed-loop: the service's stream; by default the only one that decides."),
    error: float = option("With --closed-loop: probability of imagining a wrong class or nothing.", 0.1),
) -> None:
    """Simulate EEG of imagined movements on an LSL outlet, with the cues on a second one."""
    from mindwire.sources.simulator import Simulator
    from mindwire.sources.simulator_outlets import DecisionInlet, SimulatorOutlets, drive
    from mindwire.sources.steering import Steering, SteeringParticipant
    from mindwire_models.presets import BCIC2A_CHANNELS

    labels = tuple(label.strip() for label in channels.split(",")) if channels is not None else BCIC2A_CHANNELS
    if duration is not None and duration <= 0:
        msg = f"--duration must be above 0 seconds, found {duration:g}."
        raise UsageError(msg)
    if not closed_loop:
        given.refuse("--decisions", "--error", why="Without --closed-loop no decision is seen")
    stop = stop_event()
    try:
        kinds = parse_artefacts(artefacts)
        steering = Steering(rest_s=12.0 if rest is None else rest, error=error)
        participant = SteeringParticipant(seed, steering) if closed_loop else None
        simulator = Simulator(
            seed,
            sfreq=sfreq,
            channels=labels,
            line_freq=line or None,
            artefacts=kinds,
            name=name,
            rest_s=rest or 0.0,
            depth=depth,
            intention=participant,
        )
        seen = None if participant is None else (participant, DecisionInlet(decisions))
        outlets = SimulatorOutlets(simulator, type=type, source_id=source_id, chunk_samples=chunk, steering=seen)
    except ArgumentError as refusal:
        raise UsageError(str(refusal)) from refusal

    typer.echo(
        f"{outlets.name} (type {outlets.type}, source_id {outlets.source_id}): {counted(len(labels), 'channel')} at {sfreq:g} Hz, "
        f"cues on {outlets.marker_name}. Stop with Ctrl-C."
    )
    drive([outlets], stop, duration)
    if participant is not None:
        reached = sum(attempt.reached for attempt in participant.attempts)
        typer.echo(
            f"{reached} of {counted(len(participant.attempts), 'target')} reached, "
            f"{counted(participant.false_activations, 'false activation')} in {participant.rest_s:.0f} s of rest."
        )


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
