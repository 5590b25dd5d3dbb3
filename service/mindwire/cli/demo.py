"""``mindwire demo``: see it work within a minute, without a cap, a recording or a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mindwire.errors import ArgumentError, UsageError


def demo(
    port: Annotated[int | None, typer.Option(help="Port of the page; 8000 unless given, 0 for any free one.")] = None,
    seed: Annotated[int, typer.Option(help="Makes the simulated person.")] = 1,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="Another bundle than the demonstration's.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, onnxruntime or torch.")] = None,
    open_page: Annotated[
        bool, typer.Option("--open/--no-browser", help="Open the page in the browser, or only say where it is.")
    ] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "warning",
) -> None:
    """Simulate a person imagining movements, decode it live, and show it here and on a page."""
    import logging
    import webbrowser

    from mindwire.config import load_settings
    from mindwire.serve.demo import STREAM, run_demo, source_id
    from mindwire.serve.terminal import choose_view
    from mindwire_models.zoo import zoo_bundle_path

    settings = load_settings(
        {
            "model": model or zoo_bundle_path(),
            "stream": [f"id={STREAM},source_id={source_id()}"],
            "port": port,
            "device": device,
            "engine": engine,
            "log_level": log_level,
        }
    )
    view, handler = choose_view()
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])

    def announce(line: str) -> None:
        typer.echo(f"{line} – Ctrl-C ends the demonstration.")
        if open_page and "http://" in line:
            webbrowser.open(line.rsplit(maxsplit=1)[-1])

    try:
        run_demo(settings, seed, announce=announce, view=view)
    except ArgumentError as error:
        raise UsageError(str(error)) from error
