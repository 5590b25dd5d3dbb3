"""Groups of options as one parameter of a command, and the options that a command line gives.

:func:`expand` replaces each group by its options for typer. Nothing but the standard library and typer is imported here
before a command runs.
"""

import inspect
import math
from collections.abc import Callable
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import typer

from mindwire.errors import UsageError

_SHORT = {"model": "-m", "stream": "-s"}


def option(help: str, default: Any = None, *spellings: str, **more: Any) -> Any:  # noqa: A002 - typer's name
    """Return the default of a parameter or group field that typer makes an option of."""
    return typer.Option(default, *spellings, help=help, **more)


class Given:
    """The options that the command line gives, apart from those at their default: ``flags`` by parameter names."""

    def __init__(self, context: typer.Context) -> None:
        self.flags: dict[str, str] = {}
        for parameter in context.command.params:
            name, value = str(parameter.name), context.params.get(parameter.name or "")
            if isinstance(value, float) and not math.isfinite(value):
                msg = f"{flag_of(parameter)}: expected a finite number, found {value}."
                raise UsageError(msg)
            if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE":
                self.flags[name] = flag_of(parameter)

    def refuse(self, *flags: str, why: str) -> None:
        """Refuse options that have no effect."""
        found = [flag for flag in flags if flag in self.flags.values()]
        if found:
            msg = f"{why}, found {', '.join(found)}; leave {'it' if len(found) == 1 else 'them'} out."
            raise UsageError(msg)


def setting_options(*names: str, **defaults: object) -> list[inspect.Parameter]:
    """Return options generated from fields of :class:`mindwire.config.Settings`, all when none is named.

    They annotate a dictionary, which receives those that are given; ``defaults`` are other than those of the settings.
    """
    from mindwire.config import Settings

    hints = get_type_hints(Settings)
    options = []
    for name in names or Settings.model_fields:
        field, hint = Settings.model_fields[name], hints[name]
        if get_origin(hint) is tuple:
            hint = list[str] | None
        elif any(get_origin(kind) is tuple for kind in get_args(hint)):
            hint = str | None  # comma-separated
        default = defaults.get(name, field.default)
        spellings = [f"--{name.replace('_', '-')}", _SHORT[name]] if name in _SHORT else []
        default = option(field.description or "", None if default == () else default, *spellings)
        options.append(_parameter(name, hint, default))
    return options


def expand(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command, for typer, with the options of its groups as its own parameters.

    Groups are dataclasses whose fields are options, and dictionaries annotated with :func:`setting_options`. A parameter
    of the type :class:`Given` receives the given options.
    """
    parameters = [_parameter("context", typer.Context, inspect.Parameter.empty)]
    groups: dict[str, list[inspect.Parameter]] = {}
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        group = _group(hints[name])
        if group is None:
            parameters.append(_parameter(name, hints[name], copy(parameter.default)))
        else:
            groups[name] = group
            parameters += group

    def run(context: typer.Context, **values: Any) -> Any:
        given = Given(context)
        for name, options in groups.items():
            taken = {one.name: values.pop(one.name) for one in options}
            if hints[name] is Given:
                values[name] = given
            elif is_dataclass(hints[name]):
                values[name] = hints[name](**taken)
            else:
                values[name] = {key: value for key, value in taken.items() if key in given.flags}
        return command(**values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _group(hint: Any) -> list[inspect.Parameter] | None:
    """Return the options of a group, in the help panel that its class names; None for a single option."""
    if hint is Given:
        return []
    if not is_dataclass(hint):
        metadata = getattr(hint, "__metadata__", (None,))[0]
        return metadata if isinstance(metadata, list) else None
    options, hints = [], get_type_hints(hint)
    for field in fields(hint):
        default: Any = copy(field.default)
        default.rich_help_panel = getattr(hint, "PANEL", None)
        options.append(_parameter(field.name, hints[field.name], default))
    return options


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def flag_of(parameter: Any) -> str:
    """Return the long spelling of a command's parameter."""
    return max(parameter.opts, key=len, default="")
