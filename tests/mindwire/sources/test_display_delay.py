"""Delay of a display by a channel that sees it: where a response begins, and what is none."""

from __future__ import annotations

import numpy as np
import pytest

from mindwire.errors import SourceError
from mindwire.sources.display_delay import DisplayDelay, channels_of, kind_of, response_delays
from mindwire.status import SourceStatus

SFREQ = 500.0


def signal(markers, delay_s, *, seed=1, shape=None, noise=1.0):
    """Ten seconds of a sensor that rests at 30 and responds with 100."""
    times = 100.0 + np.arange(int(10 * SFREQ)) / SFREQ
    values = 30.0 + noise * np.random.default_rng(seed).standard_normal(len(times))
    for marker in markers:
        since = times - (marker + delay_s)
        on = (since >= 0) & (since < 0.3)
        values += 100.0 * on * (1.0 if shape is None else shape(since))
    return times, values


@pytest.mark.parametrize("delay_s", [-0.02, 0.0, 0.0331, 0.12])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_step_is_found_between_two_samples(delay_s, sign):
    markers = [101.0 + 0.913 * i for i in range(8)]
    times, values = signal(markers, delay_s)
    delays = response_delays(times, sign * values, markers)
    assert np.abs(delays - delay_s).max() <= 1 / SFREQ
    assert abs(np.median(delays) - delay_s) < 0.5 / SFREQ


def test_a_beep_is_found_although_it_oscillates():
    markers = [101.0 + 0.913 * i for i in range(8)]
    times, values = signal(markers, 0.05, shape=lambda since: np.sin(2 * np.pi * 180 * since))
    assert np.abs(response_delays(times, values, markers) - 0.05).max() <= 2 / SFREQ


def test_a_slow_display_is_measured_at_the_middle_of_its_rise():
    times, values = signal([102.0], 0.02, shape=lambda since: np.clip(since / 0.02, 0, 1))
    assert response_delays(times, values, [102.0])[0] == pytest.approx(0.03, abs=1 / SFREQ)


def test_markers_without_a_response_are_none_and_neither_is_noise():
    seen = [101.0, 103.0, 105.0]
    times, values = signal(seen, 0.03)
    delays = response_delays(times, values, [101.0, 102.0, 103.0, 105.0, 109.9, 50.0, 500.0])
    assert np.isfinite(delays).tolist() == [True, False, True, True, False, False, False]
    flat = np.zeros_like(times)
    assert np.isnan(response_delays(times, flat, seen)).all()


def source(labels):
    return SourceStatus(
        name="amp", type="EEG", source_id="amp", uid="u", hostname="h", sfreq=250.0, n_channels=3, labels=labels, unit=None
    )  # fmt: skip


def test_channels_are_named_and_known_by_their_labels():
    found = {one.label: one.kind for one in channels_of(source(["C3", "Photo-Diode", ""]))}
    assert found == {"C3": None, "Photo-Diode": "light", "3": None}
    assert [one.label for one in channels_of(source(None))] == ["1", "2", "3"]
    assert (kind_of("MIC"), kind_of("Audio 1"), kind_of("Micro")) == ("sound", "sound", None)


def test_a_channel_that_is_not_there_is_refused():
    with pytest.raises(SourceError, match="Expected one of the source's channels, C3, Cz, Photo; found 'AUX'"):
        DisplayDelay(source(["C3", "Cz", "Photo"]), "AUX", "patch_on", 1.0)


def test_after_its_end_no_marker_is_taken():
    delay = DisplayDelay(source(["C3", "Cz", "Photo"]), "Photo", "patch_on", 60.0)
    delay.take("patch_on", 1.0)
    delay.end()
    delay.take("patch_on", 2.0)
    assert delay._markers == [1.0]
