"""Bundles as ZIP archives, whole or made to do harm."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

from mindwire_models import zoo
from mindwire_models.bundle import FILES, SUMS


def zipped(folder: Path | None = None, under: str = "model/", **changes: bytes | None) -> bytes:
    """The archive of a bundle, by default the one for demonstration; ``changes`` replace, add or leave out files."""
    folder = folder or zoo.zoo_bundle_path()
    files = {name: (folder / name).read_bytes() for name in (*FILES, SUMS) if (folder / name).exists()}
    return archive({under + name: data for name, data in (files | changes).items() if data is not None})


def archive(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in files.items():
            out.writestr(name, data)
    return made.getvalue()


def link_to(target: str, kind: int = stat.S_IFLNK, name: str = "model/README.md") -> bytes:
    """An archive whose one entry is a link, or a device."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as out:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, (kind | 0o777) << 16
        out.writestr(info, target)
    return made.getvalue()
