"""``mindwire serve``: decode live streams and publish what comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_STREAM = (
    "Which LSL stream to decode: name=…,type=…,source_id=…,hostname=… as far as needed, or predicate=XPATH. "
    "May be given several times; id=NAME names a stream, model=, hop= and unit= apply to it alone."
)


def serve(
    model: Annotated[Path | None, typer.Option("--model", "-m", help="The bundle.")] = None,
    stream: Annotated[list[str] | None, typer.Option("--stream", "-s", help=_STREAM)] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 unless given.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 8000 unless given, 0 for any free one.")] = None,
    token: Annotated[
        str | None,
        typer.Option(
            help="Demanded of every client; made and shown when listening elsewhere than on loopback. Other users of this "
            "machine see flags: give MINDWIRE_TOKEN or --token-file there."
        ),
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="File that holds the token.")] = None,
    allow_host: Annotated[list[str] | None, typer.Option(help="Host name that clients may use.")] = None,
    allow_origin: Annotated[list[str] | None, typer.Option(help="Origin of web pages that may connect.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, onnxruntime or torch.")] = None,
    hop: Annotated[int | None, typer.Option(help="Samples between predictions; the model's unless given.")] = None,
    channels: Annotated[
        str | None, typer.Option(help="Labels by position, such as C3,C4, for a stream that names no channels.")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="Unit of the samples, for a stream that states none.")] = None,
    rate: Annotated[
        float | None, typer.Option(help="Rate in hertz to accept where a source's nominal rate is wrong.")
    ] = None,
    bad_channels: Annotated[
        str | None, typer.Option(help="auto (interpolate when few), interpolate or invalidate.")
    ] = None,
    bridge_ms: Annotated[
        float | None, typer.Option(help="Gaps up to this many milliseconds are bridged and flagged; 40 unless given.")
    ] = None,
    adapt: Annotated[
        str | None,
        typer.Option(
            help="What follows the person: alignment (alone, unless given), bn (BatchNorm statistics too) or entropy "
            "(its weights too). The last two run the network in PyTorch."
        ),
    ] = None,
    adaptation_state: Annotated[
        Path | None, typer.Option(help="File that keeps what was learnt: begun with if there, written at the end.")
    ] = None,
    warm_start: Annotated[
        Path | None, typer.Option(help="Recording at rest, or kept state, to begin the alignment with.")
    ] = None,
    wait: Annotated[
        bool | None, typer.Option("--wait/--no-wait", help="Wait for a stream that is not there yet, or refuse.")
    ] = None,
    max_backlog: Annotated[
        float | None, typer.Option(help="Seconds of overdue windows above which only the newest is decoded.")
    ] = None,
    stale_after: Annotated[float | None, typer.Option(help="Seconds of silence until a stream is stale.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that share the streams, behind one port; 1 unless given, 0 for one per core."),
    ] = None,
    batch_wait_ms: Annotated[
        float | None,
        typer.Option(help="How long a window may wait to be decoded with those of other streams; 2 unless given."),
    ] = None,
    lsl_outlet: Annotated[
        bool | None, typer.Option("--lsl-outlet/--no-lsl-outlet", help="Publish on LSL beside the websocket.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Folder for recordings of signal, markers, predictions and events, as XDF.")
    ] = None,
    marker_stream: Annotated[
        list[str] | None,
        typer.Option(help="Name or source_id of a marker stream to show; those of the source's host unless given."),
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    config: Annotated[
        Path | None, typer.Option(envvar="MINDWIRE_CONFIG", help="Settings as TOML; flags and environment go first.")
    ] = None,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the settings in force and exit.")] = False,
) -> None:
    """Decode live LSL streams; publish predictions over websocket, REST and LSL."""
    import gc

    # Importing makes objects by the hundred thousand and next to no garbage; to look for it takes a tenth of the start.
    # settle_memory looks once, when the service listens, and lets the collector run from then on.
    gc.disable()
    from mindwire.config import load_settings

    flags = {
        "model": model,
        "stream": stream or None,
        "host": host,
        "port": port,
        "token": token,
        "token_file": token_file,
        "allow_host": allow_host or None,
        "allow_origin": allow_origin or None,
        "device": device,
        "engine": engine,
        "hop": hop,
        "channels": channels,
        "unit": unit,
        "rate": rate,
        "bad_channels": bad_channels,
        "bridge_ms": bridge_ms,
        "adapt": adapt,
        "adaptation_state": adaptation_state,
        "warm_start": warm_start,
        "wait": wait,
        "max_backlog": max_backlog,
        "stale_after": stale_after,
        "workers": workers,
        "batch_wait_ms": batch_wait_ms,
        "lsl_outlet": lsl_outlet,
        "record": record,
        "marker_stream": marker_stream or None,
        "log_level": log_level,
    }
    settings = load_settings(flags, config)
    if print_config:
        typer.echo(settings.to_toml(), nl=False)
        return

    import logging

    from mindwire.logs import log_handler

    logging.basicConfig(level=settings.log_level.upper(), handlers=[log_handler()])
    from mindwire.serve.streams import serve as run

    run(settings, announce=typer.echo)
