"""Plots are valid SVG."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import numpy as np

from mindwire.evaluation.frontier import Choice, frontier_picture
from mindwire.evaluation.svg import distributions, standalone

SVG = "{http://www.w3.org/2000/svg}"


def test_distributions_have_a_named_curve_each():
    ages = np.random.default_rng(0).gamma(2, 1, 1000)
    root = ET.fromstring(standalone(distributions({"ours": ages, "<theirs>": 3 * ages}, "Age & more"), "Age & more"))
    assert root.tag == f"{SVG}svg"
    assert len([path for path in root.findall(f"{SVG}path") if path.get("class") == "curve"]) == 2
    assert "<theirs>" in [text.text for text in root.findall(f"{SVG}text")]


def test_the_frontier_marks_the_policy_the_raw_argmax_and_the_budget():
    choices = [Choice(0, 3.2, 20, 60), Choice(2, 3.2, 36, 60), Choice(9, 3.2, 50, 60)]
    root = ET.fromstring(standalone(frontier_picture(choices, choices[1], Choice(12, 3.2, 43, 60), 1.0), "Frontier"))
    assert {"this policy", "raw argmax", "budget 1"} <= {text.text for text in root.findall(f"{SVG}text")}
    assert len(root.findall(f"{SVG}circle")) == 3
    whiskers = [path for path in root.findall(f"{SVG}path") if "whisker" in path.get("class", "")]
    assert len(whiskers) == 4
    alone = ET.fromstring(standalone(frontier_picture([], Choice(0, 1.6, 3, 60)), "Frontier"))
    assert "raw argmax" not in {text.text for text in alone.findall(f"{SVG}text")}
