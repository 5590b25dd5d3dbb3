"""A bundle cannot be misused: whatever is wrong with one is said in a sentence, and nothing of it is used."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from safetensors.torch import load_file, save_file

from mindwire_models.bundle import load_bundle, load_network, write_bundle, write_policy
from mindwire_models.errors import BundleError, ContractError, MindwireError, MissingExtraError, extra
from tests.support.networks import make_network
from tests.support.rewriting import rewrite
from tests.support.sealing import seal

FILES = ("bundle.json", "config.json", "contract.json", "model.onnx", "model.safetensors", "README.md", "SHA256SUMS")


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_onnx(folder: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(folder / "model.onnx")
    change(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def refused(folder: Path, message: str, kind: type[MindwireError] = BundleError) -> None:
    with pytest.raises(kind, match=message) as caught:
        load_bundle(folder)
    assert "\n" not in str(caught.value)


def test_a_bundle_holds_what_it_should(exported: Path) -> None:
    bundle = load_bundle(exported)
    assert {path.name for path in exported.iterdir()} >= set(FILES)
    assert (bundle.name, bundle.graph, bundle.config["n_chans"]) == ("small", "folded", 3)
    checked = subprocess.run(
        ["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=exported, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_a_bundle_of_an_earlier_version_with_a_graph_for_recordings_loads(folder: Path) -> None:
    assert not (folder / "recording.onnx").exists()
    (folder / "recording.onnx").write_bytes(b"nothing reads this")
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  recording.onnx\n")
    seal(folder)
    assert load_bundle(folder).streaming is not None
    (folder / "recording.onnx").write_bytes(b"nothing may change it either")
    refused(folder, "recording.onnx: expected SHA-256")


def test_the_network_comes_back(exported: Path) -> None:
    expected = make_network().state_dict()
    found = load_network(load_bundle(exported)).state_dict()
    assert all(expected[name].equal(tensor) for name, tensor in found.items())


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_noticed(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    refused(folder, "expected" if name == "SHA256SUMS" else name)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_noticed(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    refused(folder, name)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_noticed(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder, "found a folder without" if name == "SHA256SUMS" else "cannot be read")


@pytest.mark.parametrize("keep", [0, 1, 100, 3000])
@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors", "config.json", "bundle.json"])
def test_a_truncated_file_with_a_right_hash_is_noticed(folder: Path, name: str, keep: int) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: min(keep, len(data) - 2)])
    seal(folder)
    refused(folder, name)


def test_wrong_versions_are_refused(folder: Path) -> None:
    edit_json(folder / "bundle.json", version=2)
    seal(folder)
    refused(folder, "expected bundle version 1, found 2")
    edit_json(folder / "bundle.json", version=1)
    edit_json(folder / "contract.json", version=9)
    seal(folder)
    refused(folder, "expected contract version 1, found 9", ContractError)
    edit_json(folder / "contract.json", version=1)

    def newer(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = 19

    edit_onnx(folder, newer)
    seal(folder)
    refused(folder, "operator set 1 to 18, found 19")


def test_a_graph_with_another_channel_count_is_refused(folder: Path) -> None:
    def widen(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4

    edit_onnx(folder, widen)
    seal(folder)
    refused(folder, r"'x' of shape batch×3×120, found batch×4×120")


def test_a_graph_with_other_inputs_is_refused(folder: Path) -> None:
    def extend(model: onnx.ModelProto) -> None:
        model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))

    edit_onnx(folder, extend)
    seal(folder)
    refused(folder, "expected the inputs x, alignment, found x, alignment, more")


def test_a_streaming_graph_with_inputs_of_another_rank_is_refused(folder: Path) -> None:
    model = onnx.load(folder / "streaming.onnx")
    del model.graph.input[0].type.tensor_type.shape.dim[1:]
    (folder / "streaming.onnx").write_bytes(model.SerializeToString())
    seal(folder)
    refused(folder, r"'spatial' of shape batch×0×3, found batch")


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"n_chans": 4}, "3 channels, found 4"),
        ("config.json", {"n_times": None}, "120 samples per window, found None"),
        ("config.json", {"n_outputs": 3}, "2 classes, found 3"),
        ("config.json", {"sfreq": 128}, "250 Hz, found 128"),
        ("contract.json", {"channels": ["C3", "C4"]}, "2 channels, found 3"),
        ("contract.json", {"window_samples": 100}, "100 samples per window, found 120"),
        ("bundle.json", {"graph": "plain"}, "expected the inputs x, found x, alignment"),
        ("bundle.json", {"graph": "streaming"}, "'plain' or 'folded'"),
        ("bundle.json", {"name": 3}, "name is wrong"),
    ],
)
def test_documents_that_disagree_are_refused(folder: Path, file: str, changes: dict[str, object], message: str) -> None:
    edit_json(folder / file, **changes)
    seal(folder)
    refused(folder, message)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    key = "input_block.spatial_conv.weight"
    save_file(weights | {key: weights[key].repeat(1, 1, 2, 1)}, folder / "model.safetensors")
    seal(folder)
    refused(folder, "3 channels, found 6")
    save_file({"something": weights[key].clone()}, folder / "model.safetensors")
    seal(folder)
    refused(folder, "expected the weights of an AttentionBaseNet")


def keep_outside(tensor: onnx.TensorProto, location: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location


@pytest.mark.parametrize("location", ["/etc/passwd", "../../secret.bin", "weights.bin"])
def test_external_data_is_refused_wherever_it_points(folder: Path, location: str) -> None:
    edit_onnx(folder, lambda model: keep_outside(model.graph.initializer[0], location))
    seal(folder)
    refused(folder, "kept in another file")


def test_external_data_is_found_in_every_corner(folder: Path) -> None:
    original = (folder / "model.onnx").read_bytes()
    tensor = helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])
    keep_outside(tensor, "/etc/passwd")
    inner = helper.make_graph([helper.make_node("Constant", [], ["o"], value=tensor)], "inner", [], [])
    nested = helper.make_graph([], "nested", [], [], initializer=[tensor])
    sparse = onnx.SparseTensorProto(dims=[1])
    sparse.values.CopyFrom(tensor)
    nodes = [
        helper.make_node("Constant", [], ["o"], value=tensor),
        helper.make_node("If", ["c"], ["o"], then_branch=inner, else_branch=nested),
        helper.make_node("Constant", [], ["o"], sparse_value=sparse),
    ]
    for node in nodes:
        (folder / "model.onnx").write_bytes(original)
        edit_onnx(folder, lambda model, node=node: model.graph.node.append(node))
        seal(folder)
        refused(folder, "kept in another file")


def test_operators_of_unknown_origin_are_refused(folder: Path) -> None:
    node = helper.make_node("Anything", ["x"], ["o"], domain="evil.example")
    edit_onnx(folder, lambda model: model.graph.node.append(node))
    seal(folder)
    refused(folder, "'evil.example', which is refused")


def test_more_operators_than_any_network_has_are_refused(folder: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], [f"o{number}"]) for number in range(10_001)]
    edit_onnx(folder, lambda model: model.graph.node.extend(nodes))
    seal(folder)
    refused(folder, "at most 10000 operators")


def test_a_path_that_leaves_the_bundle_is_refused(folder: Path) -> None:
    sums = (folder / "SHA256SUMS").read_text()
    for name in ("../secret", "/etc/passwd", "sub/model.onnx", "model.onnx/../../x"):
        (folder / "SHA256SUMS").write_text(sums + f"{'0' * 64}  {name}\n")
        refused(folder, "which is refused")


def test_a_link_that_leaves_the_bundle_is_refused(folder: Path) -> None:
    outside = folder.parent / "outside.onnx"
    (folder / "model.onnx").rename(outside)
    (folder / "model.onnx").symlink_to(outside)
    refused(folder, "outside the bundle")


def test_what_is_too_large_is_refused_without_being_read(folder: Path) -> None:
    os.truncate(folder / "config.json", 1 << 40)  # sparse: it takes no space
    refused(folder, "expected at most 16 MiB")


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "nothing", "found nothing")
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file", "found a file")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "SHA256SUMS")


def test_a_file_changed_after_loading_is_not_used(folder: Path) -> None:
    bundle = load_bundle(folder)
    verified = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(b"something else")
    assert bundle.read("model.onnx") == verified
    refused(folder, "changed or damaged")
    with pytest.raises(BundleError, match="has no secret"):
        bundle.read("secret")


def test_writing_replaces_a_bundle_and_nothing_else(folder: Path, exported: Path, tmp_path: Path) -> None:
    source = load_bundle(exported)
    assert rewrite(source, folder).name == "other"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    (tmp_path / "empty").mkdir()
    assert rewrite(source, tmp_path / "empty").name == "other"
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    for place in (tmp_path / "thesis", tmp_path / "thesis" / "chapter1.tex"):
        with pytest.raises(BundleError, match="is not a Mindwire bundle"):
            rewrite(source, place)
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "years of work"


@pytest.mark.parametrize("name", ["", "a\nb", "n" * 201])
def test_a_name_that_no_bundle_can_have_is_refused(exported: Path, tmp_path: Path, name: str) -> None:
    source = load_bundle(exported)
    graphs = {"model.onnx": source.read("model.onnx")}
    with pytest.raises(BundleError, match=r"The model's name is wrong \(.*\); give another with --name\."):
        write_bundle(
            tmp_path / "bundle",
            name=name,
            contract=source.contract,
            config=source.config,
            weights=source.read("model.safetensors"),
            graph=source.graph,
            graphs=graphs,
            card="",
        )
    assert not list(tmp_path.iterdir())


def test_broken_code_of_our_own_is_no_missing_package() -> None:
    with pytest.raises(ModuleNotFoundError) as raised, extra("train", "Training needs PyTorch"):
        raise ModuleNotFoundError(name="mindwire_models.network.absent")
    assert not isinstance(raised.value, MissingExtraError)
    needs = "Training needs PyTorch"
    with pytest.raises(MissingExtraError, match=f"{needs}; install it with: pip"), extra("train", needs):
        raise ModuleNotFoundError(name="torch")


def test_parts_that_disagree_are_not_written(folder: Path, exported: Path, tmp_path: Path) -> None:
    source = load_bundle(exported)
    before = load_bundle(folder)
    with pytest.raises(BundleError, match="damaged or truncated"):
        write_bundle(
            folder,
            name="bad",
            contract=source.contract,
            config=source.config,
            weights=source.read("model.safetensors"),
            graph=source.graph,
            graphs={"model.onnx": source.read("model.onnx")[:-100]},
            card="",
        )
    assert load_bundle(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_full_disk_leaves_the_old_bundle(folder: Path, tmp_path: Path) -> None:
    before = load_bundle(folder)
    script = f"""
import resource, signal, sys
sys.path.insert(0, {str(Path.cwd())!r})
from mindwire_models.bundle import load_bundle
from tests.support.rewriting import rewrite
from pathlib import Path
bundle = load_bundle({str(folder)!r})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # no file may grow beyond this: writing fails as on a full disk
try:
    rewrite(bundle, Path({str(folder)!r}))
except Exception as error:
    print(type(error).__name__, error)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.startswith("BundleError")
    assert "could not be written" in run.stdout
    assert load_bundle(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_crash_leaves_the_old_bundle_or_the_new_one(folder: Path) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(Path.cwd())!r})
from mindwire_models.bundle import load_bundle
from tests.support.rewriting import rewrite
from pathlib import Path
bundle = load_bundle({str(folder)!r})
print("ready", flush=True)
number = 0
while True:
    number += 1
    rewrite(load_bundle({str(folder)!r}), Path({str(folder)!r}), f"copy {{number}}")
"""
    for wait in (0.0, 0.05, 0.11):
        writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            load_bundle(folder)  # a reader beside the writer sees a whole bundle, too
        writer.send_signal(signal.SIGKILL)
        writer.wait(timeout=30)
        writer.stdout.close()
        assert load_bundle(folder).name.startswith(("small", "copy "))


def test_a_control_policy_becomes_part_of_a_bundle_without_another_identity(folder: Path) -> None:
    before = load_bundle(folder)
    after = write_policy(before, '{"version": 1}')
    assert load_bundle(folder) == after
    assert (before.policy, after.policy) == (None, b'{"version": 1}')
    assert after.sha256 == before.sha256
    assert write_policy(after, "{}").policy == b"{}"
    (folder / "control.json").write_text('{"version": 2}')
    refused(folder, "control.json: expected SHA-256")


def test_a_control_policy_is_not_written_into_another_model(folder: Path) -> None:
    before = load_bundle(folder)
    edit_json(folder / "bundle.json", name="another")
    seal(folder)
    with pytest.raises(BundleError, match="another model has been written there"):
        write_policy(before, "{}")
    assert not (folder / "control.json").exists()
