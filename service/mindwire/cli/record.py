"""``mindwire record``: streams and markers into an XDF file, without a model."""

from pathlib import Path

import typer

from mindwire.cli.console import stop_event
from mindwire.cli.groups import option


def record(
    stream: list[str] | None = option(
        "Which LSL streams to record: name=…,type=…,source_id=…,hostname=… as far as needed, or predicate=XPATH; all "
        "that match. May be given several times; by default every stream of type EEG.",
        None,
        "--stream",
        "-s",
    ),
    out: Path = option("Folder, or name of a new file that ends in .xdf.", Path("recordings"), "--out", "-o"),
    duration: float | None = option("Seconds to record; by default until Ctrl-C.", min=0.1),
    wait: bool = option("Wait for a stream that is absent at the start, or refuse.", True, "--wait/--no-wait"),
) -> None:
    """Record EEG and markers from LSL into an XDF file, without a model.

    Marker streams are always recorded. A device that is lost is recorded again when it is back, and a stream that appears
    later is added to the same file. The recording can be replayed, and trained on with mindwire train.
    """
    import sys

    from mindwire.config import parse_stream
    from mindwire.errors import UsageError
    from mindwire.live.record import StreamRecording
    from mindwire.sources.lsl_discovery import Selector, check_predicate

    selectors = []
    for text in stream or []:
        try:
            selectors.append(Selector(**parse_stream(text)))
        except (ValueError, TypeError) as error:
            msg = f"--stream {text!r}: expected name=…, type=…, source_id=…, hostname=… or predicate=… ({error})."
            raise UsageError(msg) from error
        check_predicate(selectors[-1].xpath)

    def progress(seconds: float, size: int) -> None:
        line = f"{int(seconds) // 60}:{int(seconds) % 60:02d}  {size / 1e6:.2f} MB  (Ctrl-C ends the recording)"
        print(f"\r{line}", end="", file=sys.stderr, flush=True)

    def announce(line: str) -> None:
        if on_terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        typer.echo(line)

    on_terminal = sys.stderr.isatty()
    stop = stop_event()
    recording = StreamRecording(selectors, out, announce=announce, progress=progress if on_terminal else None)
    recording.run(stop, duration=duration, wait=wait)
