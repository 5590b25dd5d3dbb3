"""Archives of bundles from anywhere: what is no plain bundle is refused in one sentence, before it is unpacked."""

from __future__ import annotations

import io
import stat
import struct
import warnings
import zipfile

import pytest

from mindwire_models import zoo
from mindwire_models.archive import read_archive
from mindwire_models.bundle import SUMS
from mindwire_models.errors import BundleError
from tests.support.archives import archive, link_to, zipped


def refused(data: bytes) -> str:
    with pytest.raises(BundleError, match=r"^The archive is refused: .*\.$") as caught:
        read_archive(io.BytesIO(data))
    return str(caught.value)


@pytest.mark.parametrize(("under", "folder"), [("", ""), ("model/", "model"), ("my model/", "my model")])
def test_a_bundle_lies_at_the_top_or_in_one_folder(under, folder):
    found, files = read_archive(io.BytesIO(zipped(under=under)))
    assert found == folder
    assert files == {path.name: path.read_bytes() for path in zoo.zoo_bundle_path().iterdir()}


def test_what_macos_adds_and_entries_of_folders_do_not_matter():
    data = zipped(**{"../__MACOSX/model/._README.md": None}, **{".DS_Store": b"x"})
    assert read_archive(io.BytesIO(data))[0] == "model"
    with_folder = archive({"model/": b"", f"model/{SUMS}": b"x", "__MACOSX/": b"", "__MACOSX/model/._x": b"x"})
    assert read_archive(io.BytesIO(with_folder)) == ("model", {SUMS: b"x"})


@pytest.mark.parametrize(
    "path",
    [
        "../README.md", "model/../../README.md", "/README.md", "/etc/passwd", "model//README.md", "./README.md", "C:/README.md",
        "C:README.md", "model\\README.md", "..\\README.md", "model/README.md\n", "model/README.md\u202e", "model/..", "..", "/",
    ],
)  # fmt: skip
def test_paths_that_lead_elsewhere_are_refused(path):
    assert "plain relative" in refused(archive({path: b"x"}))


def test_a_path_that_a_nul_would_shorten_is_refused():
    data = archive({"model/README.md_evil": b"x"}).replace(b"README.md_evil", b"README.md\0evil")
    assert "plain relative" in refused(data)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_are_refused(kind):
    assert "link or a device" in refused(link_to("/etc/passwd", kind))


def test_bombs_are_refused():
    assert "200 times" in refused(archive({"model/model.safetensors": bytes(20 << 20)}))
    inner = archive({"model.safetensors": bytes(10 << 20)})
    assert "only the files of a bundle" in refused(archive({f"model/{i}.zip": inner for i in range(10)}))


def test_an_entry_that_lies_about_its_size_is_refused():
    data = bytearray(archive({"model/README.md": b"x" * 5000}))
    for at, offset in ((data.index(b"PK\3\4"), 22), (data.index(b"PK\1\2"), 24)):
        struct.pack_into("<L", data, at + offset, 100)
    assert "damaged" in refused(bytes(data))


def test_more_than_fits_when_unpacked_is_refused(monkeypatch):
    monkeypatch.setattr("mindwire_models.archive.MAX_CONTENT_BYTES", 1 << 16)
    assert "when unpacked" in refused(zipped())


def test_many_entries_are_refused_before_they_are_read(monkeypatch):
    assert "at most 64 entries" in refused(archive({f"model/{i}": b"" for i in range(65)}))
    many = archive({f"model/{i:05}": b"" for i in range(20_000)})
    monkeypatch.setattr(zipfile, "ZipFile", None)
    assert "far more entries" in refused(many)
    assert "far more entries" in refused(many[:-2] + b"\5\0hello")
    assert "far more entries" in refused(with_zip64_end(many))


def with_zip64_end(data: bytes) -> bytes:
    end = data.rindex(b"PK\5\6")
    size, offset = struct.unpack_from("<LL", data, end + 12)
    record = b"PK\6\6" + struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, 20_000, 20_000, size, offset)
    locator = b"PK\6\7" + struct.pack("<LQL", 0, end, 1)
    return data[:end] + record + locator + b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, 1, 1, 0xFFFF, 0, 0)


def test_files_twice_are_refused_in_capital_letters_or_not():
    assert "once" in refused(archive({"model/README.md": b"", "model/readme.MD": b""}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as out:
            out.writestr("model/README.md", b"one")
            out.writestr("model/README.md", b"two")
    assert "once" in refused(made.getvalue())


def test_what_is_not_one_bundle_is_refused():
    assert "deeper" in refused(zipped(under="a/model/"))
    assert "several folders" in refused(archive({"a/README.md": b"", "b/config.json": b""}))
    assert "several folders" in refused(archive({"README.md": b"", "b/config.json": b""}))
    assert "found none" in refused(archive({}))
    assert "'model/weights.pt'" in refused(zipped(**{"weights.pt": b"x"}))


def test_damaged_encrypted_and_foreign_archives_are_refused():
    whole = zipped()
    for n in (0, 1, 21, 22, 100, len(whole) // 2, len(whole) - 1):
        assert "damaged" in refused(whole[:n])
    assert "damaged" in refused(whole[1000:])
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0xFF
    refused(bytes(flipped))
    encrypted = bytearray(archive({"model/README.md": b"x"}))
    encrypted[encrypted.index(b"PK\1\2") + 8] |= 1
    assert "encrypted" in refused(bytes(encrypted))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_LZMA) as out:
        out.writestr("model/README.md", b"x" * 100)
    assert "deflate" in refused(made.getvalue())
