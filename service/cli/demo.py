"""``mindwire demo``: see it work within a minute, without a cap, a recording or a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.errors import ArgumentError, UsageError


def demo(
    port: Annotated[int | None, typer.Option(help="Port of the page; 8000 unless given, 0 for any free one.")] = None,
    seed: Annotated[int, typer.Option(help="Makes the simulated person.")] = 1,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="Another bundle than the demonstration's.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, onnxruntime or torch.")] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "warning",
) -> None:
    """Simulate a person imagining movements, decode it live and show it on a page."""
    import logging

    from models.zoo import zoo_bundle_path
    from service.config import load_settings
    from service.demo import run_demo, source_id

    settings = load_settings(
        {
            "model": model or zoo_bundle_path(),
            "stream": [f"id=demo,source_id={source_id()}"],
            "port": port,
            "device": device,
            "engine": engine,
            "log_level": log_level,
        }
    )
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s")
    try:
        run_demo(settings, seed, announce=lambda line: typer.echo(f"{line} – Ctrl-C ends the demonstration."))
    except ArgumentError as error:
        raise UsageError(str(error)) from error
