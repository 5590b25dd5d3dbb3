"""Replacement of a file or a folder in one step: a crash or a full disk leaves the old one or the new one."""

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

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def open_replacement(target: Path, mode: Literal["w", "wb"] = "wb") -> Iterator[IO[Any]]:
    """Open a new file that replaces the target when the context ends without an error; else the target is unchanged.

    Of a link the file that it names is replaced; a device or a pipe is written to. Text is UTF-8, with line ends as given.
    """
    text: dict[str, Any] = {"encoding": "utf-8", "newline": ""} if mode == "w" else {}
    if target.exists() and not target.is_file() and not target.is_dir():
        with target.open(mode, **text) as file:
            yield file
        return
    target = target.resolve()
    before = target.stat().st_mode if target.is_file() else None
    new = target.parent / f".{secrets.token_hex(8)}.new"
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if before is None else before & 0o777)
        with os.fdopen(descriptor, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if before is not None:
            new.chmod(before & 0o777)
        new.replace(target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def replace_file(target: Path, content: bytes | str) -> None:
    """Write a whole file; see :func:`open_replacement`."""
    with open_replacement(target, "w" if isinstance(content, str) else "wb") as file:
        file.write(content)


def replace_folder(target: Path, files: Mapping[str, bytes], verify: Callable[[Path], object]) -> None:
    """Write files, by name, into a new folder that replaces the target when it is complete; else the target is unchanged.

    ``verify`` is called with the new folder before; it refuses the folder by an exception.
    """
    target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.parent / f".{target.name}.{secrets.token_hex(4)}.new"
    new.mkdir()
    try:
        for name, data in files.items():
            replace_file(new / name, data)
        sync_folder(new)
        verify(new)
        _swap(new, target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _swap(new: Path, target: Path) -> None:
    if not target.exists() or not any(target.iterdir()):
        new.rename(target)
        return
    if _exchange(new, target):
        return
    # Only where the system cannot exchange two folders: between two lines the old bundle has another name.
    old = new.with_suffix(".old")
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old)


def _exchange(one: Path, other: Path) -> bool:
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if renameat2 is None:
        return False
    return bool(renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)
