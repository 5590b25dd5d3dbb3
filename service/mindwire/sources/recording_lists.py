"""Recordings named by their path, URL, folder, pattern or a table, for commands that read many."""

from __future__ import annotations

import csv
import glob
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mindwire.errors import UsageError
from mindwire.sources.object_stores import FOLDERS, is_url, names_one, recordings_at
from mindwire_models.errors import extra

# What a search of a folder finds; parts of recordings, such as .eeg beside .vhdr, are left out.
_ENDINGS = (
    ".xdf",
    ".xdfz",
    ".xdf.gz",
    ".edf",
    ".bdf",
    ".gdf",
    ".vhdr",
    ".fif",
    ".fif.gz",
    ".set",
    ".mff",
    ".ds",
    ".mefd",
)
_TABLES = (".csv", ".parquet")
_COLUMNS = ("file", "participant", "session", "markers")


@dataclass(frozen=True, slots=True)
class ListedRecording:
    """A recording and what a table says of it; ``markers`` are ``LABEL=CLASS`` entries."""

    path: Path
    participant: str = ""
    session: str = ""
    markers: str = ""


def listed_recordings(texts: Iterable[str]) -> list[ListedRecording]:
    """Return the recordings that paths, folders, patterns and tables name, in their order.

    A folder stands for all recordings in it and in its folders; a pattern such as ``data/**/*.xdf`` for the files that match; a
    table, CSV or Parquet, has a column ``file`` with paths, relative to its own folder, and may have ``participant``,
    ``session`` and ``markers``. URLs name recordings, folders and patterns elsewhere, and stand in tables too; such recordings are
    copied to this machine when they are opened.

    Raises
    ------
    UsageError
        There is nothing of the name, or no recording in it, or a table has no column ``file``.
    MissingExtraError
        A table is Parquet and pyarrow is not installed, or the package for a URL is not.
    """
    return [one for text in texts for one in _listed(text)]


def names_several(text: str) -> bool:
    """Return true for a folder with recordings, a pattern and a table."""
    if is_url(text):
        return not names_one(text, _ENDINGS)
    path = Path(text)
    if not _exists(path):
        return glob.has_magic(text)
    suffix = path.suffix.casefold()
    return suffix in _TABLES or (path.is_dir() and suffix not in FOLDERS)


def _listed(text: str) -> list[ListedRecording]:
    if is_url(text):
        return [ListedRecording(one) for one in recordings_at(text, _ENDINGS)]
    path = Path(text)
    if _exists(path):
        if not names_several(text):
            return [ListedRecording(path)]
        if path.suffix.casefold() in _TABLES:
            return _table(path)
        found = sorted(_recordings_in(path))
        if not found:
            msg = f"{text}: expected a recording, or a folder with recordings, found a folder without any; check the path."
            raise UsageError(msg)
        return [ListedRecording(one) for one in found]
    if glob.has_magic(text):
        matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - absolute patterns too
        if not matches:
            msg = f"{text}: no file matches this pattern; check it."
            raise UsageError(msg)
        return [ListedRecording(Path(one)) for one in matches]
    msg = f"{text}: there is no such recording; check the path."
    raise UsageError(msg)


def _recordings_in(folder: Path) -> Iterable[Path]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.name.casefold().endswith(_ENDINGS) and path.is_dir() == (path.suffix.casefold() in FOLDERS):
            yield path
        elif path.is_dir():
            yield from _recordings_in(path)


def _table(path: Path) -> list[ListedRecording]:
    rows = _rows(path)
    if not rows or not rows[0].get("file"):
        found = ", ".join(rows[0]) if rows else "no row"
        msg = f"{path}: expected a table of recordings with a column file, found {found}; columns are {', '.join(_COLUMNS)}."
        raise UsageError(msg)
    listed = []
    for number, row in enumerate(rows, 1):
        values = {name: str(row.get(name) or "").strip() for name in _COLUMNS}
        listed += [ListedRecording(file, **values) for file in _in_table(path, number, values.pop("file"))]
    return listed


def _in_table(table: Path, number: int, text: str) -> list[Path]:
    if is_url(text):
        return recordings_at(text, _ENDINGS)
    file = table.parent / text
    if not _exists(file):
        msg = f"{table}, row {number}: there is no recording {file}; paths are relative to the table's folder."
        raise UsageError(msg)
    return [file]


def _rows(path: Path) -> list[Mapping[str, object]]:
    if path.suffix.casefold() == ".parquet":
        with extra("jobs", "A table in Parquet needs pyarrow"):
            import pyarrow as pa
            from pyarrow import parquet
        try:
            return list(parquet.read_table(path).to_pylist())
        except (OSError, pa.ArrowException) as error:
            msg = f"{path}: expected a table of recordings in Parquet, found a file that cannot be read ({error})."
            raise UsageError(msg) from error
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        msg = f"{path}: expected a table of recordings in CSV, found a file that cannot be read ({error})."
        raise UsageError(msg) from error


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a file name, or with characters that none has
        return False
