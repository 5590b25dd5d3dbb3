"""Sphinx directives for what the code itself describes: commands, settings and REST routes, written as Markdown and parsed.

They need nothing but Mindwire's default installation, and none of them runs a command or a service.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def cell(text: object) -> str:
    """Return text for one cell of a Markdown table, with nothing in it taken for markup."""
    escaped = re.sub(r"([\\`*_<>\[\]{}|$~])", r"\\\1", str(text))
    return " ".join(escaped.split())


def commands() -> str:
    """Return the help of every command: its purpose, its arguments and its options with their defaults."""
    from mindwire.cli.main import COMMANDS, command

    return "\n\n".join(_command(name, command(name)) for name in COMMANDS)


def _command(name: str, command: Any) -> str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one not in arguments and not one.hidden and "--help" not in one.opts]
    usage = " ".join(["mindwire", name, *(_argument(one) for one in arguments), *(["[OPTIONS]"] if options else [])])
    parts = [f"## {name}", f"```text\n{usage}\n```", "\n\n".join(map(cell, command.help.split("\n\n")))]
    if arguments:
        rows = [f"| `{_argument(one)}` | {cell(one.help or '')} |" for one in arguments]
        parts.append("\n".join(["| argument | |", "|---|---|", *rows]))
    panels = dict.fromkeys(one.rich_help_panel for one in options)
    for panel in panels:
        rows = [_option(one) for one in options if one.rich_help_panel == panel]
        parts.append("\n".join([f"| {cell(panel or 'Options')} | | default |", "|---|---|---|", *rows]))
    return "\n\n".join(parts)


def _argument(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _option(option: Any) -> str:
    spellings = ", ".join(f"`{one}`" for one in (*option.opts, *option.secondary_opts))
    default = option.default
    if option.required:
        shown = "required"
    elif default in (None, (), []) or callable(default):
        shown = ""
    elif isinstance(default, bool):
        shown = "on" if default else ""
    else:
        shown = f"`{default}`"
    return f"| {spellings} | {cell(option.help or '')} | {shown} |"


def settings() -> str:
    """Return the table of settings, with their environment variables."""
    from mindwire.config import ENV_PREFIX, Settings

    rows = ["| in the file | in the environment | | default |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, ()) else f"`{str(field.default).lower()}`"
        rows.append(f"| `{name}` | `{ENV_PREFIX}{name.upper()}` | {cell(field.description or '')} | {default} |")
    return "\n".join(rows)


def routes() -> str:
    """Return the table of REST routes, as OpenAPI describes them."""
    from mindwire.api.app import create_app
    from mindwire.api.guard import Access

    rows = ["| method | path | |", "|---|---|---|"]
    for path, methods in create_app({}, Access()).openapi()["paths"].items():
        for method, route in methods.items():
            first = (route.get("description") or route.get("summary") or "").split("\n\n")[0]
            rows.append(f"| {method.upper()} | `{path}` | {cell(first)} |")
    return "\n".join(rows)


WRITERS = {"commands": commands, "settings": settings, "routes": routes}


class Generated(SphinxDirective):
    """Directive ``generated``, whose argument names one of the writers."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the parsed Markdown."""
        name = self.arguments[0]
        container = nodes.Element()
        container.document = self.state.document
        self.state.nested_parse(StringList(WRITERS[name]().splitlines(), name), 0, container, match_titles=True)
        return list(container.children)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("generated", Generated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
