"""``mindwire replay``: a recording through a model, or through LSL outlets as a stand-in for a cap."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mindwire.errors import RecordingError, UsageError
from mindwire_models.text import printable

if TYPE_CHECKING:
    from mindwire.inference.decoder import Decoder
    from mindwire.options import PipelineOptions
    from mindwire.sources.recording import RecordedSignal, Recording, Selector
    from mindwire_models.bundle import Bundle

_LONG_SECONDS = 300.0


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Recording: XDF, or what MNE-Python reads.")],
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            help="Bundle; the one a live recording was made with, or the demonstration bundle, without it.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file at --out even if it is no table of predictions.")
    ] = False,
    speed: Annotated[
        str | None, typer.Option(help="max, or a multiple of real time such as 1 or 20; max without it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the predictions here as CSV; - for standard output.")
    ] = None,
    stream: Annotated[
        str | None, typer.Option("--stream", "-s", help="The signal: name=…,type=…,source_id=…,id=…")
    ] = None,
    channels: Annotated[
        str | None, typer.Option(help="Labels by position, comma-separated, for a recording that names no channels.")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="Unit of the samples where the recording states none.")] = None,
    hop: Annotated[
        int | None, typer.Option(min=1, help="Samples between predictions; the model's unless given.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=1.0, help="Rate in hertz to accept where the nominal rate is wrong.")
    ] = None,
    bad_channels: Annotated[
        Literal["auto", "interpolate", "invalidate"],
        typer.Option(help="What becomes of bad channels: auto interpolates when they are few."),
    ] = "auto",
    bridge_ms: Annotated[
        float, typer.Option(min=0.0, help="Gaps up to this many milliseconds are bridged and flagged.")
    ] = 40.0,
    adapt: Annotated[
        Literal["alignment", "bn", "entropy"],
        typer.Option(help="What follows the person, as for serve: bn and entropy run the network in PyTorch."),
    ] = "alignment",
    adaptation_state: Annotated[
        Path | None, typer.Option(help="What an earlier session learnt, to begin with; only read.")
    ] = None,
    warm_start: Annotated[
        Path | None, typer.Option(help="Recording at rest, or kept state, to begin the alignment with.")
    ] = None,
    engine: Annotated[Literal["auto", "onnxruntime", "torch"], typer.Option(help="Inference engine.")] = "auto",
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Device.")] = "auto",
    lsl: Annotated[
        bool, typer.Option("--lsl", help="Play EEG and markers through LSL outlets in real time instead of decoding.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="With --lsl: name of the EEG outlet, and prefix of the marker outlets'.")
    ] = None,
    source_id: Annotated[str | None, typer.Option(help="With --lsl: source id of the EEG outlet.")] = None,
    chunk: Annotated[
        int | None, typer.Option(min=1, help="With --lsl: samples per push; about 40 ms without it.")
    ] = None,
    wait_consumer: Annotated[
        bool,
        typer.Option(
            "--wait-consumer/--no-wait-consumer", help="With --lsl: hold the first sample until somebody listens."
        ),
    ] = True,
) -> None:
    """Replay a recording: predictions as the live service would have made them, or its streams on the network."""
    from mindwire.sources.recording import Selector, open_recording

    selector = Selector.parse(stream) if stream else None
    if lsl:
        unused = {"--model": model, "--out": out, "--channels": channels, "--unit": unit, "--hop": hop}
        _check_lsl(speed, [flag for flag, value in unused.items() if value is not None])
        _play(
            open_recording(file), selector, name=name, source_id=source_id, chunk=chunk, wait_for_consumer=wait_consumer
        )
        return
    pace = _parse_speed(speed)

    from mindwire.live.warm_start import beginning
    from mindwire.offline.recorded_bundle import bundle_path
    from mindwire.options import PipelineOptions
    from mindwire.outputs import PREDICTIONS, check_output
    from mindwire.signal.named_channels import split_labels
    from mindwire_models.bundle import load_bundle
    from mindwire_models.zoo import zoo_bundle_path

    labels = split_labels(channels)
    options = PipelineOptions(
        channels=None if labels is None else tuple(labels),
        unit=unit,
        hop_samples=hop,
        sfreq=rate,
        bad_channels=bad_channels,
        bridge_seconds=bridge_ms / 1e3,
        adapt=adapt,
    )
    if adaptation_state is not None and not adaptation_state.exists():
        msg = f"{adaptation_state}: there is no such file; check the path after --adaptation-state."
        raise UsageError(msg)
    if out is not None and str(out) != "-":
        inputs = (file, model or zoo_bundle_path(), adaptation_state, warm_start)
        check_output(out, PREDICTIONS, inputs=inputs, force=force)
    recording = open_recording(file)
    path, sentence = bundle_path(model, [recording], zoo_bundle_path())
    if sentence:
        typer.echo(sentence, err=True)
    bundle = load_bundle(path or zoo_bundle_path())
    signal = recording.signal(selector)
    options = replace(options, trained=bundle.training.source if bundle.training else None)
    if remembered := options.as_in_training(signal.info):
        typer.echo(f"As {bundle.name} was trained: {remembered}.", err=True)
    with ExitStack() as stack:
        if (
            pace is None
            and engine != "torch"
            and device != "cuda"
            and adapt == "alignment"
            and _is_long(signal, bundle)
        ):
            from mindwire.inference.beside import DecoderBeside, keep_memory

            keep_memory()
            decoder: Decoder = stack.enter_context(DecoderBeside(bundle))
        else:
            from mindwire.inference.load import load_decoder

            purpose: Literal["live", "recording"] = "recording" if pace is None else "live"
            decoder = load_decoder(bundle, engine=engine, device=device, adapt=adapt, purpose=purpose)
        saved = beginning(bundle, decoder, options, adaptation_state, warm_start)
        if saved is not None:
            options = replace(options, state=saved.to_text())
        _decode(recording, signal, bundle, decoder, options, pace=pace, out=out)


def _is_long(signal: RecordedSignal, bundle: Bundle) -> bool:
    """Whether a recording takes so long that another process, which takes as long to start as a short one, pays off."""
    from mindwire.cores import usable_cores

    streams = bundle.streaming is not None and bundle.records
    return streams and usable_cores() > 1 and signal.n_samples >= _LONG_SECONDS * (signal.info.sfreq or 1000.0)


def _parse_speed(text: str | None) -> float | None:
    if text is None or text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        msg = f"--speed: expected max or a number above 0, found {text!r}."
        raise UsageError(msg)
    return speed


def _check_lsl(speed: str | None, unused: list[str]) -> None:
    if speed is not None and _parse_speed(speed) != 1.0:
        msg = f"--lsl plays in real time, found --speed {speed}; leave it out, or replay without --lsl, which needs no network."
        raise UsageError(msg)
    if unused:
        msg = f"--lsl plays the recording's streams as they are and decodes nothing, found {', '.join(unused)}; leave it out."
        raise UsageError(msg)


def _decode(
    recording: Recording,
    signal: RecordedSignal,
    bundle: Bundle,
    decoder: Decoder,
    options: PipelineOptions,
    *,
    pace: float | None,
    out: Path | None,
) -> None:
    """Run the recording through the model and report."""
    from collections import deque

    from mindwire.offline.replay import Replay, write_csv
    from mindwire.outputs import writing
    from mindwire_models.atomic import write_beside

    to_stdout = out is not None and str(out) == "-"
    with ExitStack() as stack:
        tell = stack.enter_context(_progress(signal.n_samples)) if sys.stderr.isatty() else None
        replay = Replay(signal, bundle.contract, decoder, options, speed=pace, on_samples=tell)
        if to_stdout:
            write_csv(replay.runs(), bundle.contract.classes, sys.stdout)
        elif out is not None:
            with writing(out, "the predictions"), write_beside(out, "w") as file:
                write_csv(replay.runs(), bundle.contract.classes, file)
        else:
            deque(replay.runs(), maxlen=0)
    for problem in recording.problems:
        typer.echo(printable(f"mindwire: {recording.path}: {problem}"), err=True)
    for remark in replay.summary.remarks.values():
        if not replay.summary.valid:
            msg = f"{recording.path}: {remark}"
            raise RecordingError(msg)
        typer.echo(printable(f"mindwire: {recording.path}: for a part: {remark}"), err=True)
    if not replay.summary.windows:
        needed = bundle.contract.window_samples / bundle.contract.sfreq
        typer.echo(f"mindwire: no stretch of the recording holds the {needed:g} s that a window takes.", err=True)
    typer.echo(f"{bundle.name}: {replay.summary.describe()}", err=to_stdout)
    if out is not None and not to_stdout:
        typer.echo(printable(f"Wrote {out}."))


@contextmanager
def _progress(n_samples: int) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal; gives what is told the samples taken so far."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Replaying", total=n_samples)
        yield lambda done: bar.update(task, completed=done)


def _play(
    recording: Recording,
    selector: Selector | None,
    *,
    name: str | None,
    source_id: str | None,
    chunk: int | None,
    wait_for_consumer: bool,
) -> None:
    """Play the recording on the network until it ends or somebody stops it."""
    import signal
    import threading

    from rich.console import Console
    from rich.progress import Progress

    from mindwire.offline.playback import LONGEST_SILENCE_SECONDS, Playback, PlaybackOptions
    from mindwire.serve.ending import ending_signals

    stop = threading.Event()
    for number in ending_signals():
        signal.signal(number, lambda *_: stop.set())
    options = PlaybackOptions(name, source_id, chunk, wait_for_consumer)
    playback = Playback(recording, selector, options)
    waiting = " Waiting for somebody to listen." if wait_for_consumer else ""
    typer.echo(
        f"Playing {printable(', '.join(playback.names))} for {playback.duration:.1f} s.{waiting} Stop with Ctrl-C."
    )
    if playback.shortened_silences:
        typer.echo(f"{playback.shortened_silences} silences are shortened to {LONGEST_SILENCE_SECONDS:g} s.")
    for problem in recording.problems:
        typer.echo(printable(f"mindwire: {recording.path}: {problem}"), err=True)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Playing", total=playback.duration)
        playback.run(stop, lambda seconds: bar.update(task, completed=seconds))
