"""Groups of options as one parameter of a command, and the options of a command line that are actually given.

:func:`expand` replaces each group by its options for typer. Nothing but the standard library and typer is imported here
before a command runs.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand

from mindwire.errors import UsageError

_SHORT = {"model": "-m", "stream": "-s"}


def option(help: str, default: Any = None, *spellings: str, **more: Any) -> Any:  # noqa: A002 - typer's name
    """Return the default of a parameter or group field that typer makes an option of."""
    return typer.Option(default, *spellings, help=help, **more)


class FiniteCommand(TyperCommand):
    """Command that refuses options which are no finite numbers."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line."""
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            value = ctx.params.get(parameter.name)
            if isinstance(value, float) and not math.isfinite(value):
                msg = f"{_flag(parameter)}: expected a finite number, found {value}."
                raise UsageError(msg)
        return rest


class Given:
    """The options that the command line gives, apart from those at their default.

    Parameters
    ----------
    context : typer.Context
    """

    def __init__(self, context: typer.Context) -> None:
        self._flags = {
            _flag(parameter): str(parameter.name)
            for parameter in context.command.params
            if parameter.name and getattr(context.get_parameter_source(parameter.name), "name", "") == "COMMANDLINE"
        }

    def __contains__(self, flag: str) -> bool:
        return flag in self._flags

    @property
    def names(self) -> set[str]:
        """Names of the parameters."""
        return set(self._flags.values())

    def refuse(self, *flags: str, why: str) -> None:
        """Refuse options that have no effect."""
        found = [flag for flag in flags if flag in self]
        if found:
            msg = f"{why}, found {', '.join(found)}; leave {'it' if len(found) == 1 else 'them'} out."
            raise UsageError(msg)


class SettingFlags:
    """Group of options generated from fields of :class:`mindwire.config.Settings`; its value has those that are given.

    Parameters
    ----------
    *names : str
        Fields; all when none is named.
    **defaults
        Defaults other than those of the settings.
    """

    def __init__(self, *names: str, **defaults: object) -> None:
        self.names = names
        self.defaults = defaults

    def parameters(self) -> Iterator[inspect.Parameter]:
        """Generate the command's parameters."""
        from mindwire.config import Settings

        for name in self.names or Settings.model_fields:
            field = Settings.model_fields[name]
            spellings = [f"--{name.replace('_', '-')}", _SHORT[name]] if name in _SHORT else []
            default = self.defaults.get(name, field.default)
            default = option(field.description or "", None if default == () else default, *spellings)
            yield _parameter(name, _typer_type(field.annotation), default)


def _typer_type(annotation: Any) -> Any:
    """Return the type of an option for a field: repeated for a list, comma-separated for an optional list."""
    alternatives = [kind for kind in get_args(annotation) if kind is not type(None)]
    optional = type(None) in get_args(annotation)
    kind = alternatives[0] if optional else annotation
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) is tuple:
        kind = str if optional else list[str]
    return kind | None if optional or get_origin(kind) is list else kind


def expand(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command, for typer, with the options of its groups as its own parameters.

    Groups are dataclasses whose fields are options, and dictionaries annotated with :class:`SettingFlags`. A parameter
    of the type :class:`Given` receives the given options.
    """
    parameters = [_parameter("context", typer.Context, inspect.Parameter.empty)]
    groups: dict[str, tuple[Any, list[inspect.Parameter]]] = {}
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        hint = hints[name]
        metadata = getattr(hint, "__metadata__", ())
        if hint is Given:
            groups[name] = Given, []
        elif metadata and isinstance(metadata[0], SettingFlags):
            groups[name] = SettingFlags, list(metadata[0].parameters())
        elif is_dataclass(hint):
            groups[name] = hint, list(_options(hint))
        else:
            parameters.append(_parameter(name, hint, copy(parameter.default)))
        parameters += groups[name][1] if name in groups else []

    def run(context: typer.Context, **values: Any) -> Any:
        given = Given(context)
        for name, (kind, options) in groups.items():
            taken = {option.name: values.pop(option.name) for option in options}
            if kind is SettingFlags:
                values[name] = {key: value for key, value in taken.items() if key in given.names}
            else:
                values[name] = given if kind is Given else kind(**taken)
        return command(**values)

    run.__doc__, run.__name__ = command.__doc__, command.__name__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _options(group: Any) -> Iterator[inspect.Parameter]:
    """Generate the parameters of a group, in the help panel that its class names."""
    hints = get_type_hints(group)
    for field in fields(group):
        default: Any = copy(field.default)
        default.rich_help_panel = getattr(group, "PANEL", None)
        yield _parameter(field.name, hints[field.name], default)


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _flag(parameter: Any) -> str:
    return max(parameter.opts, key=len, default="")
