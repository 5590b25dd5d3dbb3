"""Replaces a file or a folder in one step, so that a crash or a full disk leaves the old one or the new one."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from mindwire_models.errors import BundleError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def write_beside(target: Path, mode: Literal["w", "wb"] = "wb") -> Iterator[IO[Any]]:
    """A new file that takes the target's place when the context ends without an error.

    Parameters
    ----------
    target : Path
        Replaced when it exists; where it is a link, the file that the link names. A device or a pipe is written to.
    mode : {"w", "wb"}
        Text is UTF-8, its line ends are written as they are.

    Yields
    ------
    file

    Raises
    ------
    OSError
        The file cannot be written; the target is unchanged.
    """
    text: dict[str, Any] = {"encoding": "utf-8", "newline": ""} if mode == "w" else {}
    if target.exists() and not target.is_file() and not target.is_dir():
        with target.open(mode, **text) as file:
            yield file
        return
    target = target.resolve()
    before = target.stat().st_mode if target.is_file() else None
    fresh = target.parent / f".{secrets.token_hex(8)}.new"
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        with os.fdopen(descriptor, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if before is not None:
            fresh.chmod(before & 0o777)
        fresh.replace(target)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def replace_file(target: Path, content: bytes | str) -> None:
    """Write a whole file; see :func:`write_beside`.

    Raises
    ------
    OSError
        The file cannot be written; the target is unchanged.
    """
    with write_beside(target, "w" if isinstance(content, str) else "wb") as file:
        file.write(content)


def replace_folder(target: Path, files: Mapping[str, bytes], verify: Callable[[Path], object]) -> None:
    """Write files into a folder that takes its place only when it is complete.

    Parameters
    ----------
    target : Path
        The folder; replaced when it exists.
    files : mapping of str to bytes
        Content by file name.
    verify : callable
        Called with the finished folder before it takes its place; an exception keeps the old one.

    Raises
    ------
    OSError
        The files cannot be written; the target is unchanged.
    """
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.parent / f".{target.name}.{secrets.token_hex(4)}.new"
    fresh.mkdir()
    try:
        for name, data in files.items():
            with (fresh / name).open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        _sync(fresh)
        verify(fresh)
        _swap(fresh, target)
        _sync(target.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _sync(folder: Path) -> None:
    if sys.platform == "win32":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _swap(fresh: Path, target: Path) -> None:
    if not target.exists() or not any(target.iterdir()):
        if sys.platform == "win32" and target.exists():
            target.rmdir()
        fresh.rename(target)
        return
    if _exchange(fresh, target):
        return
    # Only where the system cannot exchange two folders: between the two lines the old bundle has the other name.
    old = fresh.with_suffix(".old")
    target.rename(old)
    try:
        fresh.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old)


def _exchange(one: Path, other: Path) -> bool:
    if sys.platform != "linux":
        return False
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    result: int = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return result == 0


def check_writable(target: Path) -> None:
    """Refuse a file or folder to be made where nothing can be made.

    Raises
    ------
    BundleError
        The nearest folder above it that exists is a file, or is not to be written to.
    """
    above = next((folder for folder in target.absolute().parents if folder.exists()), target)
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        what = "cannot be written to" if above.is_dir() else "is a file"
        msg = f"{target}: nothing can be written there, for {above} {what}; choose another place."
        raise BundleError(msg)
