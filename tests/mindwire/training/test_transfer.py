"""Training that starts from the bundle of other people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app
from mindwire.errors import ContractError, MindwireError, UsageError
from mindwire.evaluation.known_recordings import trained_on
from mindwire_models.bundle import load_bundle
from mindwire_models.contract import Alignment, Butterworth, Contract, Filters
from tests.support.calibration_recordings import CHANNELS, SFREQ, record

pytest.importorskip("torch")
pytest.importorskip("pyriemann")

from mindwire.training.transfer import starting_network
from mindwire_models.export import export_bundle
from mindwire_models.network.ensemble import Ensemble
from mindwire_models.network.riemann import fit_tangent_space
from mindwire_models.training.fit import predict_logits
from tests.support.bundles import random_bundle

CONTRACT = Contract(
    channels=CHANNELS,
    sfreq=SFREQ,
    window_samples=200,
    hop_samples=4,
    classes=("feet", "left_hand", "right_hand"),
    temperature=2.0,
    filters=Filters(highpass=Butterworth(order=2, freq=4.0)),
    normalisation=Alignment(
        kind="riemannian",
        scale="window_sum",
        update_samples=100,
        ready_samples=400,
        rest_axis=tuple(map(tuple, np.eye(4).tolist())),
    ),
)
MARKERS = ("--markers", "2=right_hand", "1=left_hand")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    return [record(folder / f"run{seed}.xdf", seed, n=12) for seed in range(2)]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_bundle(tmp_path_factory.mktemp("bundles") / "others", CONTRACT)


def train(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["train", *map(str, arguments)])
    if isinstance(result.exception, MindwireError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_a_network_of_others_is_trained_on_under_its_contract(
    recordings: list[Path], start: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine"
    options = ("--from", start, "--epochs", 3, "--jobs", 1)
    output = train(*recordings, *MARKERS, *options, "--out", out)
    assert "The fine-tuned network decides" in output
    assert "the untouched bundle it started from" in output
    others, mine = load_bundle(start), load_bundle(out)
    kept = {"classes", "temperature", "normalisation"}
    assert mine.contract.model_dump(exclude=kept) == others.contract.model_dump(exclude=kept)
    assert mine.contract.classes == ("left_hand", "right_hand")
    assert mine.contract.normalisation == CONTRACT.normalisation.model_copy(update={"rest_axis": None})
    assert mine.training is not None
    assert [(one.name, one.sha256) for one in mine.training.parents] == [("others", others.sha256)]
    card = (out / "README.md").read_text()
    assert f"Fine-tuned from others (`{others.sha256}`)" in card
    assert "| recording | network | untouched | baseline | undecided |" in card
    # What a model was trained on holds nothing out for the next one.
    assert trained_on(mine, recordings) == recordings
    with pytest.raises(UsageError, match=r"run0.xdf, run1.xdf: mine was trained on these recordings.*--folds 0"):
        train(*recordings, *MARKERS, "--from", out, "--out", tmp_path / "next")
    train(*recordings, *MARKERS, "--from", out, "--epochs", 1, "--folds", 0, "--out", tmp_path / "next")
    assert [one.name for one in load_bundle(tmp_path / "next").training.parents] == ["mine", "others"]


def test_the_network_begins_with_the_outputs_of_its_classes(start: Path) -> None:
    bundle = load_bundle(start)
    windows = np.random.default_rng(0).standard_normal((3, 4, 200)).astype(np.float32)
    every, some = (
        predict_logits(starting_network(bundle, classes), windows)
        for classes in (CONTRACT.classes, ("left_hand", "right_hand"))
    )
    np.testing.assert_allclose(some, every[:, 1:], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--markers", "1=left_hand", "2=rest"), "classes feet, left_hand, right_hand, found rest; name its classes"),
        ((*MARKERS, "--network", "attention_mode=se"), "network and contract of its bundle, found --network"),
        ((*MARKERS, "--start", "random", "--lowpass", "30"), "found --lowpass, --start; leave them out"),
        ((*MARKERS, "--preset", "bcic2a"), "found --preset; leave it out"),
        ((*MARKERS, "--decoder", "riemann"), "--from trains a network on, found --decoder"),
    ],
)
def test_what_contradicts_the_start_is_refused(
    options: tuple[str, ...], told: str, recordings: list[Path], start: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=told):
        train(*recordings, *options, "--from", start, "--out", tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_recordings_without_an_electrode_of_the_start_are_refused(start: Path, tmp_path: Path) -> None:
    other = record(tmp_path / "other.xdf", 0, n=4, labels=("C3", "Cz", "C4", "Oz"))
    with pytest.raises(ContractError, match="Pz"):
        train(other, *MARKERS, "--from", start, "--out", tmp_path / "mine")


def test_other_decoders_are_no_start(recordings: list[Path], start: Path, tmp_path: Path) -> None:
    windows = np.random.default_rng(0).standard_normal((12, 4, 200)).astype(np.float32)
    classical = fit_tangent_space(windows, np.arange(12) % 3, 3)
    for module, told in (
        (classical, "found a tangent-space classifier; name another"),
        (Ensemble([starting_network(load_bundle(start), CONTRACT.classes) for _ in range(2)]).eval(), "an ensemble"),
    ):
        export_bundle(module, CONTRACT, tmp_path / "start", name="start", provenance="For tests.", check="skip")
        with pytest.raises(UsageError, match=told):
            train(*recordings, *MARKERS, "--from", tmp_path / "start", "--out", tmp_path / "mine")
