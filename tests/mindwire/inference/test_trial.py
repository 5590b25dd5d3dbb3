"""Graphs that pass every check by reading, but must not come into a stream: a bounded trial refuses them."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mindwire.errors import GraphTrialError
from mindwire.inference import trial
from mindwire.inference.load import load_decoder
from mindwire_models.bundle import load_bundle
from mindwire_models.export import export_bundle
from tests.support.networks import make_contract, make_network
from tests.support.sealing import seal

N_CHANNELS, N_TIMES, N_CLASSES = 3, 120, 2
MORE_MEMORY_KB = 450_000


def constant(name: str, value: object, kind: type = np.int64) -> TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype=kind), name)


# The first samples of as many channels as there are classes: logits that are right in kind and shape.
LOGITS = [
    helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2], keepdims=0),
    helper.make_node("Slice", ["mean", "zero", "classes", "axis"], ["right"]),
    helper.make_node("ReduceMean", ["alignment"], ["scale"], axes=[1, 2], keepdims=0),
]
NUMBERS = [constant("zero", [0]), constant("classes", [N_CLASSES]), constant("axis", [1])]
REDUCED = helper.make_node("ReduceMax", ["much"], ["largest"], keepdims=0)
ADDED = helper.make_node("Add", ["right", "largest"], ["logits"])


def endless() -> list[onnx.NodeProto]:
    condition = helper.make_tensor_value_info("c_in", TensorProto.BOOL, [])
    body = helper.make_graph(
        [helper.make_node("Identity", ["c_in"], ["c_out"]), helper.make_node("Add", ["v_in", "v_in"], ["v_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            condition,
            helper.make_tensor_value_info("v_in", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("c_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", TensorProto.FLOAT, None),
        ],
    )
    return [helper.make_node("Loop", ["times", "yes", "right"], ["logits"], body=body)]


GRAPHS: dict[str, tuple[list[onnx.NodeProto], list[TensorProto], str]] = {
    "constant of 6 GB": (
        [helper.make_node("ConstantOfShape", ["size"], ["much"]), REDUCED, ADDED],
        [constant("size", [1_500_000_000])],
        "asks for more than 384 MiB",
    ),
    "6 GB that depend on the input": (
        [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Mul", ["shape", "factor"], ["size"]),
            helper.make_node("ConstantOfShape", ["size"], ["much"]),
            REDUCED,
            ADDED,
        ],
        [constant("factor", [1, 1000, 4000])],
        "asks for more than 384 MiB",
    ),
    "endless": (endless(), [constant("times", 10**15), constant("yes", True, np.bool_)], "takes more than"),
    "not a number": (
        [helper.make_node("Mul", ["right", "nan"], ["logits"])],
        [constant("nan", np.nan, np.float32)],
        "expected finite logits",
    ),
    "infinite": (
        [helper.make_node("Mul", ["right", "inf"], ["logits"])],
        [constant("inf", np.inf, np.float32)],
        "expected finite logits",
    ),
    "out of range": (
        [helper.make_node("Gather", ["right", "far"], ["logits"], axis=1)],
        [constant("far", [0, 77])],
        "fails in its operator Gather",
    ),
    "another shape than declared": (
        [helper.make_node("Concat", ["right", "right"], ["logits"], axis=1)],
        [],
        "other shapes|fails in its operator",
    ),
}


def make_graph(nodes: list[onnx.NodeProto], initializers: list[TensorProto]) -> bytes:
    def value(name: str, *shape: object) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])

    graph = helper.make_graph(
        [*LOGITS, *nodes, helper.make_node("Softmax", ["logits"], ["probabilities"])],
        "hostile",
        [value("x", N_CHANNELS, N_TIMES), value("alignment", N_CHANNELS, N_CHANNELS)],
        [value("logits", N_CLASSES), value("probabilities", N_CLASSES)],
        [*NUMBERS, *initializers],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = make_network(n_outputs=N_CLASSES)
    folder = tmp_path_factory.mktemp("bundles") / "small"
    export_bundle(network, make_contract(network), folder, name="small", provenance="For tests.")
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy without streaming graphs."""
    copy = Path(shutil.copytree(exported, tmp_path / "bundle"))
    sums = copy / "SHA256SUMS"
    for name in ("streaming.onnx", "stem.onnx", "recording.onnx"):
        (copy / name).unlink(missing_ok=True)
    kept = [line for line in sums.read_text().splitlines() if (copy / line.split("  ")[1]).exists()]
    sums.write_text("".join(f"{line}\n" for line in kept))
    return copy


@pytest.mark.parametrize("name", GRAPHS)
def test_a_hostile_graph_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    nodes, initializers, message = GRAPHS[name]
    (folder / "model.onnx").write_bytes(make_graph(nodes, initializers))
    seal(folder)
    bundle = load_bundle(folder)
    if name == "endless":
        monkeypatch.setattr(trial, "_MAX_SECONDS", 0.5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for engine in ("auto", "onnxruntime"):  # PyTorch does not take the place of a graph that is refused
        with pytest.raises(GraphTrialError, match=message) as caught:
            load_decoder(bundle, engine)  # type: ignore[arg-type]
        assert str(caught.value).isprintable()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MORE_MEMORY_KB


@pytest.mark.parametrize("graph", ["stem.onnx", "streaming.onnx"])
def test_streaming_graphs_take_part(exported: Path, tmp_path: Path, graph: str) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "bundle"))
    model = onnx.load(folder / graph)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = np.full(tensor.dims, np.nan, dtype=np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    (folder / graph).write_bytes(model.SerializeToString())
    seal(folder)
    with pytest.raises(GraphTrialError, match="finite"):
        load_decoder(load_bundle(folder))


def test_a_sound_graph_passes_and_is_tried_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "model.onnx").write_bytes(make_graph([helper.make_node("Identity", ["right"], ["logits"])], []))
    seal(folder)
    bundle = load_bundle(folder)
    load_decoder(bundle)
    monkeypatch.setattr(trial, "_decode_noise", lambda *_: pytest.fail("tried again"))
    load_decoder(bundle)
