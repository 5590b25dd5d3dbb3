"""Recordings in object stores and on web servers, named by URLs; each is copied into a folder of this user when it is opened."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mindwire.errors import MindwireError, RecordingError, UsageError
from mindwire_models.errors import MissingExtraError, extra

log = logging.getLogger(__name__)

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^/].*", re.DOTALL)
_PATTERN = re.compile(r"[*\[]")
_CACHE = "MINDWIRE_CACHE"
_VERSION = re.compile(r"[0-9a-f]{16}")
# Recordings that are folders, and those with other files beside the one that is named.
FOLDERS = (".mff", ".ds", ".mefd")
_IN_SEVERAL_FILES = (".vhdr", ".set", ".fif")


def is_url(text: str) -> bool:
    """Return true for ``s3://bucket/run.xdf``, ``https://host/run.xdf`` and the like."""
    return _URL.fullmatch(text) is not None


def names_one(url: str, endings: tuple[str, ...]) -> bool:
    """Return true for the URL of a recording, of one of the endings, and false for a pattern and a folder."""
    return _PATTERN.search(url) is None and url.casefold().endswith(endings)


def copies_of(url: str, endings: tuple[str, ...]) -> list[Path]:
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


def present(path: Path) -> Path:
    """Return the path of a recording; if it is one of :func:`copies_of` and not there yet, it is copied first.

    Raises
    ------
    RecordingError
        It cannot be copied.
    MissingExtraError
        The package for such a place is not installed.
    """
    root = _cache()
    if path.exists() or root not in path.parents or not _VERSION.fullmatch(path.parent.name):
        return path
    protocol, *parts = path.relative_to(root).parts
    url = f"{protocol}://{'/'.join((*parts[:-2], path.name))}"
    with _reaching(url, RecordingError):
        store = _store(url)
        log.info("Copying %s into %s.", url, path.parent)
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        # All of it or nothing: the command may be ended, and another process copy the same.
        growing = Path(tempfile.mkdtemp(prefix=".copying-", dir=path.parent.parent))
        try:
            for name, remote in _files(store, url):
                (growing / name).parent.mkdir(parents=True, exist_ok=True)
                store.get_file(remote, str(growing / name))
            if not path.exists():
                growing.rename(path.parent)
        finally:
            shutil.rmtree(growing, ignore_errors=True)
    return path


def _cache() -> Path:
    """Return the folder of copies."""
    if named := os.environ.get(_CACHE):
        return Path(named).absolute()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "mindwire" / "recordings"


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


def _files(store: Any, url: str) -> Iterator[tuple[str, str]]:
    """Yield each file of a recording: its path beside or in the recording, and its URL."""
    above, _, name = url.rpartition("/")
    files = [url]
    if name.casefold().endswith(FOLDERS):
        files = sorted(store.unstrip_protocol(path) for path in store.find(url))
    elif name.casefold().endswith(_IN_SEVERAL_FILES):
        own = url[: url.rindex(".")]
        neighbours = (store.unstrip_protocol(path) for path in store.ls(above, detail=False))
        files = sorted({url, *(one for one in neighbours if one.startswith((f"{own}.", f"{own}-")))})
    for file in files:
        yield file[len(above) + 1 :], file


def _version(store: Any, url: str) -> str:
    """Return a hash of what the place says of a recording's files: sizes, times, checksums."""
    said = [sorted((key, str(value)) for key, value in store.info(file).items()) for _, file in _files(store, url)]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


def _copy_of(url: str, version: str) -> Path:
    protocol, _, rest = url.partition("://")
    *parts, name = (part for part in rest.split("/") if part)
    if {".", ".."} & {name, *parts}:
        msg = f"{url}: expected the URL of a recording, found one with '..' in it; give it without."
        raise UsageError(msg)
    return _cache().joinpath(protocol, *parts, version, name)
