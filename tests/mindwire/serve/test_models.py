"""The folder of models: listed as it is, uploads verified before they are in it, nothing overwritten, none deleted in use."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from mindwire.errors import BundleError, ModelConflictError, UnknownModelError, UsageError
from mindwire.serve.models import ModelStore
from mindwire_models import zoo
from mindwire_models.bundle import load_bundle
from tests.support.archives import archive, link_to, zipped
from tests.support.sealing import seal
from tests.support.standin import StandIn, served

JSON = {"Content-Type": "application/json"}
ZIP = {"Content-Type": "application/zip"}
ZOO = zoo.zoo_bundle_path()
SHA = load_bundle(ZOO).sha256


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "models"


@contextmanager
def service(folder: Path | None, *streams: StandIn, **access):
    with (
        served(*streams, models=ModelStore(folder), **access) as address,
        httpx.Client(base_url=f"http://{address}", headers=JSON) as http,
    ):
        yield http


def content(folder: Path) -> dict[str, float]:
    return {str(path.relative_to(folder)): path.is_file() and path.stat().st_mtime for path in folder.rglob("*")}


def bundle_with(tmp_path: Path, **changes: object) -> Path:
    """The bundle for demonstration, otherwise described."""
    made = tmp_path / "changed"
    shutil.copytree(ZOO, made)
    about = json.loads((made / "bundle.json").read_bytes()) | changes
    (made / "bundle.json").write_text(json.dumps(about))
    seal(made)
    return made


def test_an_upload_is_listed_with_all_that_is_known_of_it_and_deleted(folder):
    with service(folder) as http:
        assert http.get("/v1/models").json() == []
        made = http.post("/v1/models", content=zipped(), headers=ZIP)
        assert made.status_code == 201
        (model,) = http.get("/v1/models").json()
        assert made.json().items() <= model.items()
        assert model["id"] == "model"
        assert model["sha256"] == SHA
        assert model["classes"] == ["feet", "left_hand", "right_hand", "tongue"]
        assert model["contract"]["sfreq"] == 250.0
        assert "sos" not in model["contract"]
        assert model["policy"]["budget_per_minute"] == 1.0
        assert len(model["policy"]["hash"]) == 64
        assert model["card"].startswith("---")
        assert "real brains" in model["notice"]
        assert model["streams"] == []
        assert model["engine"] == ""
        assert sorted(path.name for path in folder.iterdir()) == ["model"]
        assert load_bundle(folder / "model").sha256 == SHA
        assert http.delete("/v1/models/model").status_code == 204
        assert http.delete("/v1/models/model").status_code == 404
        assert http.get("/v1/models").json() == []
        assert not list(folder.iterdir())


def test_the_id_is_given_or_the_folders_name_or_the_models(folder):
    with service(folder) as http:
        assert http.post("/v1/models?id=mine", content=zipped(), headers=ZIP).json()["id"] == "mine"
        assert http.post("/v1/models", content=zipped(under="My Model/"), headers=ZIP).json()["id"] == "My-Model"
        assert http.post("/v1/models", content=zipped(under=""), headers=ZIP).json()["id"] == "simulated-4class"
        for wrong in ("../x", "a/b", ".hidden", "x" * 65, "a b", "%00"):
            answer = http.post("/v1/models", params={"id": wrong}, content=zipped(), headers=ZIP)
            assert answer.status_code == 422, wrong
            assert "id of letters" in answer.json()["detail"]
        assert {path.name for path in folder.iterdir()} == {"mine", "My-Model", "simulated-4class"}


def test_nothing_is_overwritten(folder, tmp_path):
    other = bundle_with(tmp_path, name="other")
    with service(folder) as http:
        assert http.post("/v1/models", content=zipped(), headers=ZIP).status_code == 201
        before = content(folder)
        same = http.post("/v1/models", content=zipped(), headers=ZIP)
        assert same.status_code == 200
        assert same.json()["sha256"] == SHA
        for reference in ("model", "MODEL"):
            refused = http.post("/v1/models", params={"id": reference}, content=zipped(other), headers=ZIP)
            assert refused.status_code == 409
            assert "not overwritten" in refused.json()["detail"]
        assert content(folder) == before


def test_a_model_in_use_is_not_deleted_and_is_listed_with_its_streams(folder):
    left, right = StandIn("left"), StandIn("right")
    shutil.copytree(ZOO, folder / "zoo")
    left.said = {"model": left.status().model.model_copy(update={"sha256": SHA})}
    with service(folder, left, right) as http:
        used, elsewhere = http.get("/v1/models").json()
        assert (used["id"], used["streams"], used["engine"]) == ("zoo", ["left"], "onnxruntime")
        assert used["contract"] is not None
        assert (elsewhere["id"], elsewhere["streams"], elsewhere["name"]) == (None, ["right"], "stand-in")
        refused = http.delete("/v1/models/zoo")
        assert refused.status_code == 409
        assert "left" in refused.json()["detail"]
        assert (folder / "zoo").is_dir()


@pytest.mark.parametrize("reference", ["..", ".", "%2e%2e", "..%2fother", "other", "%2fetc", "zoo%00", ".x.new"])
def test_only_what_is_listed_can_be_deleted(folder, tmp_path, reference):
    shutil.copytree(ZOO, folder / "zoo")
    shutil.copytree(ZOO, tmp_path / "other")
    shutil.copytree(ZOO, folder / ".x.new")
    before = content(tmp_path)
    with service(folder) as http:
        assert http.delete(f"/v1/models/{reference}").status_code in {404, 405}
    assert content(tmp_path) == before


def test_a_folder_with_more_than_a_bundle_is_left_alone(folder):
    shutil.copytree(ZOO, folder / "zoo")
    (folder / "zoo" / "notes.txt").write_text("of the person")
    with service(folder) as http:
        refused = http.delete("/v1/models/zoo")
        assert refused.status_code == 409
        assert "notes.txt" in refused.json()["detail"]
        assert (folder / "zoo" / "notes.txt").exists()


def test_refused_uploads_change_nothing_and_leave_nothing(folder, tmp_path):
    newer = bundle_with(tmp_path, version=99)
    policy = json.loads((ZOO / "control.json").read_bytes()) | {"idle": "nothing"}
    unfit = bundle_with(tmp_path / "policy")
    (unfit / "control.json").write_text(json.dumps(policy))
    seal(unfit)
    (outside := tmp_path / "outside").write_text("secret")
    whole = zipped()
    uploads = {
        "no ZIP archive": b"hello",
        "damaged": whole[: len(whole) // 2],
        "changed|hash": zipped(**{"README.md": b"another card"}),
        "no hash|without": zipped(SHA256SUMS=None),
        "bundle version 1": zipped(newer),
        "no class nothing": zipped(unfit),
        "plain relative": archive({"../../outside": b"x", "model/README.md": b"x"}),
        "link": link_to(str(outside)),
        "200 times": archive({"model/model.onnx": bytes(64 << 20)}),
        "64 entries": archive({f"model/{i}": b"" for i in range(100)}),
        "only the files": zipped(**{"pytorch_model.bin": b"\x80\x04cos\nsystem\n"}),
        "deeper": zipped(under="a/b/"),
    }
    (folder / "kept").mkdir(parents=True)
    before = content(tmp_path)
    with service(folder) as http:
        for expected, data in uploads.items():
            refused = http.post("/v1/models", content=data, headers=ZIP)
            assert refused.status_code == 422, expected
            sentence = refused.json()["detail"]
            assert any(part in sentence for part in expected.split("|")), sentence
            assert str(tmp_path) not in sentence
            assert ".new" not in sentence
        for kind in ("application/json", "multipart/form-data", "text/plain", "application/x-www-form-urlencoded"):
            assert http.post("/v1/models", content=whole, headers={"Content-Type": kind}).status_code == 415
        assert http.post("/v1/models", content=whole).status_code == 415
        assert http.get("/v1/models").json() == []
    assert content(tmp_path) == before
    assert outside.read_text() == "secret"


def test_an_upload_has_a_limit_and_other_requests_keep_theirs(folder, monkeypatch):
    monkeypatch.setattr("mindwire.api.limits.MAX_UPLOAD_BYTES", 1 << 20)
    stream = StandIn()
    with service(folder, stream) as http:
        for body in (bytes(2 << 20), iter([bytes(1 << 19)] * 4)):  # announced, and found while it comes
            refused = httpx.post(http.base_url.join("/v1/models"), content=body, headers=ZIP)
            assert refused.status_code == 413
            assert "1 MiB" in refused.json()["detail"]
        large = b"{" + b" " * (70 << 10) + b"}"
        refused = http.put("/v1/streams/eeg/control", content=large, headers={"Content-Type": "application/json"})
        assert refused.status_code == 413
        assert "64 KiB" in refused.json()["detail"]
    assert not list(folder.iterdir())


def test_without_a_folder_or_the_token_nothing_is_uploaded(folder):
    with service(None) as http:
        for answer in (http.post("/v1/models", content=zipped(), headers=ZIP), http.delete("/v1/models/x")):
            assert answer.status_code == 409
            assert "--models" in answer.json()["detail"]
    with service(folder, token="correct-horse") as http:
        assert http.post("/v1/models", content=zipped(), headers=ZIP).status_code == 401
        assert (
            http.post("/v1/models", content=zipped(), headers={**ZIP, "Origin": "https://evil.example"}).status_code
            == 403
        )
        assert not list(folder.iterdir())


def test_an_upload_that_ends_early_leaves_nothing_and_one_at_a_time_is_taken(folder):
    whole = zipped()
    head = f"POST /v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/zip\r\nContent-Length: {len(whole)}\r\n\r\n"
    with service(folder) as http:
        with socket.create_connection((http.base_url.host, http.base_url.port)) as slow:
            slow.sendall(head.encode() + whole[:1000])
            deadline = time.monotonic() + 20
            while (refused := http.post("/v1/models", content=whole, headers=ZIP)).status_code != 429:
                assert refused.status_code in {200, 201}
                assert time.monotonic() < deadline
            assert "in progress" in refused.json()["detail"]
            for path in folder.iterdir():
                shutil.rmtree(path)
        while (answer := http.post("/v1/models", content=whole, headers=ZIP)).status_code == 429:
            assert time.monotonic() < deadline
        assert answer.status_code == 201
        assert [path.name for path in folder.iterdir()] == ["model"]


def test_the_list_is_the_folder_as_it_is(folder):
    store = ModelStore(folder)
    shutil.copytree(ZOO, folder / "zoo")
    (folder / "notes").mkdir()
    (folder / "file.txt").write_text("x")
    assert [model.id for model in store.list()] == ["zoo"]
    assert store.path("zoo") == folder / "zoo"
    shutil.copytree(ZOO, folder / "damaged")
    (folder / "damaged" / "model.onnx").write_bytes(b"x")
    shutil.copytree(ZOO, folder / "with space")
    damaged, space, fine = store.list()
    assert "model.onnx" in damaged.error
    assert str(folder) not in damaged.error
    assert "rename" in space.error
    assert fine.error is None
    with pytest.raises(BundleError, match="damaged"):
        store.path("damaged")
    for reference in ("none", "..", "../models/zoo", "", "ZOO/"):
        with pytest.raises(UnknownModelError, match="zoo"):
            store.path(reference)
    with pytest.raises(UnknownModelError, match="--models"):
        ModelStore(None).path("zoo")
    shutil.rmtree(folder / "damaged")
    shutil.rmtree(folder / "with space")
    assert [model.id for model in store.list()] == ["zoo"]


def test_a_bundle_is_read_again_only_when_a_file_has_changed(folder, monkeypatch):
    store = ModelStore(folder)
    shutil.copytree(ZOO, folder / "zoo")
    loads = []
    monkeypatch.setattr("mindwire.serve.models.load_bundle", lambda path: loads.append(path) or load_bundle(path))
    assert store.list() == store.list()
    assert len(loads) == 1
    (folder / "zoo" / "README.md").write_text("changed in place")
    assert "README.md" in store.list()[0].error
    assert len(loads) == 2


def test_a_link_is_listed_and_deleted_and_what_it_names_stays(folder, tmp_path):
    store = ModelStore(folder)
    shutil.copytree(ZOO, tmp_path / "zoo")
    (folder / "linked").symlink_to(tmp_path / "zoo")
    assert [model.id for model in store.list()] == ["linked"]
    store.delete("linked", ())
    assert store.list() == []
    assert (tmp_path / "zoo" / "model.onnx").exists()


def test_what_a_killed_service_left_is_removed_later(folder):
    for name, age in ((".model.1234abcd.new", 7200), (".model.1234abce.new", 10), (".mine.new", 7200)):
        (folder / name).mkdir(parents=True)
        os.utime(folder / name, (time.time() - age,) * 2)
    ModelStore(folder)
    assert sorted(path.name for path in folder.iterdir()) == [".mine.new", ".model.1234abce.new"]


def test_a_folder_that_cannot_be_one_is_refused(tmp_path):
    with pytest.raises(UsageError, match="found the bundle"):
        ModelStore(ZOO)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="--models"):
        ModelStore(tmp_path / "file")


def test_many_add_at_once_and_one_is_kept(folder, tmp_path):
    store = ModelStore(folder)
    data = [zipped(), zipped(bundle_with(tmp_path, name="other"))]
    results: list[object] = []

    def add(which: int) -> None:
        try:
            results.append(store.add(io.BytesIO(data[which]))[0].sha256)
        except ModelConflictError:
            results.append(None)

    threads = [threading.Thread(target=add, args=(i % 2,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 6
    assert len(set(results) - {None}) == 1
    assert [model.sha256 for model in store.list()] == list(set(results) - {None})
