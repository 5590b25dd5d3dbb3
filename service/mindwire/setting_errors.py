"""Errors of settings in one sentence: the value, its origin (flag, variable, file), and the likely intention."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

# Of the command line and of the tests, which read them themselves.
_OTHER_VARIABLES = {"config", "debug", "test_data", "faults_json", "token_file"}
_LIMITS = {
    "ge": "at least {:g}",
    "gt": "more than {:g}",
    "le": "at most {:g}",
    "lt": "less than {:g}",
    "min_length": "at least {} characters",
    "expected": "{}",
}
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "finite": "a finite number",
    "path": "a path",
    "string": "text",
    "tuple": "a list",
}


def describe_error(
    error: Mapping[str, Any], *, flags: Mapping[str, Any], prefix: str, config: Path | None, known: Sequence[str]
) -> str:
    """Return an error of pydantic, an entry of ``ValidationError.errors()``, as a sentence.

    ``prefix`` is that of environment variables, ``config`` the settings file, and ``known`` are the settings where the
    wrong one was found.
    """
    key, *inner = [str(part) for part in error["loc"] if not isinstance(part, int)] or [""]
    where = f"--{key.replace('_', '-')}"
    if flags.get(key) is None:
        variable = next((name for name in os.environ if name.upper() == f"{prefix}{key.upper()}"), None)
        where = variable or (f"{config}, {key}" if config is not None else where)
    if error["type"] == "extra_forbidden":
        name = (inner or [key])[-1]
        return f"{where if inner else config}: there is no setting {name!r}{did_you_mean(name, known)}"
    where = " ".join([where, *inner])
    if error["type"] == "value_error":
        message = _message(error)
        return f"{where}: {message}{'' if message.endswith('?') else '.'}"
    found = "" if key in ("token", "read_token") else f", found {error['input']!r}"
    return f"{where}: expected {expected_value(error)}{found}."


def describe_field(error: Mapping[str, Any], known: Sequence[str]) -> str:
    """Return an error of pydantic in a document with these known fields as a sentence that begins with the field."""
    parts = [str(part) for part in error["loc"]]
    if error["type"] == "extra_forbidden":
        return f"There is no field {parts[-1]!r}{did_you_mean(parts[-1], known)}"
    place = f"{parts[0]}: " if parts else ""
    if error["type"] == "value_error":
        message = _message(error)
        return f"{place}{message}{'' if message.endswith('?') else '.'}"
    return f"{place}expected {expected_value(error)}."


def expected_value(error: Mapping[str, Any]) -> str:
    """Return what pydantic, or typer through it, expected in place of a value."""
    limits = error.get("ctx", {})
    for name, words in _LIMITS.items():
        if name in limits:
            return words.format(limits[name])
    message = _message(error)
    return _TYPES.get(str(error["type"]).split("_", maxsplit=1)[0], message.partition(" is not ")[2] or message)


def _message(error: Mapping[str, Any]) -> str:
    return str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ").rstrip(".")


def did_you_mean(word: str, known: Sequence[str], form: Callable[[str], str] = repr) -> str:
    """Return the end of a sentence that names the closest known word; a full stop if none is close."""
    alike = get_close_matches(word.casefold(), known, n=1)
    return f"; do you mean {form(alike[0])}?" if alike else "."


def unknown_variables(prefix: str, known: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each environment variable that has the prefix and is no setting."""
    for variable in sorted(name for name in os.environ if name.upper().startswith(prefix)):
        name = variable[len(prefix) :].lower()
        if name not in known and name not in _OTHER_VARIABLES:
            meant = did_you_mean(name, known, lambda other: prefix + other.upper())
            yield f"{variable} is no setting and is ignored{meant}"
