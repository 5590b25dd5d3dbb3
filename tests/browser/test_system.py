"""The pages System and Models with a real service: streams, models, swaps and adaptation are changed there."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
import zipfile
from contextlib import ExitStack

import httpx
import pytest

from mindwire.config import Settings
from mindwire_models import zoo
from tests.browser.conftest import accessibility_problems
from tests.support.archives import zipped
from tests.support.lsl_cap import Cap
from tests.support.sealing import seal
from tests.support.service_process import service
from tests.support.standin import StandIn, served
from tests.support.streaming import unique

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
ZOO = zoo.zoo_bundle_path()
LABELS = ("Fz", "FC3", "FC1", "FCz", "FC2", "FC4", "C5", "C3", "C1", "Cz", "C2", "C4", "C6", "CP3", "CP1", "CPz", "CP2", "CP4", "P1", "Pz", "P2", "POz")  # fmt: skip


def named(folder, name):
    """The bundle for demonstration under another name, and so with another hash."""
    shutil.copytree(ZOO, folder)
    about = json.loads((folder / "bundle.json").read_bytes())
    (folder / "bundle.json").write_text(json.dumps(about | {"name": name}))
    seal(folder)
    return folder


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A service without streams, two models in its folder, and a cap on the network."""
    folder = tmp_path_factory.mktemp("system")
    models = folder / "models"
    for name in ("first", "second"):
        named(models / name, name)
    cap = unique("cap")
    with ExitStack() as stack:
        stack.enter_context(Cap(cap, source_id=cap, labels=LABELS, n_channels=22, sfreq=250.0, chunk=10))
        started = stack.enter_context(
            service("--models", models, "--model", models / "first", "--sessions", folder / "sessions")
        )
        yield started.address(), cap, folder


def swap_models(page, panel):
    """Try a model in the shadow, promote it, and go back, on the page of models; the panel is of the system page."""
    used = page.get_by_role("group", name="In use")
    beside = page.get_by_role("group", name="Beside it")
    expect(used).to_contain_text("first")
    beside.get_by_label("Another model").select_option("second")
    beside.get_by_role("button", name="Run as shadow").click()
    expect(beside.get_by_text("In the shadow: second")).to_be_visible(timeout=30_000)
    expect(page.locator("#swap-agreement")).to_contain_text("The same class in 100 %", timeout=30_000)
    expect(page.locator("#swap-comparison")).to_contain_text("Mean confidence")
    assert accessibility_problems(page) == []
    item = page.locator("#models > li", has_text="second")
    item.get_by_role("button", name="Delete second").click()
    page.locator("#confirm-yes").click()
    expect(page.locator("#models-problem")).to_contain_text("in use by chair-1")
    beside.get_by_role("button", name="Promote").click()
    expect(used).to_contain_text("second", timeout=30_000)
    expect(panel.locator("summary")).to_contain_text("second", timeout=30_000)
    expect(beside.get_by_text("Before: first")).to_be_visible()
    used.get_by_role("button", name="Roll back").click()
    expect(used).to_contain_text("first", timeout=30_000)
    expect(panel.locator("summary")).to_contain_text("first", timeout=30_000)


def test_a_stream_is_added_given_another_model_and_ended(running, open_page):
    address, cap, _ = running
    page = open_page(f"http://{address}/system", may_lose_connection=True)
    expect(page.locator("#no-streams")).to_be_visible()
    page.get_by_role("button", name="Search the network").click()
    source = page.get_by_label("Source")
    expect(source).to_be_enabled(timeout=30_000)
    source.select_option(label=source.locator("option", has_text=cap).first.inner_text())
    form = page.locator("#add")
    expect(form.get_by_label("Name")).not_to_have_value("")
    form.get_by_label("Name").fill("chair-1")
    form.get_by_label("Model").select_option("first")
    form.get_by_role("button", name="Add stream").press("Enter")
    panel = page.locator(".panel")
    expect(panel.locator("h3")).to_have_text("chair-1", timeout=30_000)
    expect(panel.locator(".badge")).to_have_text("live", timeout=60_000)
    form.get_by_label("Name").fill("chair-1")
    form.get_by_role("button", name="Add stream").click()
    expect(form.locator(".problem")).to_contain_text("chair-1")  # the name is taken

    panel.locator("summary").press("Enter") if panel.get_attribute("open") is None else None
    other = open_page(f"http://{address}/models#chair-1", may_lose_connection=True)
    swap_models(other, panel)

    adaptation = panel.get_by_role("group", name="Adaptation")
    adaptation.get_by_role("button", name="Freeze").click()
    expect(adaptation.get_by_text("Frozen")).to_be_visible()
    adaptation.get_by_role("button", name="Resume").click()
    expect(adaptation.get_by_text(re.compile("^(Adapting|Not ready)"))).to_be_visible()
    adaptation.get_by_role("button", name="Roll back").click()
    adaptation.get_by_role("button", name="Save").click()
    expect(panel.locator(".problem")).to_contain_text("adaptation")  # there is no file for it

    description = panel.get_by_role("group", name="Description")
    text = description.get_by_label("Description of the stream as JSON")
    spec = json.loads(text.input_value())
    text.fill(json.dumps(spec | {"hop": 0}))
    description.get_by_role("button", name="Apply changes").click()
    expect(panel.locator(".problem")).to_contain_text("hop")
    text.fill(json.dumps(spec | {"hop": 25}))
    description.get_by_role("button", name="Apply changes").click()
    expect(panel.locator(".problem")).to_be_hidden(timeout=30_000)
    assert httpx.get(f"http://{address}/v1/streams/chair-1/config").json()["hop"] == 25
    text.fill("{")
    description.get_by_role("button", name="Apply changes").click()
    expect(panel.locator(".problem")).to_contain_text("not valid JSON")

    recording = panel.get_by_role("group", name="Recording")
    recording.get_by_label("Participant").fill("../P01")
    recording.get_by_role("button", name="Start recording").click()
    expect(panel.locator(".problem")).to_contain_text("participant")

    assert accessibility_problems(page) == []
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#config-text")).to_contain_text("chair-1")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    settings = Settings(**tomllib.loads(download.value.path().read_text()))
    assert [spec.id for spec in settings.stream] == ["chair-1"]

    description.get_by_role("button", name="End stream").click()
    page.locator("#confirm-yes").click()
    expect(panel).to_have_count(0)
    assert httpx.get(f"http://{address}/v1/streams").json() == []


def test_a_model_is_uploaded_shown_and_deleted(running, open_page, tmp_path):
    address, _, folder = running
    page = open_page(f"http://{address}/models", may_lose_connection=True)
    expect(page.locator("#models > li")).to_have_count(2)
    form = page.locator("#upload")
    (tmp_path / "third.zip").write_bytes(zipped(named(tmp_path / "third", "third"), "third/"))
    with zipfile.ZipFile(tmp_path / "damaged.zip", "w") as out:
        out.writestr("../README.md", "x")
    form.get_by_label("Bundle").set_input_files(tmp_path / "damaged.zip")
    form.get_by_role("button", name="Upload").click()
    expect(form.locator(".problem")).to_contain_text("The archive is refused")
    form.get_by_label("Bundle").set_input_files(tmp_path / "third.zip")
    form.get_by_role("button", name="Upload").click()
    expect(form.get_by_role("status")).to_have_text("third is verified and in the list.")
    item = page.locator("#models > li", has_text="third")
    item.locator("summary").click()
    expect(item.locator("dl")).to_contain_text("false activations a minute allowed")
    expect(item.locator("pre")).to_contain_text("AttentionBaseNet")
    assert accessibility_problems(page) == []
    item.get_by_role("button", name="Delete third").click()
    page.get_by_role("button", name="Cancel").click()
    item.get_by_role("button", name="Delete third").click()
    page.locator("#confirm-yes").click()
    expect(item).to_have_count(0)
    assert sorted(path.name for path in (folder / "models").iterdir()) == ["first", "second"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_with_a_token_that_reads_the_controls_are_disabled_and_say_why(open_page, scheme):
    stream = StandIn("chair-1")
    with served(stream, token="control-token", read_token="read-only-token") as address:
        stream.start()
        page = open_page(
            f"http://{address}/system?token=read-only-token", may_lose_connection=True,
            color_scheme=scheme, viewport={"width": 360, "height": 800},
        )  # fmt: skip
        expect(page.locator("#read-only")).to_be_visible()
        expect(page.locator("#read-only")).to_contain_text("only reads")
        expect(page.get_by_role("button", name="Add stream")).to_be_disabled()
        page.locator(".panel > summary").press("Enter") if page.locator(".panel").get_attribute(
            "open"
        ) is None else None
        group = page.get_by_role("group", name="Adaptation")
        expect(group.get_by_role("button", name="Freeze")).to_be_disabled()
        expect(group).to_have_attribute("aria-describedby", "read-only")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert accessibility_problems(page) == []
        assert "token" not in page.url
        page.goto(f"http://{address}/models")
        for name in ("Upload", "Swap when ready"):
            expect(page.get_by_role("button", name=name)).to_be_disabled()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert accessibility_problems(page) == []
    stream.stop()


def test_without_the_token_it_is_asked_for(open_page):
    stream = StandIn("chair-1")
    with served(stream, token="control-token") as address:
        stream.start()
        page = open_page(f"http://{address}/system", may_lose_connection=True)
        page.locator("#token").fill("wrong-token")
        page.get_by_role("button", name="Connect").click()
        expect(page.locator("#token-wrong")).to_be_visible()
        page.locator("#token").fill("control-token")
        page.keyboard.press("Enter")
        expect(page.locator(".panel h3")).to_have_text("chair-1")
        expect(page.locator("#read-only")).to_be_hidden()
    stream.stop()
