"""A real Chromium that may reach nothing but loopback, and remembers whether a page tried."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from urllib.parse import urlsplit

import pytest


def _first(*names: str) -> str | None:
    return os.environ.get("MINDWIRE_TEST_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


_NAMES = ("chromium", "chromium-browser", "google-chrome")
WITH_WINDOW = _first(*_NAMES)
CHROMIUM = _first("chromium-headless-shell", *_NAMES)  # the first takes two thirds of the others' processor time
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def pytest_collection_modifyitems(items):
    for item in items:
        if "browser" in item.path.parts:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module", autouse=True)
def _before_others():
    """Page, service and simulated person run in real time: tests beside them that only compute give way, where this user may ask for it."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    yield
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, before)


# Not of session scope: while it lasts, playwright's event loop counts as running in the main thread, where
# other tests run loops of their own.
@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed; set MINDWIRE_TEST_CHROMIUM to its path to run this test")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def accessibility_problems(page) -> list[str]:
    """What axe-core finds on a page, one line per rule and element."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page).response["violations"]
    return [f"{rule['id']}: {node['html']}" for rule in found for node in rule["nodes"]]


class Watch:
    """What a page asked for, and what it complained about."""

    def __init__(self) -> None:
        self.hosts: set[str] = set()
        self.complaints: list[str] = []

    def request(self, route) -> None:
        host = urlsplit(route.request.url).hostname
        self.hosts.add(host)
        if host == "127.0.0.1":
            route.continue_()
        else:
            route.abort()

    def websocket(self, websocket) -> None:
        self.hosts.add(urlsplit(websocket.url).hostname)

    def page(self, page) -> None:
        page.on("websocket", self.websocket)
        page.on("console", self.console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def console(self, message) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


@pytest.fixture
def open_page(chromium):
    """Open a page; at the end it must have stayed on loopback and not have raised an error."""
    opened = []

    def start(url, *, may_lose_connection=False, **options):
        context = chromium.new_context(**{"viewport": {"width": 1440, "height": 1300}, **options})
        watch = Watch()
        context.route("**/*", watch.request)
        context.on("page", watch.page)  # windows that a page opens too
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.goto(url)
        opened.append((context, watch, may_lose_connection))
        return page

    yield start
    for context, watch, may_lose_connection in opened:
        context.close()
        assert watch.hosts == {"127.0.0.1"}
        # A test's own service may end before its page is closed, and the browser reports each attempt to connect again;
        # a page may leave a stream before it is connected to it.
        said = ("ERR_CONNECTION_REFUSED", "closed before the connection is established")
        complaints = [text for text in watch.complaints if not any(part in text for part in said)]
        if may_lose_connection:  # the browser itself reports each attempt that finds nobody, or a service that ends
            reported = ("ERR_CONNECTION", "Failed to load", "WebSocket connection to")
            complaints = [text for text in complaints if not any(part in text for part in reported)]
        assert complaints == []
