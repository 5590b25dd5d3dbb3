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
    follow: str | None = option(
        "Imagine what the markers of this stream of a service say, those of the participant's page: class labels, targets, eyes_closed."
    ),
    classes: str | None = option(
        "With --follow: classes to steer with, comma-separated; by default those that were cued."
    ),
    error: float | None = option(
        "Probability of imagining a wrong class or nothing; with --closed-loop 0.1, with --follow 0 by default."
    ),
) -> None:
    """Simulate EEG of imagined movements on an LSL outlet, with the cues on a second one.

    With --follow the person reacts to the cues of another program, on the outlet Mindwire-STREAM-Markers of a service.
    """
    from mindwire.sources.following import FollowingParticipant
    from mindwire.sources.markers import MARKERS, OUTLET
    from mindwire.sources.simulator import Simulator
    from mindwire.sources.simulator_outlets import DecisionInlet, SimulatorOutlets, drive
    from mindwire.sources.steering import Steering, SteeringParticipant
    from mindwire_models.presets import BCIC2A_CHANNELS

    labels = tuple(label.strip() for label in channels.split(",")) if channels is not None else BCIC2A_CHANNELS
    if duration is not None and duration <= 0:
        msg = f"--duration must be above 0 seconds, found {duration:g}."
        raise UsageError(msg)
    if follow is not None:
        given.refuse("--closed-loop", "--decisions", "--rest", why="With --follow the markers say what is done")
    elif not closed_loop:
        given.refuse("--decisions", "--error", why="Without --closed-loop no decision is seen")
    if follow is None:
        given.refuse("--classes", why="Without --follow no target is steered to with chosen classes")
    stop = stop_event()
    try:
        kinds = parse_artefacts(artefacts)
        steering = Steering(rest_s=12.0 if rest is None else rest, error=0.1 if error is None else error)
        participant: SteeringParticipant | FollowingParticipant | None = None
        if follow is not None:
            chosen = tuple(label.strip() for label in classes.split(",")) if classes else ()
            participant = FollowingParticipant(seed, chosen, error or 0.0)
        elif closed_loop:
            participant = SteeringParticipant(seed, steering)
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
        seen = None if participant is None else (participant, DecisionInlet(follow or decisions))
        outlets = SimulatorOutlets(
            simulator,
            type=type,
            source_id=source_id,
            chunk_samples=chunk,
            steering=seen,
            followed=DecisionInlet(follow, MARKERS) if follow is not None else None,
        )
    except ArgumentError as refusal:
        raise UsageError(str(refusal)) from refusal

    cues = f"cues on {outlets.marker_name}" if follow is None else f"following {OUTLET}{follow}{MARKERS}"
    typer.echo(
        f"{outlets.name} (type {outlets.type}, source_id {outlets.source_id}): {counted(len(labels), 'channel')} at {sfreq:g} Hz, "
        f"{cues}. Stop with Ctrl-C."
    )
    drive([outlets], stop, duration)
    if isinstance(participant, FollowingParticipant):
        done = participant.followed
        typer.echo(
            f"{counted(done.cues, 'cue')} followed, {done.errors} with an error; {done.reached} of {counted(done.targets, 'target')} reached."
        )
    elif participant is not None:
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
