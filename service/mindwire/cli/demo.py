"""``mindwire demo``: see it work within a minute, without a cap, a recording or a model."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mindwire.cli.groups import option, setting_options
from mindwire.errors import ArgumentError, UsageError


def demo(
    flags: Annotated[
        dict[str, Any],
        setting_options(
            "port", "allow_origin", "model", "control", "device", "engine", "log_level", "osc", log_level="warning"
        ),
    ],
    seed: int = option("Random seed of the simulated participant.", 1),
    open_page: bool = option("Open the page in the browser, or only print its address.", False, "--open/--no-browser"),
) -> None:
    """Simulate a person who steers a cursor by imagined movements; decode, decide, and show it here and on a page."""
    import logging
    import webbrowser

    from mindwire.config import load_settings
    from mindwire.serve.demo import STREAM, run_demo, source_id
    from mindwire.serve.terminal import choose_view
    from mindwire_models.zoo import zoo_bundle_path

    stream = [f"id={STREAM},source_id={source_id()}"]
    settings = load_settings({"model": zoo_bundle_path(), "log_level": "warning", **flags, "stream": stream})
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
