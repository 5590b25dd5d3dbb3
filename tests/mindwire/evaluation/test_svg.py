"""Plots are valid SVG."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import numpy as np

from mindwire.evaluation.svg import distributions, standalone

SVG = "{http://www.w3.org/2000/svg}"


def test_distributions_have_a_named_curve_each():
    ages = np.random.default_rng(0).gamma(2, 1, 1000)
    root = ET.fromstring(standalone(distributions({"ours": ages, "<theirs>": 3 * ages}, "Age & more"), "Age & more"))
    assert root.tag == f"{SVG}svg"
    assert len([path for path in root.findall(f"{SVG}path") if path.get("class") == "curve"]) == 2
    assert "<theirs>" in [text.text for text in root.findall(f"{SVG}text")]
