"""The live page beyond predictions: electrodes, spectrum, ERD, filters, the shadow, age of old data, and German."""

from __future__ import annotations

import re
import time

import pytest

from mindwire.live.loaded_model import CandidateStatus
from mindwire.live.shadow import ShadowStatus
from mindwire.status import ChannelStatus, Event
from mindwire_models.presets import BCIC2A
from tests.browser.conftest import accessibility_problems
from tests.support.canvas import drawn_pixels, texts_of
from tests.support.standin import StandIn

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
GOOD = {"score": 1.0, "amplitude": 9.0, "line_ratio": 0.1, "muscle_ratio": 0.1, "drift": 1.0}


@pytest.fixture
def stream():
    one = StandIn(contract=BCIC2A.model_copy(update={"channels": (*BCIC2A.channels[:21], "EOG")}))
    yield one
    one.stop()


def mark(stream, label):
    stream.hub.event(Event("eeg", "marker", "A marker.", time.time(), {"label": label, "time": time.monotonic()}))


def test_electrodes_are_on_the_head_with_their_quality(address, stream, open_page):
    stream.said["quality"] = [
        ChannelStatus(label="C3", verdict="bad", reasons=["flat"], **GOOD),
        ChannelStatus(label="C4", verdict="ok", reasons=[], **GOOD),
        ChannelStatus(label="EOG", verdict="suspect", reasons=["line_noise"], **GOOD),
    ]
    page = open_page(f"http://{address}/")
    expect(page.locator("#scalp-note")).to_contain_text("1 good, 1 suspect, 1 bad")
    expect(page.locator("#scalp-off")).to_have_text("1 channel without a place on the head: EOG !")
    drawn = {one["text"]: one for one in texts_of(page, "#scalp")}
    width = page.locator("#scalp").evaluate("canvas => canvas.clientWidth")
    assert drawn["C3"]["right"] < width / 2 < drawn["C4"]["left"]
    assert drawn["Fz"]["y"] < drawn["Cz"]["y"] < drawn["Pz"]["y"]  # nose up
    assert "✕" in drawn
    assert "EOG" not in drawn
    page.locator("#scalp").click(position={"x": drawn["C4"]["left"] + 4, "y": drawn["C4"]["y"]})
    expect(page.locator("#spectrum-channel")).to_have_value("C4")


def test_the_spectrum_has_its_peak_in_the_right_band(address, open_page):
    page = open_page(f"http://{address}/")
    expect(page.locator("#bands .value").nth(2)).to_have_text(re.compile(r"\d+ µV²"))  # a sine of 10 Hz
    powers = [float(text.split()[0]) for text in page.locator("#bands .value").all_inner_texts()]
    assert len(powers) == 5
    assert max(powers) == powers[2]
    assert 200 < powers[2] < 500  # 25² / 2, and noise
    page.get_by_label("Value on the scalp map").select_option("alpha")
    expect(page.locator("#scalp-note")).to_contain_text("Power in the band")
    assert drawn_pixels(page, "#scalp") > 5000


def test_trials_make_a_map_of_erd(address, stream, open_page):
    page = open_page(f"http://{address}/")
    expect(page.locator("#erd-note")).to_contain_text("Fills with the first trial")
    expect(page.locator("#bands .value").nth(2)).to_have_text(re.compile("µV²"))  # two seconds of signal
    mark(stream, "left_hand")
    page.wait_for_timeout(200)
    mark(stream, "trial_aborted")  # is no trial
    page.wait_for_timeout(2500)
    mark(stream, "right_hand")
    expect(page.locator("#erd")).to_have_attribute("aria-label", "ERD after cues: right hand (1)", timeout=30_000)
    expect(page.locator("#erd-note")).to_contain_text("against the 2 s before it")
    page.get_by_role("button", name="Begin again").click()
    expect(page.locator("#erd-note")).to_contain_text("Fills with the first trial")


def test_a_filter_for_display_takes_the_sine_away(address, open_page):
    page = open_page(f"http://{address}/")
    scale = page.locator("#eeg-scale")
    expect(scale).to_have_text("100 µV / row")
    page.locator("#eeg-filter").select_option("beta")
    expect(scale).to_have_text(re.compile(r"^(20|50) µV / row"))
    assert drawn_pixels(page, "#eeg canvas") > 2000


def test_a_model_in_the_shadow_is_beside_the_one_in_use(address, stream, open_page):
    page = open_page(f"http://{address}/")
    expect(page.locator(".bar.best")).to_have_count(1)
    comparison = ShadowStatus(pairs=400, agreement=0.75, difference=0.1, confidence=(0.6, 0.7), decisions=({}, {}))
    stream.swap.candidate = CandidateStatus(
        name="candidate", sha256="1" * 64, when="shadow", state="shadow", comparison=comparison
    )
    stream.said["other_models"] = ["1" * 64]
    line = page.locator("#shadow-line")
    expect(line).to_have_text("In use: stand-in in the shadow: candidate; the same class in 75 % of 400 windows")
    stream.shadowed = True
    expect(page.locator("#bars")).to_have_class(re.compile("shadowed"))
    assert accessibility_problems(page) == []
    stream.shadowed = False
    stream.said["other_models"] = []
    expect(line).to_be_hidden()
    expect(page.locator("#bars")).not_to_have_class(re.compile("shadowed"))


def test_old_data_are_grey_and_have_an_age(address, stream, open_page):
    page = open_page(f"http://{address}/")
    expect(page.locator("#rate")).not_to_have_text("–")
    expect(page.locator("#eeg-card")).not_to_have_class(re.compile("old"))
    stream._stop.set()
    for card in ("#predictions", "#eeg-card", "#scalp-card", "#spectrum-card"):
        expect(page.locator(card)).to_have_class(re.compile("old"))
        expect(page.locator(f"{card} .age")).to_have_text(re.compile(r"^\d+(\.\d)? s old$"))


def test_markers_and_decisions_are_told_in_words(address, stream, open_page):
    page = open_page(f"http://{address}/")
    expect(page.locator(".bar.best")).to_have_count(1)
    for label in ("fixation", "left_hand", "target 1 -2", "practice_feet", "S 7"):
        mark(stream, label)
    events = page.locator("#events")
    expect(events).not_to_contain_text("fixation")
    page.get_by_label("with markers and decisions").check()
    for words in ("fixation", "left hand", "target 1 -2", "practice: feet", "S 7"):
        expect(events).to_contain_text(words)


def test_the_disk_has_so_much_left(address, stream, open_page):
    stream.said["free_bytes"] = 231_500_000_000
    page = open_page(f"http://{address}/", locale="de-DE")
    expect(page.locator("#facts")).to_contain_text("Platz frei232 GB")
    stream.said["free_bytes"] = 900_000_000
    expect(page.locator("#facts dd").last).to_have_text("900 MB")
    expect(page.locator("#facts dd").last).to_have_class("abnormal")
    expect(page.locator(".bar .text")).to_have_text(["Füße", "linke Hand", "rechte Hand", "Zunge"])
    assert page.locator("#eeg-note").inner_text().startswith("22 Kanäle")


def test_the_page_is_operated_by_keyboard(address, open_page):
    page = open_page(f"http://{address}/")
    expect(page.locator(".bar.best")).to_have_count(1)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.get_by_role("button", name="Pause").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Resume")).to_be_focused()
