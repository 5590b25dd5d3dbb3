"""The report of a training on a page: said in words, drawn, accessible, in both themes and languages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.browser.conftest import accessibility_problems
from tests.support.standin import StandIn, served

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

REPORT = json.loads((Path(__file__).parents[1] / "support/training_report.json").read_text())
SHOW = """async ([job, language]) => {
  const { setLanguage } = await import("/static/js/texts.js");
  setLanguage(language);
  const { TrainingReport } = await import("/static/js/training_report.js");
  document.body.replaceChildren();
  const main = document.createElement("main"), heading = document.createElement("h1"), parent = document.createElement("div");
  heading.textContent = "Report";
  main.className = "card";
  main.append(heading, parent);
  document.body.append(main);
  window.report = new TrainingReport(parent);
  window.report.show(job);
}"""


@pytest.fixture(scope="module")
def place():
    stream = StandIn()
    with served(stream) as address:
        yield address


def job(report, kind="train", reference="P01-1"):
    return {"id": reference, "kind": kind, "state": "done", "report": report}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("language", "title"), [("en", "Good enough to go on"), ("de", "Gut genug, um weiterzumachen")]
)
def test_a_report_is_said_and_drawn(place, open_page, scheme, language, title):
    page = open_page(f"http://{place}/docs", color_scheme=scheme)
    page.evaluate(SHOW, [job(REPORT), language])
    expect(page.locator(".level-title")).to_have_text(title)
    expect(page.locator(".share strong")).to_have_text("93 %")
    expect(page.locator(".said li")).to_have_count(3)
    expect(page.locator("figure")).to_have_count(5)
    expect(page.locator("svg[role=img]")).to_have_count(5)  # three of lines, two heads
    expect(page.locator("table").first).to_contain_text("19 (95 %)")
    page.locator("summary").click()
    expect(page.locator("details")).to_contain_text("2026-11-29/run-02.xdf")
    assert accessibility_problems(page) == []


def test_a_poor_report_says_what_to_do_and_the_same_one_stays(place, open_page):
    page = open_page(f"http://{place}/docs")
    reasons = [
        {"code": "not_above_chance", "values": {"accuracy": 0.55, "chance": 0.5, "guessing": 0.65}},
        {"code": "weak_class", "values": {"class": "left_hand", "share": 0.4, "trials": 20}},
        {"code": "bad_electrodes", "values": {"labels": ["C3", "Pz"]}},
        {"code": "no_rest", "values": {}},
        {"code": "of_a_later_version", "values": {}},
    ]
    poor = REPORT | {"verdict": {"level": "poor", "reasons": reasons}, "frontier": None, "policy": None, "patterns": []}
    page.evaluate(SHOW, [job(poor), "en"])
    said = page.locator(".said")
    expect(said).to_contain_text("“left hand” is recognised in only 40 % of its 20 trials.")
    expect(said).to_contain_text("often bad: C3, Pz.")
    expect(said).to_contain_text("Record a rest block")
    expect(said).to_contain_text("of a later version")
    expect(page.locator("figure")).to_have_count(3)
    page.locator("summary").click()
    page.evaluate("job => window.report.show({...job, report: undefined})", job(None))
    expect(page.locator("summary")).to_have_count(0)
    assert accessibility_problems(page) == []


def test_an_improvement_is_said(place, open_page):
    page = open_page(f"http://{place}/docs")
    gate = {"accepted": False, "codes": ["fewer_right"], "candidate_right": 30, "base_right": 33, "trials": 40}
    runs = [{"recording": "run-03.xdf", "trials": 40, "candidate_right": 30, "base_right": 33}]
    page.evaluate(SHOW, [job({"gate": gate, "per_run": runs}, "improve"), "en"])
    expect(page.locator(".level-title")).to_have_text("The improved model is not used")
    expect(page.locator(".verdict")).to_contain_text(
        "of 40 trials that neither was trained on, it decides 30 right, the model in use 33."
    )
    expect(page.locator("td").first).to_have_text("30 / 40")
    assert accessibility_problems(page) == []
