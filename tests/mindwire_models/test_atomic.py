"""A write that fails leaves what was there, and nothing beside it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mindwire_models import atomic
from mindwire_models.atomic import open_replacement, replace_file, replace_folder


def refuse(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("broken", ["fsync", "fdopen"])
@pytest.mark.parametrize("before", [b"old", None])
def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path, monkeypatch, broken, before):
    if before is not None:
        (tmp_path / "file").write_bytes(before)
    was = tree(tmp_path)
    monkeypatch.setattr(os, broken, refuse)
    with pytest.raises(OSError, match="No space left"):
        replace_file(tmp_path / "file", b"new")
    assert tree(tmp_path) == was


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_writer_that_fails_or_is_interrupted_leaves_nothing_behind(tmp_path, error):
    def write() -> None:
        with open_replacement(tmp_path / "file", "w") as file:
            file.write("half")
            raise error

    with pytest.raises(error):
        write()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("broken", ["fsync", "verify", "rename"])
def test_a_folder_that_cannot_be_replaced_stays_and_nothing_beside_it(tmp_path, monkeypatch, broken, exchange):
    replace_folder(tmp_path / "bundle", {"a": b"old"}, lambda _: None)
    if not exchange:
        monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    elif broken == "rename":
        pytest.skip("nothing is renamed where folders can be exchanged")
    if broken == "fsync":
        monkeypatch.setattr(os, "fsync", refuse)
    if broken == "rename":
        rename = Path.rename
        monkeypatch.setattr(Path, "rename", lambda path, to: refuse() if path.suffix == ".new" else rename(path, to))
    with pytest.raises(OSError, match="No space left"):
        replace_folder(tmp_path / "bundle", {"a": b"new"}, refuse if broken == "verify" else lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert tree(tmp_path) == {"bundle/a": b"old"}
