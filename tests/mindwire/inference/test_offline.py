"""A recording decoded many windows at a time says what it said live."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mindwire.inference.load import load_decoder
from mindwire.inference.offline import OfflineDecoder
from mindwire.inference.onnx import OnnxDecoder
from mindwire.types import Window
from mindwire_models.bundle import Bundle
from mindwire_models.export import export_bundle
from mindwire_models.network.attention import ATTENTION_MODES
from tests.mindwire.inference.streams import Stream, eventful
from tests.support.networks import make_contract, make_network


def export(folder: Path, **arguments: object) -> Bundle:
    network = make_network(**arguments)
    return export_bundle(network, make_contract(network), folder, name="o", provenance="")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(tmp_path_factory.mktemp("bundles") / "b", n_times=300, n_outputs=3)


def offline(bundle: Bundle) -> OfflineDecoder:
    decoder = load_decoder(bundle, purpose="recording")
    assert isinstance(decoder, OfflineDecoder)
    return decoder


def in_parts(decoder: OfflineDecoder, windows: list[Window], size: int) -> np.ndarray:
    session = decoder.session()
    parts = [windows[start : start + size] for start in range(0, len(windows), size)]
    return np.concatenate([decoder.decode([session] * len(part), part) for part in parts])


def live(bundle: Bundle, windows: list[Window]) -> np.ndarray:
    decoder = load_decoder(bundle)
    session = decoder.session()
    return np.concatenate([decoder.decode([session], [window]) for window in windows])


@pytest.mark.parametrize("size", [1, 2, 7, 100, 10_000])
def test_however_many_come_together(bundle: Bundle, size: int) -> None:
    windows = list(eventful(Stream(bundle), 1200))
    np.testing.assert_allclose(in_parts(offline(bundle), windows, size), live(bundle, windows), atol=1e-5)


@pytest.mark.parametrize("mode", [None, *ATTENTION_MODES])
def test_every_attention_mode(tmp_path: Path, mode: str | None) -> None:
    bundle = export(tmp_path / "b", attention_mode=mode, n_times=200)
    windows = list(eventful(Stream(bundle), 120))
    tolerance = 1e-4 if mode in {"cat", "catlite"} else 1e-5
    np.testing.assert_allclose(in_parts(offline(bundle), windows, 60), live(bundle, windows), atol=tolerance)


@given(hop=st.integers(1, 60), size=st.integers(1, 90), seed=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_any_hop_in_any_portions(bundle: Bundle, hop: int, size: int, seed: int) -> None:
    windows = list(eventful(Stream(bundle, seed), 100, hop))
    whole = OnnxDecoder(bundle, "cpu", "")
    expected = np.concatenate([whole.decode([whole.session()], [window]) for window in windows])
    np.testing.assert_allclose(in_parts(offline(bundle), windows, size), expected, atol=1e-5)


def test_streams_may_be_mixed(bundle: Bundle) -> None:
    streams = [Stream(bundle, seed) for seed in (0, 1)]
    order = np.random.default_rng(0).integers(0, 2, 300)
    windows = [streams[which].move(10) for which in order]
    decoder, whole = offline(bundle), OnnxDecoder(bundle, "cpu", "")
    sessions = [decoder.session(), decoder.session()]
    found = decoder.decode([sessions[which] for which in order], windows)
    expected = np.concatenate([whole.decode([whole.session()], [window]) for window in windows])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_bad_samples_spoil_their_windows_only(bundle: Bundle) -> None:
    stream = Stream(bundle)
    signal = stream.rng.standard_normal((300 + 10 * 120, stream.n)).astype(np.float32)
    signal[700] = np.nan
    windows = []
    for number in range(120):
        window = stream.move(10)
        windows.append(window.__class__(**{name: getattr(window, name) for name in window.__slots__} | {
            "samples": signal[10 * number : 10 * number + 300]
        }))  # fmt: skip
    good = np.array([np.isfinite(window.samples).all() for window in windows])
    whole = OnnxDecoder(bundle, "cpu", "")
    expected = np.concatenate([whole.decode([whole.session()], [window]) for window in windows])
    found = in_parts(offline(bundle), windows, 50)
    assert 80 < good.sum() < 120
    np.testing.assert_allclose(found[good], expected[good], atol=1e-5)


def test_nothing_gives_nothing(bundle: Bundle) -> None:
    assert offline(bundle).decode([], []).shape == (0, 3)
