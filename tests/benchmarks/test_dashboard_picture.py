"""The picture of the dashboard has every panel, from answers as Prometheus gives them."""

from __future__ import annotations

import json
import re

import pytest

pytest.importorskip("matplotlib")

from benchmarks.dashboard_picture import DASHBOARD, Prometheus, draw, shown


class Answers(Prometheus):
    """One series for each query, that of a restart for an annotation."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", 1000.0, 1060.0, 2.0)
        self.asked: list[str] = []

    def get(self, what, query, **values):
        self.asked.append(query)
        labels = {"stream": "eeg", "model": "imagery", "sha256": "0" * 64}
        if what == "query":
            return [{"metric": labels, "value": [1060.0, "1"]}]
        return [{"metric": labels, "values": [[1000.0 + 2 * i, str(i % 2)] for i in range(31)]}]


def test_every_panel_is_drawn(tmp_path):
    answers = Answers()
    draw(answers, tmp_path / "dashboard.png")
    assert (tmp_path / "dashboard.png").read_bytes().startswith(b"\x89PNG")
    assert len(answers.marks) == 2
    dashboard = json.loads(DASHBOARD.read_text())
    wanted = {target["expr"] for panel in dashboard["panels"] for target in panel["targets"]}
    assert len(set(answers.asked)) == len(wanted) + 2
    assert not any("$" in query for query in answers.asked)
    assert any(re.search(r"\[8000ms\]", query) for query in answers.asked)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.5, "percentunit", "50.0 %"), (0.0157, "s", "15.7 ms"), (120.0, "ppm", "120 ppm"), (2**27, "bytes", "128 MiB")],
)
def test_values_have_units(value, unit, text):
    assert shown(value, unit) == text
