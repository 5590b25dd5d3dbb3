"""What all pages share: navigation, theme, language, and the stream in the address."""

from __future__ import annotations

import re

import pytest

from mindwire.api.pages import PAGES
from tests.browser.conftest import accessibility_problems
from tests.support.standin import StandIn, served

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
WITH_NAVIGATION = sorted(PAGES.keys() - {"participant"})


@pytest.fixture
def address():
    left, right = StandIn("left"), StandIn("right")
    with served(left, right) as where:
        left.start()
        right.start()
        yield where
    left.stop()
    right.stop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", sorted(PAGES))
def test_every_page_is_accessible_in_both_languages(address, open_page, path, scheme):
    for locale in ("en-GB", "de-DE"):
        page = open_page(f"http://{address}/{path}", color_scheme=scheme, locale=locale, may_lose_connection=True)
        expect(page.locator("html")).to_have_attribute("lang", locale[:2])
        if path != "participant":
            expect(page.locator("nav a[aria-current=page]")).to_have_count(1)
        expect(page.locator("main")).to_contain_text(re.compile(r"\S"), use_inner_text=True)
        assert accessibility_problems(page) == []


def test_the_navigation_keeps_the_stream(address, open_page):
    page = open_page(f"http://{address}/#right")
    expect(page).to_have_title("right · Mindwire")
    page.get_by_role("link", name="System").click()
    expect(page).to_have_url(f"http://{address}/system#right")
    page.get_by_role("link", name="Live", exact=True).click()
    expect(page.locator("#streams [aria-pressed=true]")).to_have_text("right")


def test_theme_and_language_are_chosen_and_kept(address, open_page):
    page = open_page(f"http://{address}/", color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_label("Theme").select_option("dark")
    assert page.evaluate(ground) != light
    page.get_by_label("Language").select_option("Deutsch")
    expect(page.get_by_role("link", name="Sitzung")).to_be_visible()
    page.goto(f"http://{address}/models")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator("h1").first).to_have_text("Modelle")
    page.get_by_label("Sprache").select_option("English")
    page.get_by_label("Theme").select_option("auto")
    expect(page.locator("html")).not_to_have_attribute("data-theme", re.compile("."))
    assert page.evaluate(ground) == light
