"""Control on the page: decisions, evidence, axes, pause and the slider, with the service's own controller and pipeline."""

from __future__ import annotations

import json
import re
import time
import urllib.request

import pytest

from mindwire.control.policy import ControlPolicy, FrontierPoint, Tuning
from mindwire.control.stages import Axis, Decide, Latest
from mindwire.errors import PolicyError
from mindwire.evaluation.metrics import poisson_bound
from mindwire.types import Reason
from tests.browser.conftest import accessibility_problems
from tests.support.canvas import drawn_pixels, texts_of
from tests.support.service_process import Service
from tests.support.standin import StandIn, served

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

POINTS = tuple(
    FrontierPoint(
        false_per_minute=false / 12.0,
        right=right,
        wrong_first=wrong,
        evidence=Latest(),
        decide=Decide(commit=commit, release=commit / 2, dwell_s=0.2),
    )
    for false, right, wrong, commit in ((0, 31, 0, 0.95), (5, 61, 3, 0.7), (20, 76, 9, 0.6))
)
POLICY = ControlPolicy(
    evidence=Latest(),
    decide=POINTS[1].decide,
    axes=(
        Axis(name="x", positive="right_hand", negative="left_hand"),
        Axis(name="y", positive="tongue", negative="feet"),
    ),
    tuning=Tuning(budget_per_minute=0.5, proven_per_minute=0.88, rest_minutes=12.0, trials=88, frontier=POINTS),
)
NEVER = Decide(commit=1.0, release=0.5)


@pytest.fixture
def stream():
    one = StandIn()
    one.control(POLICY)
    yield one
    one.stop()


def control_of(address, stream="eeg"):
    with urllib.request.urlopen(f"http://{address}/v1/streams/{stream}/control", timeout=5) as answer:
        return json.load(answer)


def test_a_decision_is_marked_and_shown(address, open_page):
    live = open_page(f"http://{address}/")
    expect(live.locator("#last-decision")).to_have_text(
        re.compile(r"Last decision: (feet|left hand|right hand|tongue) \(\d+ %\), \d\.\d s ago")
    )
    deadline = time.monotonic() + 30
    while not {"●", "■", "▲", "◆", "x", "y"} <= {one["text"] for one in texts_of(live, "#history")}:
        assert time.monotonic() < deadline, "the timeline has no mark of each class, or no axes"
        live.wait_for_timeout(200)
    page = open_page(f"http://{address}/control")
    name = page.locator("#decision-name")
    expect(name).to_have_text(re.compile(r"(●feet|■left hand|▲right hand|◆tongue)\d+ %"))
    expect(page.locator("#decision-age")).to_have_text(re.compile(r"\d\.\d s ago"))
    expect(name).to_have_attribute("aria-live", "polite")
    size = "name => parseFloat(getComputedStyle(name.querySelector('.text')).fontSize)"  # a decision replaces the text
    assert name.evaluate(size) >= 60


def test_evidence_has_the_thresholds_of_each_class(stream, address, open_page):
    commit = {"feet": 0.9, "left_hand": 0.8, "right_hand": 0.7}
    decide = Decide(commit=commit, release=dict.fromkeys(commit, 0.5))
    stream.control(POLICY.model_copy(update={"decide": decide, "idle": "tongue", "axes": ()}))
    page = open_page(f"http://{address}/control")
    lines = page.locator("#evidence .commit")
    expect(lines).to_have_count(3)
    assert lines.evaluate_all("all => all.map(one => one.style.left)") == ["90%", "80%", "70%"]
    meters = page.locator("#evidence [role=meter]")
    expect(meters.first).to_have_attribute("aria-label", "Evidence for feet, commits at 90 %, releases below 50 %")
    expect(meters.last).to_have_attribute("aria-label", "Evidence for tongue, never decided")
    expect(page.locator("#axes-figure")).to_be_hidden()


def test_the_state_is_said_in_words(stream, address, open_page):
    page = open_page(f"http://{address}/control")
    state = page.locator("#control-state")
    expect(state).to_have_text("refractory")
    expect(page.locator("#control-why")).to_have_text("nothing is decided for 1 s after a decision")
    stream.reasons = Reason.FLAT
    expect(state).to_have_text("invalid")
    expect(page.locator("#evidence")).to_have_class(re.compile("unsure"))
    stream._stop.set()
    expect(state).to_have_text("no predictions")


def test_pause_by_key_and_resume_by_button(stream, address, open_page):
    page = open_page(f"http://{address}/control")
    expect(page.locator("#decision-name")).to_contain_text("%")
    page.get_by_label("Theme").focus()
    page.keyboard.press("p")  # of the field
    page.locator("#main").focus()
    page.keyboard.press("p")
    expect(page.locator("#control-paused")).to_be_visible()
    expect(page.locator("#control-state")).to_have_text("paused")
    assert control_of(address)["paused"] is True
    page.reload()
    expect(page.locator("#control-paused")).to_be_visible()
    page.get_by_role("button", name="Resume control").click()
    expect(page.locator("#control-paused")).to_be_hidden()
    assert control_of(address)["paused"] is False
    stream.control(paused=True)  # by another client
    expect(page.get_by_role("button", name="Resume control")).to_have_attribute("aria-pressed", "true")


def test_the_slider_changes_the_policy_and_says_what_it_costs(address, open_page):
    page = open_page(f"http://{address}/control")
    slider, text = page.get_by_role("slider", name="False activations"), page.locator("#frontier-text")
    expect(slider).to_have_value("1")
    bound = [poisson_bound(count, 12.0) for count in (0, 5, 20)]
    tail = "in the recordings it was tuned on."
    expect(text).to_have_text(
        f"At most {bound[1]:.2f} false activations a minute: 61 of 88 trials right, 3 wrong first, {tail}"
    )
    slider.evaluate("slider => { slider.value = 0; slider.dispatchEvent(new Event('input')); }")  # still held
    expect(text).to_contain_text(f"At most {bound[0]:.2f} false")
    expect(text).to_contain_text("Than now: 30 fewer right, 3 fewer wrong first.")
    assert control_of(address)["policy"]["decide"]["commit"] == 0.7
    slider.focus()
    page.keyboard.press("End")
    expect(text).to_have_text(
        f"At most {bound[2]:.2f} false activations a minute: 76 of 88 trials right, 9 wrong first, {tail}"
    )
    expect(page.locator("#evidence .commit").first).to_have_attribute("style", "left: 60%;")
    running = ControlPolicy.model_validate_json(json.dumps(control_of(address)["policy"]))
    assert running == POLICY.model_copy(update={"decide": POINTS[2].decide})


def test_the_bound_is_the_exact_one(address, open_page):
    page = open_page(f"http://{address}/control")
    counts = [0, 1, 20, 1200]
    script = "async counts => { const { poissonBound } = await import('/static/js/frontier.js'); return counts.map(n => poissonBound(n, 60)); }"
    assert page.evaluate(script, counts) == pytest.approx([poisson_bound(n, 60.0) for n in counts], rel=1e-9)


def test_a_refused_command_is_reported_and_changes_nothing(stream, address, open_page, monkeypatch):
    page = open_page(f"http://{address}/control", may_lose_connection=True)  # the browser reports the status
    slider = page.get_by_role("slider", name="False activations")
    expect(slider).to_have_value("1")

    def refuse(*_, **__):
        raise PolicyError("The control policy does not fit the model: it has no class tongue.")

    monkeypatch.setattr(stream, "control", refuse)
    slider.focus()
    page.keyboard.press("Home")
    expect(page.locator("#control-problem")).to_have_text(
        "The control policy does not fit the model: it has no class tongue."
    )
    expect(slider).to_have_value("1")


def test_commands_carry_the_token(stream, open_page):
    with served(stream, token="correct horse") as address:
        stream.start()
        page = open_page(f"http://{address}/control?token=correct%20horse")
        expect(page.locator("#decision-name")).to_contain_text("%")
        page.get_by_role("button", name="Pause control").click()
        expect(page.locator("#control-paused")).to_be_visible()
        assert stream.control_setting.paused


def test_thresholds_of_another_origin_have_no_point(stream, address, open_page):
    page = open_page(f"http://{address}/control")
    expect(page.locator("#frontier-note")).to_contain_text("5 false activations in 12.0 minutes of rest")
    stream.control(POLICY.model_copy(update={"decide": NEVER}))
    expect(page.locator("#frontier-note")).to_contain_text("What runs now is none of these choices.")
    stream.control(POLICY.model_copy(update={"tuning": None}))
    expect(page.locator("#frontier")).to_be_hidden()
    expect(page.locator("#evidence .commit")).to_have_count(4)


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_the_axes_are_a_moving_point(stream, address, open_page, motion):
    page = open_page(f"http://{address}/control", reduced_motion=motion)
    values = page.locator("#axes-values")
    expect(values).to_have_text(re.compile(r"x −?\d\.\d\d\s+y −?\d\.\d\d"))
    before = values.inner_text()
    expect(values).not_to_have_text(before)
    assert drawn_pixels(page, "#axes") > 500
    assert {"left hand", "right hand", "feet", "tongue"} <= {one["text"] for one in texts_of(page, "#axes")}
    stream.control(POLICY.model_copy(update={"axes": POLICY.axes[:1]}))
    expect(page.locator("#axes-figure")).to_have_class(re.compile("line"))
    expect(values).to_have_text(re.compile(r"^x −?\d\.\d\d$"))


def test_without_a_policy_there_is_one_line(open_page):
    stream = StandIn()
    with served(stream) as address:
        stream.start()
        page = open_page(f"http://{address}/control")
        expect(page.locator("#no-control")).to_contain_text("No control policy: probabilities only.")
        expect(page.locator("#control")).to_be_hidden()
        page.keyboard.press("p")
        stream.control(POLICY)
        expect(page.locator("#control")).to_be_visible()
        expect(page.locator("#no-control")).to_be_hidden()
        expect(page.locator("#decision-name")).to_contain_text("%")
        assert control_of(address)["paused"] is False
    stream.stop()


def test_the_api_pages_example_is_a_valid_policy(stream, address, open_page):
    page = open_page(f"http://{address}/docs")
    details = page.locator("details", has=page.get_by_text("/v1/streams/{stream}/control", exact=True)).filter(
        has=page.locator(".verb.put")
    )
    details.locator("summary").click()
    details.get_by_label("stream").fill("eeg")
    details.get_by_role("button", name="Try it").click()
    expect(details.locator("pre")).to_contain_text(re.compile("^200"))
    assert stream.control_setting.policy == ControlPolicy()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_control_is_accessible_and_fits_a_phone(stream, address, open_page, scheme):
    page = open_page(f"http://{address}/control", color_scheme=scheme, viewport={"width": 360, "height": 800})
    expect(page.locator("#decision")).to_have_class(re.compile("fresh"))
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert accessibility_problems(page) == []
    stream.control(paused=True)
    expect(page.locator("#control-paused")).to_be_visible()
    assert accessibility_problems(page) == []


def test_the_demonstration_decides_on_the_page(open_page, tmp_path):
    policy = POLICY.model_copy(update={"decide": Decide(commit=0.6, release=0.4, dwell_s=0.2)})
    (tmp_path / "control.json").write_text(policy.to_json())
    running = Service("--control", tmp_path / "control.json", command="demo")
    try:
        address = running.address()
        page = open_page(f"http://{address}/control", may_lose_connection=True)
        expect(page.locator("#decision-name")).to_contain_text("%", timeout=90_000)
        page.keyboard.press("p")
        expect(page.locator("#control-state")).to_have_text("paused")
        assert control_of(address, "demo")["paused"] is True
    finally:
        running.process.kill()
        running.process.communicate()
