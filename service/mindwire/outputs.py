"""Checks of output files: no command writes over what it reads, nor over a file that Mindwire did not write.

Done before the work, so that an hour of it is not lost to a name that is taken.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mindwire.errors import RecordingError, UsageError
from mindwire_models.bundle import FILES, SUMS

# A report with its pictures inside is some megabytes.
_MOST_BYTES = 1 << 26
# Of a network, in a report's folder.
PICTURES = ("temporal-filters.png", "spatial-patterns.png", "attention.png")
# Files that belong to a recording whose name is that of another one.
_COMPANIONS = {".vhdr": (".eeg", ".dat", ".vmrk"), ".set": (".fdt",)}


class Kind(NamedTuple):
    """Kind of file that a command writes, by its name in messages and a test of a file's content."""

    name: str
    fits: Callable[[bytes], bool]


PREDICTIONS = Kind("a table of predictions", lambda data: data.startswith(b"seq,time,valid,"))
DECISIONS = Kind("a table of decisions", lambda data: data.startswith(b"time,seq,class,confidence"))
# safetensors: the length of a header in JSON, which names our format
POLICY = Kind("a control policy", lambda data: data.startswith(b"{") and b'"evidence"' in data)
ADAPTATION = Kind("a kept adaptation", lambda data: b"mindwire" in data[:65536])
PICTURE = Kind("a picture of Mindwire", lambda data: data.startswith(b"<svg") and b"indwire" in data)
_BY_ENDING = {
    ".json": Kind("a report of Mindwire", lambda data: data.startswith(b"{") and b'"mindwire"' in data),
    ".html": Kind("a report of Mindwire", lambda data: data.startswith(b"<!doctype html>") and b"indwire" in data),
    ".svg": PICTURE,
    ".png": Kind("a picture of Mindwire", lambda data: data.startswith(b"\x89PNG") and b"Mindwire" in data[:1024]),
    ".csv": Kind("a table of compared decisions", lambda data: data.startswith(b"time,recording,trial,")),
    ".md": Kind("a table of layers", lambda data: data.startswith(b"## The network")),
}


def check_output(
    path: Path,
    kind: Kind,
    *,
    inputs: Iterable[Path | None] = (),
    force: bool | None = False,
    option: str = "--out",
    make_folder: bool = False,
) -> None:
    """Refuse to write a file, named by an option, where something would be lost, or where nothing can be written.

    ``inputs`` are the files and folders that the command reads. With ``force`` a file of another kind is replaced too;
    it is None for a command without ``--force``. With ``make_folder`` a missing folder will be made.

    Raises
    ------
    UsageError
        The path is an input, a folder or, without ``force``, a file of another kind.
    RecordingError
        Its folder is absent or cannot be written to.
    """
    if (same := next((one for one in inputs if one is not None and _is_part(path, one)), None)) is not None:
        msg = f"{option} {path} would write over {same}, which is read; choose another name."
        raise UsageError(msg)
    if path.is_dir():
        msg = f"{option} {path} is a folder, expected a file's name."
        raise UsageError(msg)
    if path.is_file() and not force and not _fits(path, kind):
        replaced = "" if force is None else ", or replace it with --force"
        msg = f"{option} {path} exists and is not {kind.name}; choose another name{replaced}."
        raise UsageError(msg)
    if not path.exists() or path.is_file():
        _check_folder(path.resolve().parent, option=option, shown=path, make=make_folder)


def check_report(
    folder: Path,
    names: Sequence[str],
    *,
    inputs: Sequence[Path | None] = (),
    force: bool = False,
    option: str = "--out",
) -> None:
    """Check files in a folder, which will be made if it is missing, as :func:`check_output` does; endings give the kinds."""
    if folder.exists() and not folder.is_dir():
        msg = f"{option} {folder} is a file, expected a folder; choose another name."
        raise UsageError(msg)
    _check_folder(folder.resolve(), option=option, shown=folder, make=True)
    for name in names:
        if (folder / name).exists():
            check_output(folder / name, _BY_ENDING[Path(name).suffix], inputs=inputs, force=force, option=option)


def _check_folder(folder: Path, *, option: str, shown: Path, make: bool) -> None:
    if make:
        folder = next(one for one in (folder, *folder.parents) if one.exists())
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "does not exist"
        msg = f"{option} {shown}: the folder {folder} {state}; make it, or choose another place."
        raise RecordingError(msg)
    if not os.access(folder, os.W_OK | os.X_OK):
        msg = f"{option} {shown}: the folder {folder} cannot be written to; choose another place."
        raise RecordingError(msg)


@contextmanager
def writing(place: Path, what: str, option: str = "--out") -> Iterator[None]:
    """Turn errors of the disk into a :class:`RecordingError` of one sentence."""
    try:
        yield
    except OSError as error:
        msg = f"{place}: {what} cannot be written ({error.strerror or error}); choose another place with {option}."
        raise RecordingError(msg) from error


def _is_part(path: Path, source: Path) -> bool:
    """Return true if a path is a file that is read, under any name, or lies in a folder that is read."""
    if source.is_dir() and not (source / SUMS).is_file():
        return path.resolve().is_relative_to(source.resolve())
    if source.is_dir():
        files = [source / name for name in (*FILES, SUMS)]
    else:
        files = [source, *map(source.with_suffix, _COMPANIONS.get(source.suffix.casefold(), ()))]
    return any(_same(path, one) for one in files)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there
        return one.resolve() == other.resolve()


def _fits(path: Path, kind: Kind) -> bool:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES)
    except OSError as error:
        msg = f"{path} exists and cannot be read ({error.strerror}), so it is not replaced; choose another name."
        raise UsageError(msg) from error
    return not data or kind.fits(data)
