"""``mindwire serve``: decode live streams and publish predictions and decisions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mindwire.cli.groups import option, setting_options


def serve(
    flags: Annotated[dict[str, Any], setting_options()],
    config: Path | None = option("TOML file with settings; flags and variables override it.", envvar="MINDWIRE_CONFIG"),
    save_config: bool = option(
        "Keep changes of streams that are made while the service runs in the file of --config; what was there before the "
        "first is kept as FILE.orig.",
        False,
        "--save-config",
    ),
    print_config: bool = option("Print the settings in force and exit.", False, "--print-config"),
) -> None:
    """Decode live LSL streams; publish predictions and decisions over websocket, LSL and OSC.

    Streams may also be added, changed and removed while the service runs, on its page or over REST.

    Every option but the last three is also an environment variable (MINDWIRE_PORT for --port) and a line of the settings
    file.
    """
    from mindwire.config import load_settings

    settings = load_settings(flags, config, save=save_config)
    if print_config:
        typer.echo(settings.to_toml(), nl=False)
        return

    import logging

    from mindwire.logs import log_handler

    logging.basicConfig(level=settings.log_level.upper(), handlers=[log_handler(settings.log_format)])
    from mindwire.serve.service import serve as run

    run(settings, announce=typer.echo, save=config if save_config else None)
