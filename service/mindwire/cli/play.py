"""``mindwire play``: a recording through LSL outlets, as a substitute for a cap."""

import typer

from mindwire.cli import options
from mindwire.cli.console import print_problems, progress_bar, stop_event
from mindwire.cli.groups import option
from mindwire_models.text import printable


def play(
    file: options.Recording,
    stream: str | None = options.STREAM,
    name: str | None = option("Name of the EEG outlet, and prefix of the marker outlets'."),
    source_id: str | None = option("Source id of the EEG outlet."),
    chunk: int | None = option("Samples per push; by default about 40 ms.", min=1),
    wait_consumer: bool = option("Hold the first sample until a consumer is connected.", True),
) -> None:
    """Play a recording's EEG and markers through LSL outlets in real time, as a substitute for a cap."""
    from mindwire.offline import playback
    from mindwire.sources.recording import Selector, open_recording

    recording = open_recording(file)
    outlets = playback.PlaybackOptions(name, source_id, chunk, wait_consumer)
    playing = playback.Playback(recording, Selector.parse(stream) if stream else None, outlets)
    stop = stop_event()
    waiting = " Waiting for a consumer." if wait_consumer else ""
    typer.echo(
        f"Playing {printable(', '.join(playing.names))} for {playing.duration:.1f} s.{waiting} Stop with Ctrl-C."
    )
    if playing.shortened_pauses:
        longest = playback.LONGEST_PAUSE_SECONDS
        typer.echo(f"{playing.shortened_pauses} pauses are shortened to {longest:g} s.")
    print_problems(file, recording.problems)
    played = 0.0
    with progress_bar("Playing") as progress:

        def on_time(seconds: float) -> None:
            nonlocal played
            played = seconds
            if progress is not None:
                progress(seconds, playing.duration)

        playing.run(stop, on_time)
    typer.echo(f"Played {played:.1f} of {playing.duration:.1f} s{', then stopped' if stop.is_set() else ''}.")
