"""Streaming says what whole windows say, whatever happens to the stream."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mindwire.errors import BundleError
from mindwire.inference.load import load_decoder
from mindwire.inference.onnx import OnnxDecoder
from mindwire.inference.streaming import StreamingDecoder
from mindwire.types import Reason, Window
from mindwire_models.bundle import Bundle, load_bundle
from mindwire_models.bundle_checks import STEM, STREAMING
from mindwire_models.export import export_bundle
from mindwire_models.graphs.streaming_plan import FORMAT_KEY
from mindwire_models.network.attention import ATTENTION_MODES
from tests.support.networks import make_contract, make_network, reference
from tests.support.sealing import seal
from tests.support.streams import Stream, eventful


def export(folder: Path, **arguments: object) -> Bundle:
    network = make_network(**arguments)
    return export_bundle(network, make_contract(network), folder, name="s", provenance="")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(tmp_path_factory.mktemp("bundles") / "b", n_times=300, n_outputs=3)


def streaming(bundle: Bundle) -> StreamingDecoder:
    decoder = load_decoder(bundle)
    assert isinstance(decoder, StreamingDecoder)
    return decoder


def differences(bundle: Bundle, windows: Iterator[Window]) -> float:
    decoder, whole = streaming(bundle), OnnxDecoder(bundle, "cpu", "")
    session, worst = decoder.session(), 0.0
    for window in windows:
        found = decoder.decode([session], [window])
        expected = whole.decode([whole.session()], [window])
        worst = max(worst, float(np.abs(found - expected).max()))
    return worst


def live(bundle: Bundle, windows: list[Window]) -> np.ndarray:
    """Logits, one window at a time."""
    decoder = load_decoder(bundle)
    session = decoder.session()
    return np.concatenate([decoder.decode([session], [window]) for window in windows])


def recorded(bundle: Bundle, windows: list[Window], size: int) -> np.ndarray:
    """Logits, some windows at a time."""
    decoder = load_decoder(bundle, purpose="recording")
    session = decoder.session()
    parts = [windows[start : start + size] for start in range(0, len(windows), size)]
    return np.concatenate([decoder.decode([session] * len(part), part) for part in parts])


def whole(bundle: Bundle, windows: list[Window]) -> np.ndarray:
    """Logits of whole windows."""
    decoder = OnnxDecoder(bundle, "cpu", "")
    return decoder.decode([decoder.session() for _ in windows], windows)


def test_ten_thousand_hops_agree(bundle: Bundle) -> None:
    assert differences(bundle, eventful(Stream(bundle), 10_000)) <= 1e-5


@pytest.mark.parametrize("mode", [None, *ATTENTION_MODES])
def test_every_attention_mode_streams(tmp_path: Path, mode: str | None) -> None:
    bundle = export(tmp_path / "b", attention_mode=mode, n_times=200)
    tolerance = 1e-4 if mode in {"cat", "catlite"} else 1e-5
    assert differences(bundle, eventful(Stream(bundle), 400)) <= tolerance
    windows = list(eventful(Stream(bundle), 120))
    np.testing.assert_allclose(recorded(bundle, windows, 60), whole(bundle, windows), atol=tolerance)


@pytest.mark.parametrize("name", ["default-none", "kernels", "se-wide", "short-250", "16ch-125hz-3class"])
def test_reference_networks_stream(data_dir: Path, tmp_path: Path, name: str) -> None:
    network = reference(data_dir / "reference" / name)
    contract = make_contract(network, sfreq=float(network.sfreq))
    bundle = export_bundle(network, contract, tmp_path / "b", name=name, provenance="")
    tolerance = 1e-4 if network.attention_mode in {"cat", "catlite"} else 1e-5
    assert differences(bundle, eventful(Stream(bundle), 60)) <= tolerance


@pytest.mark.parametrize("hop", [1, 3, 4, 5, 25, 60])
def test_hops_other_than_the_contracts_stream(bundle: Bundle, hop: int) -> None:
    assert differences(bundle, eventful(Stream(bundle), 200, hop)) <= 1e-5


@given(
    st.lists(
        st.sampled_from([*range(1, 12), 20, 30, 150, 301]) | st.sampled_from(["align", "gap", "again", "other stream"]),
        max_size=60,
    )
)
@settings(max_examples=60, deadline=None)
def test_no_order_of_events_confuses_it(bundle: Bundle, events: list[int | str]) -> None:
    streams = [Stream(bundle, seed) for seed in (0, 1)]
    decoder, whole = streaming(bundle), OnnxDecoder(bundle, "cpu", "")
    sessions = [decoder.session() for _ in streams]
    current, last = 0, [stream.move(10) for stream in streams]
    for event in events:
        stream = streams[current]
        if event == "align":
            stream.align()
        elif event == "gap":
            stream.gap()
        elif event == "other stream":
            current = 1 - current
        elif event != "again":
            last[current] = stream.move(int(event))
        window = last[current]
        found = decoder.decode([sessions[current]], [window])
        expected = whole.decode([whole.session()], [window])
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_streams_share_batches_and_nothing_else(bundle: Bundle) -> None:
    streams = [Stream(bundle, seed) for seed in range(20)]
    decoder, whole = streaming(bundle), OnnxDecoder(bundle, "cpu", "")
    sessions = [decoder.session() for _ in streams]
    for number in range(60):
        if number % 7 == 3:
            streams[number % 20].align()
        if number == 30:
            streams[4].gap()
        windows = [stream.move(20 if index == 5 else 10) for index, stream in enumerate(streams)]
        found = decoder.decode(sessions, windows)
        expected = whole.decode([whole.session() for _ in windows], windows)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_same_windows_give_the_same_bits(bundle: Bundle) -> None:
    windows = list(eventful(Stream(bundle), 200))
    runs = []
    for together in (1, 7, 200):
        decoder = streaming(bundle)
        session = decoder.session()
        parts = [windows[start : start + together] for start in range(0, len(windows), together)]
        runs.append(np.concatenate([decoder.decode([session] * len(part), part) for part in parts]))
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_array_equal(runs[0], runs[2])


@pytest.mark.parametrize("size", [1, 2, 7, 100, 10_000])
def test_many_hops_of_a_recording_give_what_one_at_a_time_gives(bundle: Bundle, size: int) -> None:
    windows = list(eventful(Stream(bundle), 1200))
    np.testing.assert_allclose(recorded(bundle, windows, size), live(bundle, windows), atol=1e-5)


@given(hop=st.integers(1, 60), size=st.integers(1, 90), seed=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_any_hop_of_a_recording_in_any_portions(bundle: Bundle, hop: int, size: int, seed: int) -> None:
    windows = list(eventful(Stream(bundle, seed), 100, hop))
    np.testing.assert_allclose(recorded(bundle, windows, size), whole(bundle, windows), atol=1e-5)


def test_recordings_may_be_mixed(bundle: Bundle) -> None:
    streams = [Stream(bundle, seed) for seed in (0, 1)]
    order = np.repeat(np.random.default_rng(0).integers(0, 2, 100), 3)
    windows = [streams[which].move(10) for which in order]
    decoder = load_decoder(bundle, purpose="recording")
    sessions = [decoder.session(), decoder.session()]
    found = decoder.decode([sessions[which] for which in order], windows)
    np.testing.assert_allclose(found, whole(bundle, windows), atol=1e-5)


def test_a_bad_sample_of_a_recording_spoils_its_windows_only(bundle: Bundle) -> None:
    stream = Stream(bundle)
    signal = stream.rng.standard_normal((300 + 10 * 120, stream.n)).astype(np.float32)
    signal[700] = np.nan
    windows = [
        Window(
            number, 0.0, signal[10 * number : 10 * number + 300], stream.alignment, 0, 0, 300 + 10 * number, Reason.NONE
        )
        for number in range(120)
    ]
    good = np.array([np.isfinite(window.samples).all() for window in windows])
    assert 80 < good.sum() < 120
    np.testing.assert_allclose(recorded(bundle, windows, 50)[good], whole(bundle, windows)[good], atol=1e-5)


def test_a_recording_of_nothing_gives_nothing(bundle: Bundle) -> None:
    assert load_decoder(bundle, purpose="recording").decode([], []).shape == (0, 3)


def test_a_bad_sample_is_gone_when_it_has_left_the_window(bundle: Bundle) -> None:
    stream = Stream(bundle)
    decoder, whole = streaming(bundle), OnnxDecoder(bundle, "cpu", "")
    session = decoder.session()
    for number in range(80):
        window = stream.move(10)
        if number == 20:
            stream.signal = window.samples.copy()
            stream.signal[-1] = np.nan
            window = Window(window.seq, 0.0, stream.signal, window.alignment, 0, 0, window.end, Reason.NON_FINITE)
        found = decoder.decode([session], [window])
        if np.isfinite(window.samples).all():
            np.testing.assert_allclose(found, whole.decode([whole.session()], [window]), atol=1e-5)


def test_a_network_that_cannot_stream_says_so(tmp_path: Path) -> None:
    decoder = load_decoder(export(tmp_path / "b", n_times=30, pool_length_inp=25, pool_length=1))
    assert isinstance(decoder, OnnxDecoder)
    assert "no streaming graphs" in decoder.reason


def test_the_reason_says_that_it_streams(bundle: Bundle) -> None:
    assert "streaming" in streaming(bundle).reason


def test_graphs_of_another_version_are_left_alone(bundle: Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle.path, tmp_path / "b"))

    def change(name: str) -> None:
        model = onnx.load(folder / name)
        next(entry for entry in model.metadata_props if entry.key == FORMAT_KEY).value = "1"
        onnx.save(model, folder / name)
        seal(folder)

    windows = list(eventful(Stream(bundle), 60))
    expected = load_decoder(bundle).decode([streaming(bundle).session()] * 60, windows)
    change(STREAMING)
    decoder = load_decoder(load_bundle(folder))
    assert "streaming graphs are of another version; export it again" in decoder.reason
    found = decoder.decode([decoder.session()] * 60, windows)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", [STREAMING, STEM])
def test_damaged_streaming_graphs_are_refused(bundle: Bundle, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(bundle.path, tmp_path / "b"))
    original = (folder / name).read_bytes()

    def refused(data: bytes, message: str) -> None:
        (folder / name).write_bytes(data)
        seal(folder)
        with pytest.raises(BundleError, match=message):
            load_bundle(folder)

    refused(original[:-50], name)
    model = onnx.load_model_from_string(original)
    model.opset_import[0].version = 21
    refused(model.SerializeToString(), "operator set")
    model = onnx.load_model_from_string(original)
    model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value = 5
    refused(model.SerializeToString(), "shape")
    if name != STEM:
        model = onnx.load_model_from_string(original)
        model.metadata_props[0].value = "77"
        refused(model.SerializeToString(), "contract demands|contradict")
    (folder / name).unlink()
    sums = (folder / "SHA256SUMS").read_text().splitlines()
    (folder / "SHA256SUMS").write_text("\n".join(line for line in sums if not line.endswith(name)) + "\n")
    with pytest.raises(BundleError, match=f"no hash for {name}"):
        load_bundle(folder)
