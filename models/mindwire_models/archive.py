"""A bundle as one ZIP archive of unknown origin: read in bounded memory, and nothing but a bundle's files.

Names, kinds and sizes of all entries are checked before any is unpacked; no entry's name becomes a path.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections import Counter
from typing import IO, Final

from mindwire_models.bundle import FILES, SUMS
from mindwire_models.errors import BundleError
from mindwire_models.reading import MIB
from mindwire_models.text import printable

MAX_CONTENT_BYTES: Final = 256 * MIB
_MAX_ENTRIES = 64
_MAX_DIRECTORY_BYTES = 64 * 1024
_MAX_RATIO = 200  # of entries above 1 MiB; weights do not shrink to a half, graphs to a twentieth
_END, _END_BYTES, _MAX_COMMENT, _LOCATOR, _LOCATOR_BYTES = b"PK\5\6", 22, 0xFFFF, b"PK\6\7", 20
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
    struct.error,
)


def read_archive(archive: IO[bytes]) -> tuple[str, dict[str, bytes]]:
    """Return the name of the archive's one folder, empty if the files are at its top, and the bundle's files by name.

    Raises
    ------
    BundleError
        It is no ZIP archive, damaged, encrypted, too large, or holds anything else than one bundle.
    """
    try:
        _check_directory(archive)
        with zipfile.ZipFile(archive) as opened:
            folder, entries = _check_entries(opened.infolist())
            files = {}
            for name, info in entries.items():
                with opened.open(info) as entry:
                    files[name] = entry.read(info.file_size + 1)
                if len(files[name]) != info.file_size:
                    msg = f"{name} is shorter than its entry says"
                    raise _refused(msg)
            return folder, files
    except _DAMAGED as error:
        msg = "it is damaged or no ZIP archive; make it again, for example with: zip -r model.zip FOLDER"
        raise _refused(msg) from error


def _refused(reason: str) -> BundleError:
    return BundleError(f"The archive is refused: {reason}.")


def _check_directory(archive: IO[bytes]) -> None:
    """Refuse an archive whose directory of entries is large, before :mod:`zipfile` reads it whole."""
    size = archive.seek(0, 2)
    at = max(0, size - _END_BYTES - _MAX_COMMENT - _LOCATOR_BYTES)
    archive.seek(at)
    tail = archive.read()
    end = len(tail) - _END_BYTES
    if not (tail[end:].startswith(_END) and tail.endswith(b"\0\0")):  # in the order in which zipfile searches
        end = tail.rfind(_END, max(0, len(tail) - _END_BYTES - _MAX_COMMENT))
    if end < 0 or len(tail) - end < _END_BYTES:
        msg = "no end of a ZIP archive"
        raise zipfile.BadZipFile(msg)
    (directory_bytes,) = struct.unpack_from("<L", tail, end + 12)
    if directory_bytes > _MAX_DIRECTORY_BYTES or tail[max(0, end - _LOCATOR_BYTES) : end].startswith(_LOCATOR):
        msg = f"expected the {len(FILES) + 1} files of a bundle at most, found far more entries, or a ZIP64 archive"
        raise _refused(msg)


def _check_entries(entries: list[zipfile.ZipInfo]) -> tuple[str, dict[str, zipfile.ZipInfo]]:
    """Return the folder and the entries of a bundle's files by name; refuse any entry that could be anything else."""
    if len(entries) > _MAX_ENTRIES:
        msg = f"expected at most {_MAX_ENTRIES} entries, found {len(entries)}"
        raise _refused(msg)
    paths = [_checked_path(info) for info in entries]
    folded = Counter(path.casefold() for path in paths)
    if folded and max(folded.values()) > 1:
        msg = f"expected each file once, found '{printable(folded.most_common(1)[0][0], 80)}' twice"
        raise _refused(msg)
    if sum(info.file_size for info in entries) > MAX_CONTENT_BYTES:
        msg = f"expected at most {MAX_CONTENT_BYTES // MIB} MiB when unpacked, found more"
        raise _refused(msg)
    folders: set[str] = set()
    files: dict[str, zipfile.ZipInfo] = {}
    for path, info in zip(paths, entries, strict=True):
        folder, _, name = (path + "/" if info.is_dir() else path).rpartition("/")
        if folder.partition("/")[0] == "__MACOSX" or name == ".DS_Store":  # what macOS adds to archives
            continue
        if "/" in folder:
            msg = f"expected a bundle at the top or in one folder, found {_shown(info)}, which is deeper"
            raise _refused(msg)
        if name and name not in (*FILES, SUMS):
            msg = f"expected only the files of a bundle, found {_shown(info)}; leave it out"
            raise _refused(msg)
        folders.add(folder)
        if name:
            files[name] = info
    if len(folders) != 1 or not files:
        msg = f"expected the files of one bundle, found {'several folders' if files else 'none'}"
        raise _refused(msg)
    return folders.pop(), files


def _checked_path(info: zipfile.ZipInfo) -> str:
    """Return an entry's path without a slash at its end; refuse paths that lead elsewhere, links, devices, encryption and bombs."""
    path = info.orig_filename
    parts = path.removesuffix("/").split("/")
    if info.filename != path or not path.isprintable() or {"\\", ":"} & set(path) or {"", ".", ".."} & set(parts):
        msg = f"the path {_shown(info)} is no plain relative one"
        raise _refused(msg)
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        msg = f"{_shown(info)} is a link or a device, no regular file"
        raise _refused(msg)
    if info.flag_bits & 0x1:
        msg = f"{_shown(info)} is encrypted"
        raise _refused(msg)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        msg = f"{_shown(info)} is compressed in another way than 'deflate'"
        raise _refused(msg)
    if info.file_size > max(MIB, _MAX_RATIO * info.compress_size):
        msg = f"{_shown(info)} would unpack to more than {_MAX_RATIO} times its size"
        raise _refused(msg)
    return "/".join(parts)


def _shown(info: zipfile.ZipInfo) -> str:
    return f"'{printable(info.orig_filename, 80)}'"
