"""Errors of settings in one sentence: the value, its origin (flag, variable, file), and the likely intention."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

# Of the command line and of the tests, which read them themselves.
_OTHER_VARIABLES = {"CONFIG", "DEBUG", "TEST_DATA", "FAULTS_JSON", "TOKEN_FILE"}
_EXPECTED = {
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
    """Return an error of pydantic as a sentence.

    Parameters
    ----------
    error : mapping
        An entry of ``ValidationError.errors()``.
    flags : mapping
        Flags of the command line.
    prefix : str
        Prefix of environment variables.
    config : Path or None
        The settings file.
    known : sequence of str
        Settings where the wrong one was found.
    """
    key, *inner = [str(part) for part in error["loc"] if not isinstance(part, int)] or [""]
    flag = f"--{key.replace('_', '-')}"
    given = next((name for name in os.environ if name.upper() == f"{prefix}{key.upper()}"), None)
    if flags.get(key) is not None:
        where = flag
    elif given is not None:
        where = given
    else:
        where = f"{config}, {key}" if config is not None else flag
    if error["type"] == "extra_forbidden":
        place = str(config) if not inner else where
        return f"{place}: there is no setting {(inner or [key])[-1]!r}{did_you_mean((inner or [key])[-1], known)}"
    where = " ".join([where, *inner])
    message = str(error["msg"]).removeprefix("Value error, ").rstrip(".")
    if error["type"] == "value_error":
        return f"{where}: {message}{'' if message.endswith('?') else '.'}"
    found = "" if key == "token" else f", found {error['input']!r}"
    return f"{where}: expected {_expected(error, message)}{found}."


def _expected(error: Mapping[str, Any], message: str) -> str:
    limits = error.get("ctx", {})
    for name, words in (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than")):
        if name in limits:
            return f"{words} {limits[name]:g}"
    if error["type"] == "string_too_short":
        return f"at least {limits['min_length']} characters"
    if error["type"] == "literal_error":
        return str(limits["expected"])
    return _EXPECTED.get(str(error["type"]).split("_", maxsplit=1)[0], message)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return the end of a sentence that names the closest known word; a full stop if none is close."""
    alike = get_close_matches(word.casefold(), known, n=1)
    return f"; do you mean {alike[0]!r}?" if alike else "."


def unknown_variables(prefix: str, known: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each environment variable that has the prefix and is no setting."""
    names = [name.upper() for name in known]
    for variable in sorted(name for name in os.environ if name.upper().startswith(prefix)):
        name = variable.upper().removeprefix(prefix)
        if name not in names and name not in _OTHER_VARIABLES:
            alike = get_close_matches(name, names, n=1)
            meant = f"; do you mean {prefix}{alike[0]}?" if alike else "."
            yield f"{variable} is no setting and is ignored{meant}"
