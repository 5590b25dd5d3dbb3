"""The page in a real browser: what it shows, what it warns of, and that it comes back by itself."""

from __future__ import annotations

import itertools
import re
import time

import pytest

from mindwire.status import ChannelStatus, Event, StreamState
from mindwire.types import Reason
from mindwire_models.presets import BCIC2A
from tests.browser.conftest import accessibility_problems
from tests.support.canvas import drawn_pixels, texts_of
from tests.support.standin import StandIn, served
from tests.support.streaming import eventually

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect


@pytest.fixture
def stream():
    one = StandIn(notice="The model has seen simulated EEG only.")
    yield one
    one.stop()


def replace_channels(n):
    """The contract of a cap with so many channels."""
    return BCIC2A.model_copy(update={"channels": tuple(f"E{i + 1}" for i in range(n))})


def shown(page):
    return [int(text.split()[0]) for text in page.locator(".bar .value").all_inner_texts() if text != "–"]


def test_hello_and_status_are_shown(address, open_page):
    page = open_page(f"http://{address}/")
    expect(page.locator(".bar .text")).to_have_text(["feet", "left hand", "right hand", "tongue"])
    expect(page.locator("#state")).to_have_text("live")
    expect(page.locator("#reason")).to_have_text("Predictions are fresh.")
    expect(page.locator("#link")).to_have_text("Connected")
    facts = page.locator("#facts")
    for text in ("cap on h", "250 Hz, measured 250.01", "4 ppm", "stand-in", "onnxruntime, cpu", "4 s, 40 ms"):
        expect(facts).to_contain_text(text)
    expect(page.locator("#events")).to_contain_text("Predictions are fresh.")
    expect(page).to_have_title("eeg · Mindwire")
    expect(page.locator("#notice")).to_contain_text("The model has seen simulated EEG only.")
    expect(page.locator("#stages")).to_contain_text("decode")
    expect(page.locator("#rate")).to_have_text(re.compile(r"2\d\.\d"))


def test_probabilities_move_and_everything_is_drawn(address, open_page):
    page = open_page(f"http://{address}/")
    expect(page.locator(".bar.best")).to_have_count(1)
    first = shown(page)
    assert len(first) == 4
    assert 97 <= sum(first) <= 103
    expect(page.locator(".bar .value").first).not_to_have_text(f"{first[0]} %")
    for canvas in ("#history", "#distribution", "#eeg canvas"):
        deadline = time.monotonic() + 15
        while drawn_pixels(page, canvas) < 2000:
            assert time.monotonic() < deadline, f"{canvas} stays empty"


def test_invalid_predictions_are_announced(stream, address, open_page):
    page = open_page(f"http://{address}/")
    expect(page.locator("#valid")).to_be_visible()
    expect(page.locator("#invalid")).to_be_hidden()
    stream.reasons = Reason.ALIGNING | Reason.SETTLING
    expect(page.locator("#invalid")).to_be_visible()
    expect(page.locator("#valid")).to_be_hidden()
    expect(page.locator("#invalid-title")).to_have_text("Warming up")
    expect(page.locator("#invalid-text")).to_contain_text("learning this signal, filters settling")
    expect(page.locator("#bars")).to_have_class(re.compile("unsure"))
    stream.reasons = Reason.MUSCLE  # suspect, but it stands
    expect(page.locator("#invalid")).to_be_hidden()


def test_silence_is_announced_with_its_reason(address, stream, open_page):
    page = open_page(f"http://{address}/")
    expect(page.locator("#rate")).not_to_have_text("–")
    stream._stop.set()
    stream.become(StreamState.LOST, "The outlet has gone.")
    expect(page.locator("#invalid-title")).to_have_text("No predictions")
    expect(page.locator("#invalid-text")).to_have_text("The outlet has gone.")
    expect(page.locator("#reason")).to_be_hidden()  # once is enough
    expect(page.locator("#state")).to_have_text("lost")
    expect(page.locator("#events li").first).to_contain_text("The outlet has gone.")


def test_reconnects_after_the_service_restarts(open_page):
    first = StandIn()
    with served(first) as address:
        first.start()
        page = open_page(f"http://{address}/", may_lose_connection=True)
        expect(page.locator("#link")).to_have_text("Connected")
    first.stop()
    expect(page.locator("#link")).to_have_text(re.compile("Reconnecting"))
    expect(page.locator("#invalid-title")).to_have_text("Not connected")
    expect(page.locator("#streams button")).to_have_attribute("data-state", "unknown")
    expect(page.locator("#state")).to_have_text("not connected")
    second = StandIn()
    with served(second, port=int(address.split(":")[1])):
        second.start()
        expect(page.locator("#link")).to_have_text("Connected")
        expect(page.locator("#invalid")).to_be_hidden()
        expect(page.locator("#rate")).to_have_text(re.compile(r"\d"))
    second.stop()


def test_several_streams(open_page):
    left, right = StandIn("left"), StandIn("right")
    with served(left, right) as address:
        left.start()
        right.start()
        page = open_page(f"http://{address}/#right")
        expect(page).to_have_title("right · Mindwire")
        page.get_by_role("button", name="left").click()
        expect(page).to_have_title("left · Mindwire")
        expect(page.get_by_role("button", name="left")).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#invalid")).to_be_hidden()
        left.stop()
        right.stop()


def test_events_are_newest_first_whenever_they_arrive(open_page, stream):
    begin = time.time() - 100
    for second in range(12):
        stream.hub.event(Event("eeg", "gap", f"Gap {second}.", begin + second))
    stream.hub.event(Event("eeg", "gap", "Gap 11.", begin + 20))
    with served(stream) as address:
        stream.start()
        page = open_page(f"http://{address}/")
        rows = page.locator("#events li")
        expect(rows.first).to_contain_text("Predictions are fresh.")
        expect(rows.nth(1)).to_contain_text("Gap 11. (2 times)")
        expect(rows).to_have_count(8)
        page.get_by_role("button", name="Show all 13").click()
        expect(rows).to_have_count(13)
        times = page.locator("#events time").evaluate_all("all => all.map(one => one.dateTime)")
        assert times == sorted(times, reverse=True)


def test_a_change_of_state_is_one_row(open_page, stream):
    with served(stream) as address:
        page = open_page(f"http://{address}/")
        now = time.time()
        stream.hub.event(Event("eeg", "validity", "Predictions are invalid: flat.", now))
        stream.hub.event(Event("eeg", "validity", "Predictions are valid.", now + 1))
        stream.hub.event(Event("eeg", "state", "Predictions are fresh.", now + 1.01, {"state": "live"}))
        rows = page.locator("#events li")
        expect(rows.first).to_contain_text("Predictions are fresh.")
        expect(rows).to_have_count(2)
        expect(rows.nth(1)).to_contain_text("Predictions are invalid: flat.")


@pytest.mark.parametrize("decode_ms", [0.01, 1.0, 100.0, 150.0, 400.0, 5000.0])
def test_latency_labels_never_overlap(open_page, stream, decode_ms):
    stream.stages["decode"] = decode_ms
    with served(stream) as address:
        stream.start()
        page = open_page(f"http://{address}/")
        expect(page.locator("#latency-p50")).not_to_have_text("–")
        labels = [one for one in texts_of(page, "#distribution") if one["text"].startswith("p")]
        assert [one["text"].split()[0] for one in labels] == ["p50", "p99"]
        assert labels[1]["y"] - labels[0]["y"] >= 12
        width = page.locator("#distribution").evaluate("canvas => canvas.clientWidth")
        assert all(one["left"] >= 0 and one["right"] <= width for one in labels)


def test_an_unusual_clock_drift_is_marked(address, stream, open_page):
    page = open_page(f"http://{address}/")
    cell = page.locator("#facts dd").nth(2)
    stream.said["drift_ppm"] = -0.04
    expect(cell).to_have_text("< 1 ppm")
    stream.said["drift_ppm"] = -8126.1
    expect(cell).to_have_text("−8126 ppm, unusually large")
    expect(cell).to_have_class("abnormal")


def test_bad_channels_are_named(address, stream, open_page):
    page = open_page(f"http://{address}/")
    good = {"score": 1.0, "amplitude": 9.0, "line_ratio": 0.1, "muscle_ratio": 0.1, "drift": 1.0}
    stream.said["quality"] = [
        ChannelStatus(label="Fz", verdict="ok", reasons=[], **good),
        ChannelStatus(label="C3", verdict="bad", reasons=["flat"], **good),
        ChannelStatus(label="FC1", verdict="suspect", reasons=["line_noise"], **good),
    ]
    expect(page.locator("#eeg-bad")).to_have_text("Bad: C3 (flat channel) · Suspect: FC1 (line noise)")
    stream.reasons = Reason.FLAT
    expect(page.locator("#invalid-title")).to_have_text("Not valid: flat channel (C3)")
    names = {one["text"] for one in texts_of(page, "#eeg-axes")}
    assert {"✕", "!", "C3", "FC1"} <= names


def test_the_wait_is_counted_down(address, stream, open_page):
    stream.reasons = Reason.ALIGNING
    stream.said["valid_in_s"] = 500.0
    page = open_page(f"http://{address}/")
    text = page.locator("#invalid-text")
    expect(text).to_have_text("learning this signal, 500 s")
    stream.said["valid_in_s"] = 4.6
    expect(text).to_have_text(re.compile(r"learning this signal, [345] s"))


def test_markers_of_the_network_are_drawn(address, stream, open_page):
    page = open_page(f"http://{address}/")
    expect(page.locator(".bar.best")).to_have_count(1)
    expect(page.locator("#eeg-note")).to_contain_text("channels")
    for kind, label in (("marker", "S 7"), ("cue", "left_hand")):
        stream.hub.event(Event("eeg", kind, "A marker.", time.time(), {"label": label, "time": time.monotonic()}))
    expect(page.locator(".bar.cued .text")).to_have_text("left hand")
    assert {"▸ S 7", "▸ left hand"} <= {one["text"] for one in texts_of(page, "#history")}
    expect(page.locator("#eeg .moment")).to_have_text(["▸ S 7", "▸ left hand"])
    expect(page.locator("#events")).not_to_contain_text("A marker.")


def test_a_recording_is_shown(address, stream, open_page):
    page = open_page(f"http://{address}/")
    expect(page.locator("#facts")).to_contain_text("Recordingoff")
    expect(page.locator("#recording")).to_be_hidden()
    stream.said["recording"] = "cap-20261128-120000.xdf"
    expect(page.locator("#recording")).to_have_text("REC")
    expect(page.locator("#facts")).to_contain_text("cap-20261128-120000.xdf")


def test_many_channels_make_the_strip_taller(open_page):
    many = StandIn(contract=replace_channels(128))
    with served(many) as address:
        many.start()
        page = open_page(f"http://{address}/", viewport={"width": 1400, "height": 900})
        expect(page.locator("#eeg-note")).to_contain_text("128 channels")
        rows = [one for one in texts_of(page, "#eeg-axes") if one["text"].startswith("E")]
        assert len(rows) == 128
        assert all(below["y"] - above["y"] >= 12 for above, below in itertools.pairwise(rows))
    many.stop()


def test_the_strips_lines_stand_at_its_labels_and_its_bar_has_a_number(address, open_page):
    page = open_page(f"http://{address}/")
    expect(page.locator("#eeg-scale")).to_have_text(re.compile("µV"))
    texts = texts_of(page, "#eeg-axes")
    assert [one["text"] for one in texts if one["text"].endswith(" s")] == [
        f"{seconds} s" for seconds in (0, 2, 4, 6, 8, 10)
    ]
    assert any(re.fullmatch(r"\d+ µV", one["text"]) for one in texts)


def test_a_paused_strip_says_so(stream, address, open_page):
    page = open_page(f"http://{address}/")
    expect(page.locator("#eeg-scale")).to_have_text(re.compile("µV"))
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#eeg-paused")).to_contain_text("Paused")
    head = page.locator("#eeg .sweep")
    stopped = head.get_attribute("style")
    sent = stream.seq
    eventually(lambda: stream.seq > sent + 10)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert head.get_attribute("style") == stopped
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#eeg-paused")).to_be_hidden()
    expect(head).not_to_have_attribute("style", stopped)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(stream, address, open_page, scheme):
    page = open_page(f"http://{address}/", color_scheme=scheme)
    expect(page.locator(".bar.best")).to_have_count(1)
    expect(page.locator("#events li")).not_to_have_count(0)
    assert accessibility_problems(page) == []
    stream.reasons = Reason.FLAT
    stream.become(StreamState.STALE, "The outlet sends no samples.")
    expect(page.locator("#invalid")).to_be_visible()
    assert accessibility_problems(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_api_page_is_accessible(address, open_page, scheme):
    page = open_page(f"http://{address}/docs", color_scheme=scheme)
    page.locator("summary", has=page.locator(".verb.get")).get_by_text("/v1/streams/{stream}", exact=True).click()
    expect(page.locator("details[open] form")).to_be_visible()
    assert accessibility_problems(page) == []


def test_controls_of_the_strip(address, open_page):
    page = open_page(f"http://{address}/")
    scale = page.locator("#eeg-scale")
    expect(scale).to_have_text(re.compile(r"\d+ µV / row"))
    page.get_by_role("button", name="Auto").click()
    before = int(scale.inner_text().split()[0])
    page.get_by_role("button", name="Larger amplitudes").click()
    assert int(scale.inner_text().split()[0]) < before
    expect(page.get_by_role("button", name="Auto")).to_have_attribute("aria-pressed", "false")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    page.get_by_label("Span").select_option("20 s")


def test_token_is_asked_for_and_kept_out_of_the_address(open_page, stream):
    with served(stream, token="correct horse") as address:
        stream.start()
        page = open_page(f"http://{address}/", may_lose_connection=True)
        expect(page.get_by_label("Token", exact=True)).to_be_visible()
        expect(page.locator("#token-wrong")).to_be_hidden()
        page.get_by_label("Token", exact=True).fill("wrong")
        page.get_by_role("button", name="Connect").click()
        expect(page.locator("#token-wrong")).to_be_visible()
        page.get_by_label("Token", exact=True).fill("correct horse")
        page.get_by_role("button", name="Connect").click()
        expect(page.locator("#link")).to_have_text("Connected")
        page.goto(f"http://{address}/?token=correct%20horse")
        expect(page.locator("#link")).to_have_text("Connected")
        assert "token" not in page.url
        page.goto(f"http://{address}/?token=wrong")
        expect(page.locator("#token-wrong")).to_be_visible()


def test_what_a_stream_says_is_text_never_markup(open_page, stream):
    with served(stream) as address:
        stream.start()
        stream.become(StreamState.LIVE, "<img src=x onerror=\"document.title='owned'\">")
        page = open_page(f"http://{address}/")
        expect(page.locator("#events")).to_contain_text("<img src=x")
        assert page.locator("#events img, #reason img").count() == 0


@pytest.mark.parametrize("width", [360, 768, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_any_screen(address, open_page, width, scheme):
    page = open_page(f"http://{address}/", viewport={"width": width, "height": 800}, color_scheme=scheme)
    expect(page.locator(".bar.best")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_control_has_a_name(address, open_page):
    page = open_page(f"http://{address}/")
    expect(page.locator(".bar.best")).to_have_count(1)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, canvas:not([aria-hidden]), [role=meter]")].filter(e => !(
            e.ariaLabel || e.getAttribute("aria-label") || e.labels?.length || e.textContent.trim())).map(e => e.outerHTML)"""
    )
    assert nameless == []


def test_api_page_describes_and_tries(address, open_page):
    page = open_page(f"http://{address}/docs")
    page.locator("summary", has=page.locator(".verb.get")).get_by_text("/v1/streams/{stream}", exact=True).click()
    form = page.locator("details[open] form")
    form.get_by_label("stream").fill("eeg")
    form.get_by_role("button", name="Try it").click()
    expect(page.locator("details[open] pre")).to_contain_text('"state": "live"')


def test_api_page_describes_the_messages_of_the_websockets(address, open_page):
    page = open_page(f"http://{address}/docs")
    page.locator("#channels").get_by_text("/v1/streams/{stream}/predictions", exact=True).click()
    channel = page.locator("#channels > details[open]")
    channel.locator("summary code").get_by_text("event", exact=True).click()
    expect(channel).to_contain_text("data of the kind marker")
    expect(channel.get_by_text("uncertainty_ms").first).to_be_visible()
    assert accessibility_problems(page) == []


def test_api_page_sends_a_body(address, stream, open_page):
    page = open_page(f"http://{address}/docs")
    page.get_by_text("/v1/streams/{stream}/adaptation", exact=True).click()
    form = page.locator("details[open] form")
    form.get_by_label("stream").fill("eeg")
    body = form.get_by_label("body")
    assert '"action": "freeze"' in body.input_value()
    form.get_by_role("button", name="Try it").click()
    expect(page.locator("details[open] pre")).to_contain_text(re.compile("^20[024]"))
    assert [command.action for command in stream.commands] == ["freeze"]
    assert accessibility_problems(page) == []
