"""The page in a real browser: what it shows, what it warns of, and that it comes back by itself."""

from __future__ import annotations

import re
import time

import pytest

from service.status import StreamState
from service.types import Reason
from tests.service.api.standin import StandIn, served

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect


@pytest.fixture
def stream():
    one = StandIn(notice="The model has seen simulated EEG only.")
    yield one
    one.stop()


@pytest.fixture
def address(stream):
    with served(stream) as where:
        stream.start()
        yield where


def shown(page):
    return [int(text.split()[0]) for text in page.locator(".bar .value").all_inner_texts() if text != "–"]


def drawn_pixels(page, canvas):
    """How many pixels of a canvas are not empty."""
    script = """canvas => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let n = 0;
      for (let i = 3; i < data.length; i += 4) n += data[i] > 0;
      return n;
    }"""
    return page.locator(canvas).evaluate(script)


def test_hello_and_status_are_shown(address, open_page):
    page = open_page(f"http://{address}/")
    expect(page.locator(".bar .text")).to_have_text(["feet", "left hand", "right hand", "tongue"])
    expect(page.locator("#state")).to_have_text("live")
    expect(page.locator("#reason")).to_have_text("Predictions are fresh.")
    expect(page.locator("#link")).to_have_text("Connected")
    facts = page.locator("#facts")
    for text in ("cap on h", "250 Hz, measured 250.01", "3.5 ppm", "stand-in", "onnxruntime, cpu", "4 s, 40 ms"):
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
    for canvas in ("#history", "#distribution", "#eeg"):
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
    expect(page.locator("#invalid-title")).to_have_text("Not valid: aligning, settling")
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
        page.get_by_label("Token", exact=True).fill("wrong")
        page.get_by_role("button", name="Connect").click()
        expect(page.locator("#token-wrong")).to_be_visible()
        page.get_by_label("Token", exact=True).fill("correct horse")
        page.get_by_role("button", name="Connect").click()
        expect(page.locator("#link")).to_have_text("Connected")
        page.goto(f"http://{address}/?token=correct%20horse")
        expect(page.locator("#link")).to_have_text("Connected")
        assert "token" not in page.url


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
        """() => [...document.querySelectorAll("button, input, select, canvas, [role=meter]")].filter(e => !(
            e.ariaLabel || e.getAttribute("aria-label") || e.labels?.length || e.textContent.trim())).map(e => e.outerHTML)"""
    )
    assert nameless == []


def test_api_page_describes_and_tries(address, open_page):
    page = open_page(f"http://{address}/docs")
    page.get_by_text("/v1/streams/{stream}", exact=True).click()
    form = page.locator("details[open] form")
    form.get_by_label("stream").fill("eeg")
    form.get_by_role("button", name="Try it").click()
    expect(page.locator("details[open] pre")).to_contain_text('"state": "live"')
