"""Report pages in a real browser: readable on any screen, accessible, and no label over another."""

from __future__ import annotations

import functools
import http.server
import threading
from datetime import UTC, datetime

import pytest

from mindwire.evaluation.certificate_report import write_certificate
from mindwire.evaluation.comparison_report import write_comparison
from mindwire.evaluation.page import write_report
from mindwire.training.held_out_report import Decided, HeldOutReport, TrainedOn, write_held_out_report
from mindwire_models.presets import BCIC2A
from tests.browser.conftest import accessibility_problems
from tests.support.reports import controlled, make_certificate, make_comparison, make_report

COLLISIONS = """() => [...document.querySelectorAll("svg")].flatMap(svg => {
  const texts = [...svg.querySelectorAll("text")].map(text => ({ text: text.textContent, box: text.getBoundingClientRect() }));
  const over = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2;
  return texts.flatMap((a, i) => texts.slice(i + 1).filter(b => over(a.box, b.box)).map(b => [a.text, b.text]));
})"""
SMALLEST = """() => Math.min(...[...document.querySelectorAll("svg text")].map(text =>
  parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.getScreenCTM().a))"""


def held_out_report() -> HeldOutReport:
    """A network and a baseline over two recordings with long names."""

    def decided(decoder, seed, n_right):
        figures = make_report(n_right=n_right, name="sub-01_ses-02_task-imagery_run-with-a-long-name.xdf")
        shared = {name: getattr(figures, name) for name in ("classes", "at_s", "alignment", "overall", "runs")}
        return Decided(decoder=decoder, seed=seed, **shared)

    return HeldOutReport(
        created=datetime(2026, 1, 2, tzinfo=UTC),
        mindwire="0.0",
        evaluation="leave_one_recording_out",
        contract=BCIC2A,
        at_s=4.0,
        trained_on=[TrainedOn(file="a.xdf", sha256="0" * 64, n_cued=20, n_usable=20)],
        network_accuracy=None,
        decoders=[decided("network", 0, 20), decided("baseline", None, 17)],
        definitions={"accuracy": "right & decided"},
    )


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Yield the address of a folder with all kinds of report."""
    folder = tmp_path_factory.mktemp("reports")
    write_report(make_report(n_right=20), folder / "evaluation")
    write_report(controlled(), folder / "control")
    write_comparison(make_comparison(), folder / "comparison")
    write_held_out_report(held_out_report(), folder / "held-out")
    write_certificate(make_certificate(), folder / "certificate")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.mark.parametrize("kind", ["evaluation", "control", "comparison", "held-out", "certificate"])
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (768, "dark"), (1400, "light"), (1400, "dark")])
def test_reports_are_readable_and_accessible(reports, open_page, kind, width, scheme):
    page = open_page(
        f"{reports}/{kind}/report.html",
        may_lose_connection=True,  # for the icon that there is none of
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(COLLISIONS) == []
    assert page.evaluate(SMALLEST) >= 9
    assert accessibility_problems(page) == []
    if width == 1400 and kind != "certificate":  # the figures use the width
        assert page.locator(".figures").first.evaluate("grid => grid.clientWidth") > 1000
