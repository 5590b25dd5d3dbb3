"""Discovery, connection and reading, against real outlets in processes of their own."""

from __future__ import annotations

import threading
import time

import numpy as np
import pylsl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindwire.errors import SourceError, StreamChangedError, StreamLostError, StreamNotFoundError, UsageError
from mindwire.sources import lsl
from mindwire.sources.live import Presence
from mindwire.sources.lsl import ClockOffset, LslSource
from mindwire.sources.lsl_connector import LslConnector, differences
from mindwire.sources.lsl_discovery import (
    Selector,
    StreamSearch,
    check_predicate,
    quote,
    survey,
)
from mindwire.types import Chunk, Reason, SignalInfo
from tests.support.lsl_cap import Cap, samples_of
from tests.support.streaming import eventually, unique


def find(selector: Selector, timeout: float = 5.0):
    return LslConnector(selector).find(timeout)


def read_some(source: LslSource, count: int) -> Chunk:
    """Chunks glued together until there are that many samples."""
    samples, times, broken, n = [], [], Reason.NONE, 0
    deadline = time.monotonic() + 10
    while n < count and time.monotonic() < deadline:
        chunk = source.read(0.25)
        if chunk is not None:
            samples.append(chunk.samples.copy())
            times.append(chunk.times)
            broken |= chunk.discontinuity
            n += len(chunk)
    return Chunk(np.concatenate(samples), np.concatenate(times), broken)


@given(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), max_size=20))
def test_any_text_can_be_quoted_for_xpath(text):
    check_predicate(f"name={quote(text)}")


def test_a_predicate_that_is_no_xpath_is_refused():
    with pytest.raises(UsageError, match=r"not valid XPath"):
        check_predicate("name='X")


def test_selector_joins_what_is_given():
    selector = Selector(name="it's", type="EEG", predicate="channel_count>2 or type='X'")
    assert selector.xpath == "name=\"it's\" and type='EEG' and (channel_count>2 or type='X')"
    assert str(selector) == "name=it's,type=EEG,predicate=channel_count>2 or type='X'"


@pytest.mark.parametrize("by", ["name", "source_id", "predicate"])
def test_a_stream_is_found_by_each_way_of_saying_which(by):
    name = unique("cap")
    selectors = {
        "name": Selector(name=name),
        "source_id": Selector(source_id=f"{name}-id", type="EEG"),
        "predicate": Selector(predicate=f"starts-with(name,'{name[:-2]}') and channel_count=3"),
    }
    with Cap(name, source_id=f"{name}-id"):
        found = find(selectors[by])
        assert found is not None
        assert found.info.source_id == f"{name}-id"


def test_nothing_there_is_explained_with_what_is():
    name = unique("cap")
    with Cap(name, source_id=name):
        connector = LslConnector(Selector(name=unique("other")))
        assert connector.find(1.5) is None
        assert name in connector.explain()


def test_several_matches_are_refused_with_the_list():
    name = unique("cap")
    with (
        Cap(name, source_id=f"{name}-1"),
        Cap(name, source_id=f"{name}-2"),
        pytest.raises(StreamNotFoundError) as error,
    ):
        find(Selector(name=name))
    assert f"{name}-1" in str(error.value)
    assert f"{name}-2" in str(error.value)


def test_two_streams_of_one_identity_cannot_be_chosen_from():
    name = unique("twins")
    with Cap(name, source_id=name), Cap(name, source_id=name), pytest.raises(StreamNotFoundError) as error:
        find(Selector(name=name))
    assert str(error.value).endswith("; stop all but the right one.")


def test_looking_ends_when_it_is_cancelled():
    cancelled = threading.Event()
    cancelled.set()
    begin = time.monotonic()
    assert LslConnector(Selector(name=unique("none"))).find(30.0, cancelled) is None
    assert time.monotonic() - begin < 5


def test_survey_tells_labels_and_units():
    name = unique("cap")
    with Cap(name, source_id=name), Cap(f"{name}-bare", source_id="", labels=None):
        found = {info.name: info for info in survey(1.5)}
    assert found[name].labels == ("C3", "Cz", "C4")
    assert found[name].units == ("microvolts",) * 3
    assert found[f"{name}-bare"].labels is None


def test_samples_and_times_arrive_as_they_were_sent():
    name = unique("cap")
    with Cap(name, source_id=name) as cap:
        source = LslSource(find(Selector(name=name)))
        chunk = read_some(source, 200)
        source.close()
    first = round((chunk.times[0] - cap.epoch) * 100)
    np.testing.assert_array_equal(chunk.samples, samples_of(first, len(chunk)))
    np.testing.assert_allclose(chunk.times, cap.epoch + (first + np.arange(len(chunk))) / 100, atol=0.002)
    assert chunk.discontinuity is Reason.NONE
    assert source.info.labels == ("C3", "Cz", "C4")


@pytest.mark.parametrize("dtype", ["double64", "int16", "int32"])
def test_other_number_formats_are_read(dtype):
    name = unique("cap")
    with Cap(name, source_id=name, dtype=dtype):
        source = LslSource(find(Selector(name=name)))
        chunk = read_some(source, 20)
        source.close()
    assert chunk.samples.shape[1] == 3
    assert np.isfinite(chunk.samples.astype(float)).all()


def test_reading_waits_for_the_first_sample_only_and_a_burst_comes_in_one_read():
    """Where the outlet itself is interrupted while it sends, the burst comes in parts; so one of three must come whole."""
    name = unique("cap")
    largest: list[int] = []
    with Cap(name, source_id=name) as cap:
        source = LslSource(find(Selector(name=name)))
        read_some(source, 50)
        while len(largest) < 3 and max(largest, default=0) < 100:
            cap.tell("hold", seconds=1.5)
            sizes = [0]
            deadline = time.monotonic() + 4.0
            while sizes[-1] < 100 and time.monotonic() < deadline:
                chunk = source.read(0.5)
                sizes += [len(chunk)] if chunk is not None else []
            largest.append(max(sizes))
        source.close()
    assert max(largest) >= 100, largest


def test_a_silent_outlet_gives_nothing():
    name = unique("cap")
    with Cap(name, source_id=name) as cap:
        source = LslSource(find(Selector(name=name)))
        read_some(source, 20)
        cap.tell("silent", seconds=60)
        eventually(lambda: source.read(0.3) is None)
        source.close()


def test_a_killed_outlet_is_lost_and_a_closed_source_says_so():
    name = unique("cap")
    with Cap(name, source_id=name) as cap:
        source = LslSource(find(Selector(name=name)))
        read_some(source, 20)
        cap.kill()
        with pytest.raises(StreamLostError, match=name):
            read_some(source, 10_000)
        source.close()
        with pytest.raises(SourceError, match="closed"):
            source.read(0.1)


def test_a_full_buffer_is_a_gap(monkeypatch):
    monkeypatch.setattr(lsl, "BUFFER_SECONDS", 1)
    name = unique("cap")
    with Cap(name, source_id=name):
        source = LslSource(find(Selector(name=name)))
        read_some(source, 20)
        threading.Event().wait(1.5)  # the stalled consumer is the fault under test
        assert read_some(source, 20).discontinuity & Reason.GAP
        source.close()


def test_text_and_irregular_streams_are_refused_in_a_sentence():
    name = unique("cap")
    with (
        Cap(name, source_id=name, dtype="string"),
        pytest.raises(SourceError, match="carries text, not samples"),
    ):
        LslSource(find(Selector(name=name)))
    irregular = pylsl.StreamOutlet(pylsl.StreamInfo(f"{name}-irregular", "EEG", 3, 0.0, "float32", name))
    found = find(Selector(name=f"{name}-irregular"))
    with pytest.raises(SourceError, match="no regular sampling rate"):
        LslSource(found)
    source = LslSource(found, sfreq=250.0)
    for number in range(20):
        irregular.push_sample([number] * 3)
    chunk = read_some(source, 20)
    assert chunk.samples[:, 0].tolist() == list(range(20))
    assert not chunk.discontinuity
    source.close()
    del irregular


def test_an_outlet_that_hangs_does_not_hang_us():
    name = unique("cap")
    with Cap(name, source_id=name) as cap:
        found = find(Selector(name=name))
        cap.freeze()
        cancelled = threading.Event()
        threading.Timer(0.5, cancelled.set).start()
        with pytest.raises(SourceError, match=name):
            LslSource(found, cancelled=cancelled)
        cap.thaw()


def test_the_same_device_is_taken_again_and_another_rate_refused():
    name = unique("cap")
    connector = LslConnector(Selector(name=name))
    with Cap(name, source_id=name):
        source = connector.open(connector.find(5.0))
        connector.accept(source.info)
        source.close()
    with Cap(name, source_id=name):
        again = connector.open(connector.find(5.0))
        assert again.info.uid != source.info.uid
        again.close()
    with Cap(name, source_id=name, sfreq=200.0), pytest.raises(StreamChangedError, match=r"rate 100.0 became 200.0"):
        connector.open(connector.find(5.0))


def test_another_source_id_is_another_device():
    name = unique("cap")
    connector = LslConnector(Selector(name=name))
    with Cap(name, source_id=f"{name}-1"):
        source = connector.open(connector.find(5.0))
        connector.accept(source.info)
        source.close()
    with Cap(name, source_id=f"{name}-2"):
        assert connector.find(1.5) is None
        assert f"source_id {name}-1 became {name}-2" in connector.explain()


def test_presence_tells_a_silent_outlet_from_a_replaced_and_a_vanished_one():
    name = unique("cap")
    connector = LslConnector(Selector(name=name))

    def presence(uid: str) -> Presence:
        watch, answers = connector.watch(uid), []
        eventually(lambda: answers.append(watch.verdict()) or answers[-1] is not None)
        watch.close()
        return answers[-1]

    with Cap(name, source_id=name):
        uid = connector.find(5.0).info.uid
        assert presence(uid) is Presence.THERE
        assert presence("another") is Presence.REPLACED
    assert presence(uid) is Presence.ABSENT


def test_a_search_forgets_who_does_not_answer_any_more():
    name = unique("cap")
    with StreamSearch(f"name='{name}'") as search:
        with Cap(name, source_id=name):
            eventually(search.results)
        eventually(lambda: not search.results())


def test_differences_name_what_changed():
    info = SignalInfo("cap", "EEG", 100.0, 2, ("C3", "C4"), ("uV", "uV"), source_id="a", uid="1")
    assert not differences(info, SignalInfo("cap", "EEG", 100.0, 2, ("C3", "C4"), ("uV", "uV"), source_id="a", uid="2"))
    changed = SignalInfo("cap", "EEG", 100.0, 2, ("C4", "C3"), ("uV", "mV"), source_id="a")
    assert differences(info, changed) == [
        "the order of the labels changed",
        "unit of channel 2 changed from uV to mV",
    ]
    assert differences(info, SignalInfo("cap", "EEG", 100.0, 3, source_id="a")) == ["number of channels 2 became 3"]
    assert differences(info, SignalInfo("cap", "EEG", 100.0, 2, source_id="a")) == [
        "labels disappeared",
        "units disappeared",
    ]


def test_the_clock_offset_is_smoothed_and_a_reset_is_noticed():
    clock = ClockOffset()
    assert clock.update(10.0, 2e-3) is False
    assert clock.update(10.001, 2e-3) is False
    assert 10.0 < clock.seconds < 10.001
    assert clock.update(12.0, 2e-3) is True
    assert clock.seconds == 12.0


def test_a_clock_that_is_reset_between_two_chunks_marks_the_next_one(monkeypatch):
    offset = [0.0]
    monkeypatch.setattr(lsl, "OFFSET_INTERVAL_S", 0.0)
    monkeypatch.setattr(lsl, "time_correction", lambda *_: (offset[0], 1e-5))
    name = unique("cap")
    with Cap(name, source_id=name, chunk=100):
        source = LslSource(find(Selector(name=name)))
        read_some(source, 100)
        offset[0] = 5.0
        assert source.read(0.0) is None
        assert source.read(5.0).discontinuity is Reason.CLOCK_JUMP
        assert source.read(5.0).discontinuity is Reason.NONE
        source.close()


@pytest.mark.parametrize("hung", [0.03, 0.15, 5.0])
def test_what_was_asked_of_a_program_that_hung_moves_no_stamp(hung):
    clock = ClockOffset()
    for _ in range(0, 30, 5):
        clock.update(10.0, 2e-4)
    assert clock.update(10.0 - hung / 2, hung + 2e-4) is False  # the question waited, the answer did not
    assert clock.seconds == pytest.approx(10.0, abs=1e-5 / hung)
    assert clock.update(10.0, 2e-4) is False
    assert clock.seconds == pytest.approx(10.0, abs=1e-4)


def test_a_first_offset_that_is_uncertain_makes_no_jump_later():
    here, elsewhere = ClockOffset(), ClockOffset()
    here.update(-0.019, 0.04)  # the same machine, while it was busy
    elsewhere.update(999.981, 0.04)
    assert here.seconds == 0.0
    steps = [elsewhere.seconds]
    for _ in range(5, 200, 5):
        here.update(-1e-5, 1e-4)
        elsewhere.update(1000.0, 1e-4)
        steps.append(elsewhere.seconds)
    assert abs(here.seconds) < 2e-5
    assert max(np.abs(np.diff(steps))) <= 0.001 + 1e-9
    assert steps[-1] == pytest.approx(1000.0, abs=1e-4)
