"""The contract: strict, versioned, whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

from mindwire_models.contract import Alignment, Butterworth, Contract, Filters, Notch, ZScore
from mindwire_models.errors import ContractError
from mindwire_models.presets import BCIC2A, preset


def terms(**changes: Any) -> dict[str, Any]:
    return json.loads(BCIC2A.to_json()) | changes


def test_a_contract_survives_writing_and_reading(tmp_path: Path) -> None:
    (tmp_path / "contract.json").write_text(BCIC2A.to_json())
    assert Contract.read(tmp_path / "contract.json") == BCIC2A


@given(
    channels=st.lists(st.sampled_from(["C3", "C4", "Cz", "Fz", "POz"]), min_size=1, unique=True),
    sfreq=st.floats(100, 5000),
    highpass=st.none() | st.builds(Butterworth, order=st.integers(1, 10), freq=st.floats(0.1, 4)),
    lowpass=st.none() | st.builds(Butterworth, order=st.integers(1, 10), freq=st.floats(5, 45)),
    notch=st.lists(st.builds(Notch, freq=st.floats(10, 49), q=st.floats(1, 100)), max_size=2),
    temperature=st.floats(0.01, 100),
)
def test_any_contract_survives_to_the_last_bit(
    channels: list[str],
    sfreq: float,
    highpass: Butterworth | None,
    lowpass: Butterworth | None,
    notch: list[Notch],
    temperature: float,
) -> None:
    contract = Contract(
        channels=tuple(channels),
        sfreq=sfreq,
        filters=Filters(highpass=highpass, lowpass=lowpass, notch=tuple(notch)),
        normalisation=ZScore(mean=(0.5,) * len(channels), std=(2.0,) * len(channels)),
        window_samples=100,
        hop_samples=5,
        classes=("a", "b"),
        temperature=temperature,
    )
    assert Contract.parse(contract.to_json()) == contract


def test_sections_are_derived_and_stored() -> None:
    rows = np.asarray(BCIC2A.sos)
    expected = np.vstack(
        [
            signal.butter(2, 0.5, "highpass", fs=250, output="sos"),
            signal.butter(4, 40, "lowpass", fs=250, output="sos"),
        ]
    )
    np.testing.assert_allclose(rows, expected, rtol=1e-12, atol=0)
    assert len(json.loads(BCIC2A.to_json())["sos"]) == 3
    notched = Contract.parse(terms(filters={"notch": [{"freq": 50.0, "q": 30.0}]}, sos=[]))
    np.testing.assert_allclose(notched.sos, signal.tf2sos(*signal.iirnotch(50, 30, fs=250)), rtol=1e-12)


@given(
    order=st.integers(1, 10),
    freq=st.floats(0.05, 110.0),
    change=st.floats(1.001, 1.1),
    highpass=st.booleans(),
    sfreq=st.sampled_from([250.0, 20_000.0]),
)
def test_sections_of_other_filters_are_refused(
    order: int, freq: float, change: float, highpass: bool, sfreq: float
) -> None:
    def filters(order: int, freq: float) -> Filters:
        one = Butterworth(order=order, freq=freq)
        return Filters(highpass=one) if highpass else Filters(lowpass=one, notch=(Notch(freq=60.0),))

    sections = filters(order, freq).design(sfreq)
    assert filters(order, freq).match(sections, sfreq)
    assert not filters(order, freq * change).match(sections, sfreq)
    assert not filters(order + 1 if order < 10 else 9, freq).match(sections, sfreq)


def test_loading_a_contract_with_its_sections_designs_nothing() -> None:
    script = (
        "import sys; from mindwire_models.presets import BCIC2A; from mindwire_models.contract import Contract; "
        "Contract.parse(BCIC2A.to_json()); assert 'scipy.signal' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_settling_covers_the_slowest_filter() -> None:
    step = signal.sosfilt(np.asarray(BCIC2A.sos), np.ones(4000))
    settled = BCIC2A.settling_samples
    assert np.abs(step[settled:]).max() < 0.05
    assert 0 < settled < 1000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "expected contract version 1, found 2"),
        ({"channels": ["C3", "c3"]}, "more than once"),
        ({"classes": ["left"]}, "classes"),
        ({"classes": ["left", "left"]}, "more than once"),
        ({"sfreq": "250"}, "sfreq"),
        ({"sfreq": -1.0}, "sfreq"),
        ({"sfreq": 60.0}, "needs a sampling rate above 80 Hz"),
        ({"window_samples": 0}, "window_samples"),
        ({"hop_samples": 1.5}, "hop_samples"),
        ({"temperature": 0.0}, "temperature"),
        ({"unit": "furlong"}, "unit"),
        ({"surprise": 1}, "surprise"),
        ({"sos": [[1.0, 0.0, 0.0, 1.0, 0.0, 0.0]]}, "second-order sections"),
        ({"normalisation": {"kind": "magic"}}, "normalisation"),
        ({"normalisation": {"kind": "zscore", "mean": [0.0], "std": [1.0]}}, "22 means"),
        (
            {"filters": {"highpass": {"order": 2, "freq": 50.0}, "lowpass": {"order": 2, "freq": 40.0}}, "sos": []},
            "pass",
        ),
    ],
)
def test_what_does_not_hold_together_is_refused_in_a_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message) as caught:
        Contract.parse(terms(**changes), "contract.json")
    assert str(caught.value).startswith("contract.json: ")
    assert "\n" not in str(caught.value)


def test_a_warm_start_must_be_a_covariance() -> None:
    norm = {"kind": "euclidean", "scale": "window_sum", "update_samples": 250, "ready_samples": 1}
    for matrix in ([[1.0, 0.0], [0.0, -1.0]], [[1.0, 0.5], [0.0, 1.0]], [[1.0]], [[1.0, 0.0], [0.0]]):
        with pytest.raises(ContractError, match="warm start"):
            Contract.parse(terms(channels=["C3", "C4"], normalisation=norm | {"warm_start": matrix}))
    good = terms(channels=["C3", "C4"], normalisation=norm | {"warm_start": [[2.0, 0.5], [0.5, 1.0]]})
    parsed = Contract.parse(good).normalisation
    assert isinstance(parsed, Alignment)
    assert parsed.warm_start == ((2.0, 0.5), (0.5, 1.0))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '{"version": 1', "\x00"])
def test_what_is_no_contract_is_refused(text: str) -> None:
    with pytest.raises(ContractError):
        Contract.parse(text)


def test_a_missing_file_and_an_unknown_preset_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="no such file"):
        Contract.read(tmp_path / "nothing.json")
    with pytest.raises(ContractError, match="bcic2a"):
        preset("bcic2b")
