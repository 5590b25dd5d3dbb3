"""Decoders from outside: ONNX graphs become bundles that give the same, and anything else is refused, with nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from scipy.special import softmax  # noqa: E402

from mindwire_models.bundle import load_bundle, load_module  # noqa: E402
from mindwire_models.contract import Contract  # noqa: E402
from mindwire_models.errors import BundleError, MindwireError  # noqa: E402
from mindwire_models.external import ExternalDecoder, export_external, read_onnx_file  # noqa: E402
from tests.support.onnx_graphs import N_CHANS, N_CLASSES, N_TIMES, log_power, logits_of, model, value  # noqa: E402

CONTRACT = Contract(
    channels=("C3", "Cz", "C4"),
    sfreq=100.0,
    window_samples=N_TIMES,
    hop_samples=10,
    classes=("left_hand", "right_hand"),
)
X = 10 * np.random.default_rng(5).standard_normal((4, N_CHANS, N_TIMES)).astype(np.float32)


def decoder(graph: bytes, output=None, **terms) -> ExternalDecoder:
    return ExternalDecoder(graph, output, "ONNX file net.onnx", "Made up.", **terms)


def export(graph: bytes, tmp_path: Path, output=None, contract: Contract = CONTRACT, warn=None, **terms):
    return export_external(decoder(graph, output, **terms), contract, tmp_path / "out", name="net", warn=warn)


def refusal(graph: bytes, tmp_path: Path, **how) -> str:
    """The sentence with which a graph is refused; nothing is written."""
    with pytest.raises(MindwireError) as caught:
        export(graph, tmp_path, **how)
    assert list(tmp_path.iterdir()) == []
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("ONNX file net.onnx: ")
    assert text.endswith(".")
    return text


def run(bundle, x: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(bundle.read("model.onnx"), providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["x"]
    (logits,) = session.run(["logits"], {"x": x})
    return logits


@pytest.mark.parametrize("softmaxed", [False, True])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"opset": 11},
        {"opset": 9},
        {"opset": 18},
        {"opset": 22},
        {"opset": 28},
        {"dtype": "float64"},
        {"dtype": "float16"},
        {"batch": 1},
        {"n_times": "time"},
        {"names": ("logits", "x")},
        {"names": ("output", "floor")},
        {"ir_version": 4},
    ],
    ids=str,
)
def test_a_graph_becomes_a_bundle_that_gives_the_same(how: dict, softmaxed: bool, tmp_path: Path) -> None:
    graph = log_power(softmax=softmaxed, **how)
    expected = softmax(logits_of(X), axis=1)
    bundle = export(graph, tmp_path)
    assert ("Its outputs are probabilities" in (bundle.path / "README.md").read_text()) == softmaxed
    assert bundle.graph == "plain"
    assert "model.safetensors" not in bundle.digests
    found = softmax(run(load_bundle(bundle.path), X), axis=1)
    tolerance = 1e-2 if how.get("dtype") == "float16" else 1e-4
    np.testing.assert_allclose(found, expected, atol=tolerance)
    assert b"someone" not in bundle.read("model.onnx")


def test_the_same_graph_gives_the_same_bundle(tmp_path: Path) -> None:
    one, other, third = (export(log_power(seed=seed), tmp_path / str(k)) for k, seed in enumerate((0, 0, 1)))
    assert one.sha256 == other.sha256 != third.sha256


def test_the_card_says_what_it_is(tmp_path: Path) -> None:
    bundle = export(log_power(), tmp_path, reference=logits_of)
    card = (bundle.path / "README.md").read_text()
    assert "ONNX file net.onnx, from outside Mindwire, as an ONNX graph" in card
    assert "A window took" in card
    assert "differ from those of its source by at most" in card
    assert "library_name: onnx" in card


def test_outputs_that_are_named_are_taken_so(tmp_path: Path) -> None:
    said: list[str] = []
    bundle = export(log_power(softmax=True), tmp_path, output="logits", warn=said.append)
    assert "Its outputs are" not in (bundle.path / "README.md").read_text()
    assert "look like probabilities" in said[0]
    assert "expected probabilities that sum to 1" in refusal(log_power(), make(tmp_path, "b"), output="probabilities")


def make(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


def test_a_file_is_read_with_its_sizes(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(log_power(n_times="time"))
    found = read_onnx_file(path)
    assert (found.n_chans, found.n_times, found.n_outputs, found.sfreq) == (N_CHANS, None, N_CLASSES, None)
    with pytest.raises(BundleError, match="no such file"):
        read_onnx_file(tmp_path / "none.onnx")


def test_there_is_no_network_in_pytorch(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    bundle = export(log_power(), tmp_path)
    with pytest.raises(BundleError, match=r"found only an ONNX graph, of 'ONNX file net.onnx'"):
        load_module(bundle)


def node(operator: str, inputs: list[str], outputs: list[str], **attributes):
    return helper.make_node(operator, inputs, outputs, **attributes)


def after(*nodes, **how) -> bytes:
    """The classifier with further nodes, from ``inner`` to the last's output."""
    return log_power(extra=list(nodes), **how)


def constant(name: str, array) -> object:
    return numpy_helper.from_array(np.asarray(array), name)


def external_data() -> bytes:
    import onnx

    made = onnx.load_model_from_string(log_power())
    tensor = made.graph.initializer[1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return made.SerializeToString()


def batch_dependent() -> bytes:
    """Subtracts the mean over the batch."""
    return after(node("ReduceMean", ["inner"], ["mean"], axes=[0], keepdims=1), node("Sub", ["inner", "mean"], ["out"]))


def slow(rounds: int) -> bytes:
    """Multiplies matrices in a loop."""
    size = 256
    body = helper.make_graph(
        [node("MatMul", ["big", "before"], ["after_"]), node("Identity", ["going"], ["goes"])],
        "body",
        [
            value("round", kind=TensorProto.INT64),
            value("going", kind=TensorProto.BOOL),
            value("before", size, size),
        ],
        [value("goes", kind=TensorProto.BOOL), value("after_", size, size)],
    )
    return after(
        node("Loop", ["rounds", "", "big"], ["looped"], body=body),
        node("ReduceMax", ["looped"], ["most"], keepdims=0),
        node("Mul", ["most", "zero"], ["nothing"]),
        node("Add", ["inner", "nothing"], ["out"]),
        initializers=[
            constant("rounds", np.int64(rounds)),
            constant("big", np.full((size, size), 1 / size, np.float32)),
            constant("zero", np.float32(0)),
        ],
    )


def fixed_inside(**how) -> bytes:
    """Declares any batch, and reshapes to one window."""
    to = constant("to", np.array([1, N_CLASSES]))
    return after(node("Reshape", ["inner", "to"], ["out"]), initializers=[to], **how)


HOSTILE = {
    "garbage": (lambda: b"garbage" * 100, "an ONNX model"),
    "empty": (lambda: b"", "an ONNX model"),
    "truncated": (lambda: log_power()[:-40], "an ONNX model"),
    "external data": (external_data, "kept in another file"),
    "custom operator": (
        lambda: after(node("Fancy", ["inner"], ["out"], domain="com.acme"), domains=["com.acme"]),
        "'com.acme'",
    ),
    "operator of machine learning": (
        lambda: after(node("Normalizer", ["inner"], ["out"], domain="ai.onnx.ml"), domains=["ai.onnx.ml"]),
        "'ai.onnx.ml'",
    ),
    "unknown operator": (lambda: after(node("Fancy", ["inner"], ["out"])), "does not accept the graph"),
    "operator set too new": (lambda: log_power(opset=29), "operator set 9 to 28, found 29"),
    "operator set too old": (lambda: log_power(opset=8), "found 8"),
    "two inputs": (
        lambda: log_power(inputs=[value("eeg", "N", N_CHANS, N_TIMES), value("age", "N", 1)]),
        "expected one input (batch, n_channels, n_times), found 2 ('eeg', 'age')",
    ),
    "no input": (lambda: log_power(inputs=[]), "found 0 (none)"),
    "two outputs": (
        lambda: log_power(outputs=[value("scores", "N", N_CLASSES), value("features", "N", N_CHANS)]),
        "expected one output (batch, n_classes), found 2 ('scores', 'features')",
    ),
    "integers in": (
        lambda: log_power(inputs=[value("eeg", "N", N_CHANS, N_TIMES, kind=TensorProto.INT64)]),
        "float32, float64 or float16, found int64",
    ),
    "integers out": (
        lambda: after(node("ArgMax", ["inner"], ["out"], axis=1), outputs=[value("scores", "N", 1, kind=7)]),
        "found int64",
    ),
    "four dimensions": (
        lambda: log_power(inputs=[value("eeg", "N", 1, N_CHANS, N_TIMES)]),
        "of shape (batch, n_channels, n_times), found ?×1×3×50",
    ),
    "one dimension out": (lambda: log_power(outputs=[value("scores", "N")]), "of shape (batch, n_classes), found ?"),
    "other channels": (lambda: log_power(n_chans=4), "demands 3 channels, but the decoder was made for 4"),
    "other samples": (lambda: log_power(n_times=49), "demands 50 samples per window, but the decoder was made for 49"),
    "other classes": (lambda: log_power(n_classes=3), "demands 2 classes, but the decoder was made for 3"),
    "samples before channels": (lambda: log_power(n_chans=50, n_times=3), "with the channels before the samples"),
    "other classes, undeclared": (
        lambda: log_power(n_classes=3, outputs=[value("scores", "N", "C")]),
        "expected an output of shape 1×2 for a single window, found 1×3",
    ),
    "sizes that do not fit, undeclared": (
        lambda: log_power(n_chans=4, inputs=[value("eeg", "N", "chans", "times")]),
        "its sizes may be others than the contract's 3 channels and 50 samples",
    ),
    "batch of two fixed inside": (
        lambda: after(
            node("Add", ["inner", "two"], ["out"]), initializers=[constant("two", np.ones((2, 2), np.float32))]
        ),
        "dynamic first dimension",
    ),
    "windows of a batch depend on each other": (batch_dependent, "a window alone and in a batch of 8 differ"),
    "not a number": (lambda: after(node("Log", ["inner"], ["out"])), "found NaN or infinity for random windows"),
    "not a number for zeros": (
        lambda: after(node("Div", ["inner", "inner"], ["one_"]), node("Mul", ["one_", "inner"], ["out"])),
        "found NaN or infinity for windows of zeros",
    ),
    "random": (
        lambda: after(node("RandomNormalLike", ["inner"], ["noise"]), node("Add", ["inner", "noise"], ["out"])),
        "the random operator RandomNormalLike",
    ),
    "dropout left on": (
        lambda: after(
            node("Dropout", ["inner", "ratio", "on"], ["out"]),
            initializers=[constant("ratio", np.float32(0.5)), constant("on", np.array(True))],
        ),
        "Dropout in training mode",
    ),
    "too much memory": (
        lambda: after(
            node("Expand", ["inner", "huge"], ["large"]),
            node("ReduceMax", ["large"], ["most"], axes=[0], keepdims=0),
            node("Add", ["inner", "most"], ["out"]),
            initializers=[constant("huge", np.array([1 << 24, 8, 2]))],
        ),
        "more than 384 MiB of memory",
    ),
    "without end": (lambda: slow(1 << 40), "takes more than"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_cannot_be_a_decoder_is_refused_in_one_sentence(case: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("mindwire_models.graphs.external_check._MAX_SECONDS", 1.0)
    graph, words = HOSTILE[case]
    assert words in refusal(graph(), tmp_path)


def test_a_graph_that_is_too_slow_for_its_hop_is_refused(tmp_path: Path) -> None:
    fast = CONTRACT.model_copy(update={"hop_samples": 1})
    assert "a new one is due every 10 ms; give a longer hop with --hop" in refusal(slow(150), tmp_path, contract=fast)


def test_a_graph_that_needs_half_a_hop_is_exported_with_a_warning(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("mindwire_models.external.Trial.seconds", lambda _: 0.06)
    said: list[str] = []
    export(log_power(), tmp_path, warn=said.append)
    assert "a longer hop (--hop) is safer" in said[0]


def test_a_graph_that_differs_from_its_source_is_refused(tmp_path: Path) -> None:
    assert "differ from its source's" in refusal(log_power(), tmp_path, reference=lambda x: logits_of(x, seed=1))
    assert "output of shape 8×3" in refusal(log_power(), tmp_path, reference=lambda x: np.zeros((len(x), 3)))


def test_a_rate_that_is_not_the_contracts_is_refused(tmp_path: Path) -> None:
    assert "demands 100 Hz, but the decoder was made for 250" in refusal(log_power(), tmp_path, sfreq=250.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("opset", [9, 17])
def test_a_graph_for_one_window_runs_once_for_each(opset: int, dtype: str, tmp_path: Path) -> None:
    bundle = export(fixed_inside(opset=opset, dtype=dtype, names=("window", "row")), tmp_path)
    for batch in (X[:1], X):
        np.testing.assert_allclose(run(bundle, batch), logits_of(batch), atol=1e-4)


def test_dropout_that_is_off_is_taken(tmp_path: Path) -> None:
    off = after(
        node("Dropout", ["inner", "ratio", "on"], ["out"]),
        initializers=[constant("ratio", np.float32(0.5)), constant("on", np.array(False))],
    )
    np.testing.assert_allclose(run(export(off, tmp_path), X), logits_of(X), atol=1e-4)


def test_a_bundle_with_weights_beside_the_graph_is_refused(tmp_path: Path) -> None:
    from mindwire_models.bundle import write_bundle

    bundle = export(log_power(), tmp_path)
    parts = {"name": "net", "contract": CONTRACT, "graphs": {"model.onnx": bundle.read("model.onnx")}, "card": "card"}
    with pytest.raises(BundleError, match="nothing but a plain graph"):
        write_bundle(tmp_path / "b", config=bundle.config, weights=b"", graph="plain", **parts)
    config = {key: bundle.config[key] for key in ("n_chans", "n_times", "n_outputs")}
    with pytest.raises(BundleError, match=r"no hash for model\.safetensors"):
        write_bundle(tmp_path / "b", config=config, weights=None, graph="plain", **parts)
    assert json.loads((bundle.path / "config.json").read_text())["source"] == "ONNX file net.onnx"
    assert not (tmp_path / "b").exists()


def test_a_graph_that_was_made_of_functions_is_inlined(tmp_path: Path) -> None:
    import onnx

    made = onnx.load_model_from_string(after(node("Twice", ["inner"], ["out"], domain="own"), domains=["own"]))
    twice = helper.make_function(
        "own", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    made.functions.append(twice)
    np.testing.assert_allclose(run(export(made.SerializeToString(), tmp_path), X), 2 * logits_of(X), atol=1e-3)


def test_an_input_with_a_default_is_not_an_input(tmp_path: Path) -> None:
    inputs = [value("eeg", "N", N_CHANS, N_TIMES), value("weights", N_CHANS, N_CLASSES)]
    np.testing.assert_allclose(
        run(export(log_power(inputs=inputs, ir_version=3), tmp_path), X), logits_of(X), atol=1e-4
    )


def test_a_model_without_nodes_is_refused(tmp_path: Path) -> None:
    assert "found no operators" in refusal(model([], [value("x", "N", 3, 50)], [value("x", "N", 2)]), tmp_path)
