"""The game of clients/javascript/examples, from another origin than the service's: by keys, axes, and a simulated person.

With ``MINDWIRE_SCREENSHOTS`` set to a folder, its picture is taken on the way.
"""

from __future__ import annotations

import os
import re
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Axis, Latest
from mindwire_models.zoo import zoo_bundle_path
from tests.browser.conftest import accessibility_problems
from tests.support.processes import Processes
from tests.support.service_process import service
from tests.support.standin import StandIn, served
from tests.support.streaming import unique
from tests.support.website import website

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
GAME = Path(__file__).parents[2] / "clients" / "javascript" / "examples" / "game"
PICTURES = os.environ.get("MINDWIRE_SCREENSHOTS")


@pytest.fixture
def origin():
    with website(GAME) as where:
        yield where


def place(page, name: str) -> tuple[float, float]:
    """Return where the ball or the goal is, in steps from the centre."""
    shown = page.locator(f"#{name}")
    return float(shown.get_attribute("data-x")), float(shown.get_attribute("data-y"))


def picture(page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png")


def test_without_a_service_the_arrow_keys_reach_the_goal(open_page, origin):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    page = open_page(
        f"{origin}/?url=ws://127.0.0.1:{port}/ws", may_lose_connection=True, viewport={"width": 900, "height": 800}
    )
    expect(page.locator("#connection")).to_have_text("Not connected: the arrow keys steer.")
    expect(page.locator("#goal")).to_be_visible()
    x, y = place(page, "goal")
    assert abs(x) + abs(y) == 3
    assert accessibility_problems(page) == []
    picture(page, "game-keys")
    keys = ["ArrowRight" if x > 0 else "ArrowLeft"] * int(abs(x)) + ["ArrowUp" if y > 0 else "ArrowDown"] * int(abs(y))
    for key in keys:
        page.keyboard.press(key)
    expect(page.locator("#score")).to_have_text("Goals 1")
    expect(page.locator("#said")).to_have_text("Goal!")
    page.keyboard.press("ArrowLeft")  # between two goals nothing moves
    assert place(page, "ball") == (x, y)


def test_axes_roll_the_ball(open_page, origin):
    stream = StandIn()
    stream.control(
        ControlPolicy(evidence=Latest(), axes=(Axis(name="x", positive="right_hand", negative="left_hand"),))
    )
    with served(stream, allowed_origins=[origin]) as address:
        stream.start()
        page = open_page(f"{origin}/?url=ws://{address}/ws&steer=axes")
        expect(page.locator("#connection")).to_have_text("Connected to eeg: its axes and the arrow keys steer.")
        expect(page.locator("#ball")).to_have_attribute("data-x", re.compile(r"-?\d\.\d+"))
        assert place(page, "ball")[1] == 0
        page.goto("about:blank")
    stream.stop()


@pytest.mark.timeout(300)
def test_a_simulated_person_steers_the_ball_to_the_goal(open_page, origin, tmp_path):
    person = unique("person")
    stream = unique("game")
    with ExitStack() as stack:
        follow = ("--follow", stream, "--name", person, "--source-id", person, "--seed", 3)
        Processes(stack).start("-m", "mindwire", "simulate", *follow)
        started = stack.enter_context(
            service(
                *("--model", zoo_bundle_path(), "--stream", f"id={stream},source_id={person}"),
                *("--sessions", tmp_path / "sessions", "--allow-origin", origin),
            )
        )
        started.discard_log()
        url = f"ws://{started.address()}/ws"
        size = {"width": 900, "height": 800}
        page = open_page(f"{origin}/?url={url}&markers=1&distance=2&limit=40", may_lose_connection=True, viewport=size)
        expect(page.locator("#notice")).to_contain_text("never use it on a person", timeout=60_000)
        expect(page.locator("#goal")).to_be_visible(timeout=90_000)
        expect(page.locator('#ball:not([data-x="0"][data-y="0"])')).to_be_visible(timeout=100_000)
        picture(page, "game-person")
        expect(page.locator("#score")).to_have_text(re.compile("Goals 1"), timeout=150_000)
        picture(page, "game-goal")
        page.goto("about:blank")
