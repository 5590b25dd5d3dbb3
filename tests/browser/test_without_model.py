"""From an empty folder to a stream without a model and its first model, on the pages."""

from __future__ import annotations

import shutil

import pytest

from mindwire_models import zoo
from mindwire_models.presets import BCIC2A
from tests.browser.conftest import accessibility_problems
from tests.support.lsl_cap import Cap
from tests.support.service_process import service
from tests.support.streaming import unique

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect


def test_a_stream_is_added_without_a_model_and_given_its_first(open_page, tmp_path):
    cap = unique("cap")
    with (
        Cap(cap, source_id=cap, labels=(*BCIC2A.channels, "nose"), n_channels=23, sfreq=250.0, chunk=10),
        service("--sessions", tmp_path) as running,
    ):
        address = running.address()
        live = open_page(f"http://{address}/", may_lose_connection=True)
        expect(live.get_by_text("No stream is configured").first).to_be_visible()
        page = open_page(f"http://{address}/system", may_lose_connection=True)
        expect(page.locator("#no-streams")).to_be_visible()
        page.get_by_role("button", name="Search the network").click()
        source = page.get_by_label("Source")
        expect(source).to_be_enabled(timeout=30_000)
        source.select_option(label=source.locator("option", has_text=cap).first.inner_text())
        page.get_by_role("button", name="Add stream").press("Enter")
        panel = page.locator(".panel")
        expect(panel.locator(".badge")).to_have_text("live", timeout=60_000)
        expect(panel.get_by_text("no model yet", exact=True)).to_be_visible()
        panel.locator("summary").press("Enter") if panel.get_attribute("open") is None else None
        assert not accessibility_problems(page)
        expect(live.get_by_text("There is no model yet").first).to_be_visible(timeout=30_000)
        assert not accessibility_problems(live)

        shutil.copytree(zoo.zoo_bundle_path(), tmp_path / "models" / "first")
        models = open_page(f"http://{address}/models", may_lose_connection=True)
        expect(models.get_by_role("group", name="In use")).to_contain_text("No model yet")
        beside = models.get_by_role("group", name="Beside it")
        expect(beside.get_by_role("button", name="Run as shadow")).to_be_hidden()
        beside.get_by_label("Another model").select_option("first", timeout=30_000)
        beside.get_by_role("button", name="Swap when ready").click()
        expect(panel.get_by_text("no model yet", exact=True)).to_be_hidden(timeout=30_000)
        expect(beside.get_by_role("button", name="Run as shadow")).to_be_visible(timeout=30_000)
        expect(live.get_by_text("There is no model yet").first).to_be_hidden(timeout=30_000)
