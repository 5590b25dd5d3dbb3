"""The simulated person: the same however it is read, and with the rhythms a decoder looks for."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, sosfilt, welch

from mindwire.errors import ArgumentError
from mindwire.sources.board import REST
from mindwire.sources.simulator import CLASSES, Artefacts, Simulator
from mindwire_models.electrodes import position, positions, spread
from mindwire_models.presets import BCIC2A_CHANNELS

SFREQ = 250


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32),
    sfreq=st.sampled_from([128.0, 250.0, 512.3]),
    cuts=st.lists(st.integers(0, 700), min_size=1, max_size=12),
)
def test_samples_and_cues_do_not_depend_on_the_cutting(seed: int, sfreq: float, cuts: list[int]) -> None:
    whole, cut = Simulator(seed, sfreq=sfreq), Simulator(seed, sfreq=sfreq)
    expected = whole.read(sum(cuts))
    parts, cues = [], []
    for count in cuts:
        parts.append(cut.read(count))
        cues += cut.drain_markers()

    np.testing.assert_array_equal(np.concatenate([part.samples for part in parts]), expected.samples)
    np.testing.assert_array_equal(np.concatenate([part.times for part in parts]), expected.times)
    assert cues == whole.drain_markers()


def test_seeds_are_different_people() -> None:
    first, second = (Simulator(seed).read(500).samples for seed in (1, 2))

    assert not np.allclose(first, second)


def test_samples_are_stamped_by_their_numbers() -> None:
    simulator = Simulator(1, sfreq=200.0)
    simulator.read(50)

    np.testing.assert_allclose(simulator.read(3).times, [0.25, 0.255, 0.26])


def test_signal_info_names_the_channels_and_their_unit() -> None:
    info = Simulator(1).info

    assert info.labels == BCIC2A_CHANNELS
    assert info.units == ("microvolts",) * 22
    assert info.sfreq == 250.0


def test_classes_come_equally_often_and_in_no_fixed_order() -> None:
    simulator = Simulator(5)
    simulator.read(SFREQ * 600)
    labels = [marker.label for marker in simulator.drain_markers()][:80]

    assert {labels.count(name) for name in CLASSES} == {20}
    assert len({tuple(labels[first : first + 4]) for first in range(0, 80, 8)}) > 3


def test_cues_are_stamped_within_rest_and_imagery_times() -> None:
    simulator = Simulator(5)
    simulator.read(SFREQ * 200)
    times = np.array([marker.time for marker in simulator.drain_markers()])

    assert times[0] >= 2.0
    assert np.all(np.diff(times) >= 6.2 - 0.01)
    assert np.all(np.diff(times) <= 8.0 + 0.01)


def _band_power(samples: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.asarray(sosfilt(butter(4, (low, high), "bandpass", fs=SFREQ, output="sos"), samples, axis=0)) ** 2


@pytest.mark.parametrize("band", [(8.0, 14.0), (16.0, 26.0)], ids=["mu", "beta"])
@pytest.mark.parametrize(
    ("label", "falls", "stays"),
    [("left_hand", "C4", "C3"), ("right_hand", "C3", "C4"), ("feet", "Cz", "C3"), ("tongue", "C5", "Cz")],
)
def test_imagery_desynchronises_where_the_limb_is_represented(
    label: str, falls: str, stays: str, band: tuple[float, float]
) -> None:
    simulator = Simulator(11, artefacts=Artefacts.NONE, line_freq=None)
    power = _band_power(simulator.read(SFREQ * 900).samples, *band)
    cues = [round(marker.time * SFREQ) for marker in simulator.drain_markers() if marker.label == label]
    rest = np.mean([power[cue - 300 : cue].mean(axis=0) for cue in cues[1:-1]], axis=0)
    imagery = np.mean([power[cue + 200 : cue + 1000].mean(axis=0) for cue in cues[1:-1]], axis=0)
    change = dict(zip(BCIC2A_CHANNELS, imagery / rest, strict=True))

    assert change[falls] < 0.6
    assert change[falls] < 0.7 * change[stays]


def test_background_falls_with_frequency_and_neighbours_correlate() -> None:
    samples = Simulator(7, artefacts=Artefacts.NONE, line_freq=None).read(SFREQ * 120).samples
    freqs, power = welch(samples, SFREQ, nperseg=1000, axis=0)
    low = power[(freqs >= 2) & (freqs <= 4)].mean()
    high = power[(freqs >= 45) & (freqs <= 60)].mean()
    correlation = np.corrcoef(samples.T)
    at = BCIC2A_CHANNELS.index

    assert low > 8 * high
    assert correlation[at("FC3"), at("FC1")] > correlation[at("FC3"), at("P2")]
    assert np.linalg.matrix_rank(np.cov(samples.T)) == 22


def test_line_noise_is_where_it_was_asked_for() -> None:
    def power_at(line: float | None, freq: float) -> float:
        samples = Simulator(2, line_freq=line, artefacts=Artefacts.NONE).read(SFREQ * 20).samples
        freqs, power = welch(samples, SFREQ, nperseg=500, axis=0)
        return float(power[np.argmin(np.abs(freqs - freq))].mean())

    assert power_at(60.0, 60.0) > 20 * power_at(None, 60.0)
    assert power_at(60.0, 50.0) < 2 * power_at(None, 50.0)


def test_blinks_are_frontal_and_large() -> None:
    samples = Simulator(4, channels=["Fp1", "Fp2", "Oz"], artefacts=Artefacts.BLINKS).read(SFREQ * 30).samples

    assert samples[:, :2].max() > 80
    assert samples[:, 2].max() < 60


def test_muscle_bursts_are_fast_and_at_the_sides() -> None:
    def fast(artefacts: Artefacts) -> np.ndarray:
        simulator = Simulator(4, channels=["T7", "T8", "Cz"], artefacts=artefacts, line_freq=None)
        return np.asarray(_band_power(simulator.read(SFREQ * 120).samples, 60, 120).max(axis=0))

    calm, tense = fast(Artefacts.NONE), fast(Artefacts.MUSCLE)
    assert tense[:2].max() > 4 * calm[:2].max()
    assert tense[2] < 2 * calm[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"channels": ["C3", "X9"]}, "X9"),
        ({"channels": []}, "at least one"),
        ({"channels": ["C3", "c3"]}, "once"),
        ({"sfreq": 10.0}, "10 Hz"),
        ({"sfreq": float("nan")}, "nan"),
        ({"line_freq": 200.0}, "200 Hz"),
        ({"seed": -1}, "-1"),
        ({"depth": 1.2}, "1.2"),
        ({"rest_s": -1.0}, "found -1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        Simulator(**arguments)  # type: ignore[arg-type]


def test_electrodes_sit_where_the_system_puts_them() -> None:
    np.testing.assert_allclose(position("Cz"), [0, 0, 1], atol=1e-12)
    left, right = position("C3"), position("c4")
    np.testing.assert_allclose(left, right * [-1, 1, 1], atol=1e-12)
    assert left[0] < 0 < position("Fz")[1]
    assert position("Oz")[1] < position("Pz")[1] < 0
    np.testing.assert_allclose(position("T3"), position("T7"))
    np.testing.assert_allclose(np.linalg.norm(positions(["Fp1", "AF7", "PO8", "M1", "FT10", "O2"]), axis=1), 1.0)
    weights = spread(positions(["C3", "C1", "C4"]), positions(["C3"]), 20.0)[:, 0]
    assert weights[0] == pytest.approx(1.0)
    assert weights[0] > weights[1] > weights[2]


def test_runs_of_rest_come_before_each_round_of_trials_and_are_marked() -> None:
    simulator = Simulator(5, rest_s=20)
    simulator.read(SFREQ * 250)
    markers = simulator.drain_markers()
    labels = [marker.label for marker in markers]

    assert [n for n, label in enumerate(labels) if label == REST] == list(range(0, len(labels), 9))
    for before, after in itertools.pairwise(markers):
        if before.label == REST:
            assert after.time - before.time == pytest.approx(20)


def test_the_depth_of_the_imagery_is_that_asked_for() -> None:
    def change(depth: float) -> float:
        simulator = Simulator(11, artefacts=Artefacts.NONE, line_freq=None, depth=depth)
        power = _band_power(simulator.read(SFREQ * 300).samples, 8, 14)[:, BCIC2A_CHANNELS.index("C4")]
        cues = [round(m.time * SFREQ) for m in simulator.drain_markers() if m.label == "left_hand"][1:-1]
        rest, imagery = (np.mean([power[cue + a : cue + b] for cue in cues]) for a, b in ((-300, 0), (200, 1000)))
        return float(imagery / rest)

    assert change(0.2) > 0.5
    assert change(0.9) < 0.3
