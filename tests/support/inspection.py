"""`mindwire inspect` run on a file."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from mindwire.cli.main import app


def inspect(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)])
