"""Recordings in object stores and on web servers, named by URLs; each is copied into a folder of this user when it is opened."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from mindwire.errors import MindwireError, RecordingError, UsageError
from mindwire_models.errors import MissingExtraError, extra

log = logging.getLogger(__name__)

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^/].*", re.DOTALL)
_PATTERN = re.compile(r"[*\[]")
_CACHE = "MINDWIRE_CACHE"
_VERSION = re.compile(r"[0-9a-f]{16}")
# Recordings that are folders, and those with other files beside the one that is named.
FOLDERS = (".mff", ".ds", ".mefd")
_WEB = ("http", "https")  # whose URLs have characters of names quoted
_IN_SEVERAL_FILES = (".vhdr", ".set", ".fif")


def is_url(text: str) -> bool:
    """Return true for ``s3://bucket/run.xdf``, ``https://host/run.xdf`` and the like."""
    return _URL.fullmatch(text) is not None


def names_one(url: str, endings: tuple[str, ...]) -> bool:
    """Return true for the URL of a recording, of one of the endings, and false for a pattern and a folder."""
    return _PATTERN.search(url) is None and url.casefold().endswith(endings)


def recordings_at(url: str, endings: tuple[str, ...]) -> list[Path]:
    """Return where recordings are copied to when they are opened: the one at a URL, all in a folder, or those that match a pattern.

    The path is another one whenever the recording has changed.

    Parameters
    ----------
    url : str
        In a pattern, ``*``, ``**`` and ``[…]`` stand for other characters.
    endings : tuple of str
        Endings of recordings, small letters.

    Raises
    ------
    UsageError
        There is none, or the place is not known or not reached.
    MissingExtraError
        The package for such a place is not installed.
    """
    _check(url)
    with _reaching(url, UsageError):
        store = _store(url)
        if names_one(url, endings):
            found = [url]
        else:
            paths = store.glob(url) if _PATTERN.search(url) else store.find(url)
            found = sorted({_recording_of(store.unstrip_protocol(path)) for path in paths})
            found = [one for one in found if _PATTERN.search(url) or one.casefold().endswith(endings)]
        copies = [_copy_of(one, _version(store, one)) for one in found]
    if not copies:
        msg = f"{url}: expected recordings, found none of these; check the URL."
        raise UsageError(msg)
    return copies


def copy_if_absent(path: Path) -> Path:
    """Return the path of a recording; if it is one of :func:`recordings_at` and not there yet, it is copied first.

    Raises
    ------
    RecordingError
        It cannot be copied.
    MissingExtraError
        The package for such a place is not installed.
    """
    if path.exists() or not _VERSION.fullmatch(path.parent.name) or (root := _cache()) not in path.parents:
        return path
    protocol, *parts = path.relative_to(root).parts
    where = "/".join((*parts[:-2], path.name))
    url = f"{protocol}://{quote(where, safe='/:') if protocol in _WEB else where}"
    with _reaching(url, RecordingError):
        store = _store(url)
        log.info("Copying %s into %s.", url, path.parent)
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        # All of it or nothing: the command may be ended, and another process copy the same.
        growing = path.parent.with_name(f".copying-{uuid.uuid4().hex}")
        try:
            for name, remote in _files(store, url):
                (growing / name).parent.mkdir(parents=True, exist_ok=True)
                store.get_file(remote, str(growing / name))
            try:
                growing.rename(path.parent)
            except OSError:
                if not path.exists():  # else another process was first
                    raise
        finally:
            shutil.rmtree(growing, ignore_errors=True)
    return path


def _cache() -> Path:
    """Return the folder of copies."""
    if named := os.environ.get(_CACHE):
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - raises nothing without a home
    return Path(tempfile.gettempdir() if base.startswith("~") else base) / "mindwire" / "recordings"


def _store(url: str) -> Any:
    with extra("jobs", "Recordings at a URL need fsspec"):
        import fsspec
    return fsspec.core.url_to_fs(url)[0]


@contextmanager
def _reaching(url: str, refusal: type[MindwireError]) -> Iterator[None]:
    """Raise a refusal in one sentence for whatever the library for a place raises: each has errors of its own."""
    try:
        yield
    except MindwireError:
        raise
    except ImportError as error:
        msg = f"{url}: {str(error).partition(chr(10))[0].rstrip('.')}, with pip."  # "Install s3fs to access S3"
        raise MissingExtraError(msg) from error
    except Exception as error:
        log.debug("%s is not reached.", url, exc_info=True)
        cause = error.__cause__ or error
        reason = str(cause).partition("\n")[0].rstrip(".") or type(cause).__name__
        msg = f"{url}: expected recordings, found none that can be read ({reason}); check the URL."
        raise refusal(msg) from error


def _recording_of(url: str) -> str:
    """Return the URL of the recording that a file belongs to where that is a folder, else its own."""
    parts = url.split("/")
    whole = next((i for i, part in enumerate(parts) if part.casefold().endswith(FOLDERS)), len(parts))
    return "/".join(parts[: whole + 1])


def _plain(url: str) -> str:
    """Return a URL with the characters of the names in it."""
    return unquote(url) if url.partition("://")[0] in _WEB else url


def _files(store: Any, url: str) -> Iterator[tuple[str, str]]:
    """Yield each file of a recording: its path in the folder of the copy, and its URL."""
    above, _, name = url.rpartition("/")
    files = [url]
    if name.casefold().endswith(FOLDERS):
        files = sorted(store.unstrip_protocol(path) for path in store.find(url))
    elif name.casefold().endswith(_IN_SEVERAL_FILES):
        own = _plain(url[: url.rindex(".")])
        neighbours = (store.unstrip_protocol(path) for path in store.ls(above, detail=False))
        files = [url, *sorted(one for one in neighbours if _plain(one).startswith((f"{own}.", f"{own}-")))]
    for file in files:
        yield _plain(file)[len(_plain(above)) + 1 :], file


def _version(store: Any, url: str) -> str:
    """Return a hash of what the place says of a recording's files: sizes, times, checksums."""
    said = [sorted((key, str(value)) for key, value in store.info(file).items()) for _, file in _files(store, url)]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


def _copy_of(url: str, version: str) -> Path:
    protocol, _, rest = _plain(url).partition("://")
    *parts, name = (part for part in rest.split("/") if part)
    if {".", ".."} & {name, *parts}:
        msg = f"{url}: expected the URL of a recording, found one with '..' in it; give it without."
        raise UsageError(msg)
    return _cache().joinpath(protocol, *parts, version, name)


def _check(url: str) -> None:
    """Refuse what would come into paths and reports, and be lost on other nodes."""
    protocol, _, rest = url.partition("://")
    if "@" in rest.partition("/")[0]:
        msg = f"{protocol}://…: expected a URL without a user and a password, which would be in reports; give them to fsspec, in its configuration."
        raise UsageError(msg)
    if protocol in _WEB and "?" in rest:
        msg = f"{url.partition('?')[0]}: expected a URL that names a recording, found one with a question after '?'; give it without, or a copy of the file."
        raise UsageError(msg)
