"""Fitted pipelines as decoders from outside: bundles that decide as they do, classes by name, and files only when trusted."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("pyriemann")
ort = pytest.importorskip("onnxruntime")

import joblib  # noqa: E402
from pyriemann.classification import MDM  # noqa: E402
from pyriemann.estimation import Covariances  # noqa: E402
from pyriemann.tangentspace import TangentSpace  # noqa: E402
from scipy.special import softmax  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.svm import SVC  # noqa: E402

from mindwire_models.band_pass import BandPass  # noqa: E402
from mindwire_models.contract import Contract  # noqa: E402
from mindwire_models.errors import BundleError, ExportError  # noqa: E402
from mindwire_models.external import export_external  # noqa: E402
from mindwire_models.pipelines import external_pipeline, read_pipeline  # noqa: E402
from tests.support.pipelines import RECIPES, bank, outcome, regression, tangent, windows  # noqa: E402

CLASSES = ("right_hand", "feet", "left_hand")
CONTRACT = Contract(
    channels=("C3", "Cz", "C4", "CP3", "CP4"), sfreq=100.0, window_samples=100, hop_samples=10, classes=CLASSES
)


def data(seed: int = 0):
    x, labels = windows(np.random.default_rng(seed), 3, 5)
    return x, np.array(CLASSES)[labels]


def fitted(pipeline, *, named: bool = True):
    x, labels = data()
    return pipeline.fit(x.astype(np.float64), labels if named else [CLASSES.index(label) for label in labels])


PIPELINES = {
    "nearest mean": lambda: make_pipeline(Covariances("lwf"), MDM()),
    "tangent space": lambda: tangent(regression()),
    "support vectors": lambda: tangent(SVC(kernel="linear")),
    "filter bank": lambda: make_pipeline(bank(lambda: Covariances("oas"), TangentSpace), regression()),
}


@pytest.mark.parametrize("make", PIPELINES.values(), ids=PIPELINES)
def test_a_bundle_decides_as_the_pipeline_does(make, tmp_path: Path) -> None:
    pipeline = fitted(make())
    x, _ = data(1)
    bundle = export_external(
        external_pipeline(pipeline, CONTRACT, windows=x), CONTRACT, tmp_path / "bundle", name="lab"
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(bundle.read("model.onnx"), options, providers=["CPUExecutionProvider"])
    found = softmax(session.run(["logits"], {"x": x})[0].astype(np.float64), axis=1)

    places = [list(pipeline.classes_).index(name) for name in CLASSES]
    np.testing.assert_allclose(found, outcome(pipeline, x)[:, places], atol=1e-6)
    card = (bundle.path / "README.md").read_text()
    assert "pyRiemann" in card
    assert f"{type(pipeline[-1]).__name__}), from outside Mindwire" in card


def test_numbered_classes_are_the_contracts_in_order() -> None:
    named, numbered = (fitted(PIPELINES["nearest mean"](), named=named) for named in (True, False))
    x, _ = data(1)
    by_name, by_number = (external_pipeline(pipeline, CONTRACT).reference(x) for pipeline in (named, numbered))
    np.testing.assert_allclose(by_name, by_number)


@pytest.mark.parametrize(
    ("contract", "words"),
    [
        (
            CONTRACT.model_copy(update={"classes": ("left_hand", "feet", "tongue")}),
            "the pipeline knows feet, left_hand, right_hand",
        ),
        (CONTRACT.model_copy(update={"sfreq": 250.0}), "250 Hz, but a BandPass of the pipeline was made for 100 Hz"),
        (CONTRACT.model_copy(update={"channels": CONTRACT.channels[:3]}), "fitted to 5 channels, but gets 3"),
    ],
)
def test_a_contract_of_other_data_is_refused(contract: Contract, words: str) -> None:
    with pytest.raises(ExportError, match=words):
        external_pipeline(fitted(make_pipeline(BandPass(8, 30, 100.0), Covariances("oas"), MDM())), contract)


def test_fewer_numbered_classes_are_refused() -> None:
    contract = CONTRACT.model_copy(update={"classes": ("left_hand", "feet")})
    with pytest.raises(ExportError, match=r"2 classes .left_hand, feet., but the pipeline knows 3 .0, 1, 2."):
        external_pipeline(fitted(PIPELINES["nearest mean"](), named=False), contract)


def test_singular_covariances_are_refused() -> None:
    x, labels = data()
    x -= x.mean(axis=1, keepdims=True)
    x, labels = x.astype(np.float64), np.array(labels)
    with pytest.raises(ExportError, match="spread over more than eight decades; fit it with a shrinking estimator"):
        external_pipeline(make_pipeline(Covariances("scm"), MDM("logeuclid")).fit(x, labels), CONTRACT)
    external_pipeline(make_pipeline(Covariances("oas"), MDM("logeuclid")).fit(x, labels), CONTRACT, windows=x)


@pytest.mark.parametrize(
    "make",
    [PIPELINES["nearest mean"], PIPELINES["filter bank"], lambda: RECIPES["spatial patterns of MNE"]()],
)
def test_a_pipeline_fitted_in_volts_is_refused_for_microvolts(make) -> None:
    x, labels = data()
    pipeline = make().fit(1e-6 * x.astype(np.float64), labels)
    with pytest.raises(
        ExportError, match=r"about \S+e-0\d \(root mean square\), but the contract's are about 10 uV; fit it"
    ):
        external_pipeline(pipeline, CONTRACT)
    volts = CONTRACT.model_copy(update={"unit": "V"})
    external_pipeline(pipeline, volts, windows=1e-6 * x)


def test_windows_of_another_shape_are_refused() -> None:
    with pytest.raises(ExportError, match=r"found the shape \(36, 5, 90\)"):
        external_pipeline(fitted(PIPELINES["nearest mean"]()), CONTRACT, windows=data()[0][:, :, :90])


def test_a_pipeline_is_loaded_only_when_its_file_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "lab.joblib"
    joblib.dump(fitted(PIPELINES["nearest mean"]()), path)
    with pytest.raises(ExportError, match=r"runs whatever code the file holds; give --trust-pickle"):
        read_pipeline(path, trusted=False)
    found = read_pipeline(path, trusted=True)
    assert found.sfreq is None
    assert found.doubts == ()
    decoder = found.decoder(CONTRACT)
    assert decoder.provenance == "The pipeline `lab.joblib`."
    assert decoder.source == "Pipeline of pyRiemann (Covariances, MDM)"


@pytest.mark.parametrize(
    "content", [b"", b"nothing", pickle.dumps(re.compile("a"))[:20], b"cno_such_package\nThing\n."]
)
def test_a_file_of_another_kind_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "lab.joblib"
    path.write_bytes(content)
    with pytest.raises(BundleError, match="expected a pipeline written by joblib") as refused:
        read_pipeline(path, trusted=True)
    assert "\n" not in str(refused.value)


def test_something_else_than_a_pipeline_is_refused() -> None:
    with pytest.raises(ExportError, match="which has no graph as a classifier"):
        external_pipeline({"a": 1}, CONTRACT)


def test_a_file_of_another_version_is_doubted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lab.joblib"
    pipeline = fitted(make_pipeline(BandPass(8, 30, 100.0), Covariances("oas"), MDM()))
    with monkeypatch.context() as patch:
        patch.setattr("sklearn.base.__version__", "1.0.2")
        joblib.dump(pipeline, path)
    found = read_pipeline(path, trusted=True)
    assert found.sfreq == 100.0
    (doubt,) = found.doubts
    assert "written by scikit-learn 1.0.2, found " in doubt
