"""The table of figures has a row per figure, with goal, value and command."""

from __future__ import annotations

import pytest

from benchmarks import figures


def test_figures_are_printed_as_a_table(monkeypatch, capsys):
    monkeypatch.setattr(figures, "FIGURES", {"startup": lambda rounds: iter([("start-up", "≤ 1.3", str(rounds))])})
    monkeypatch.setattr("sys.argv", ["figures.py", "--rounds", "2"])
    figures.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| figure | goal | value | command |"
    assert lines[2:] == ["| start-up | ≤ 1.3 | 2 | `benchmarks/figures.py startup` |"]


def test_an_unknown_figure_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["figures.py", "speed"])
    with pytest.raises(SystemExit):
        figures.main()
    assert "found 'speed'" in capsys.readouterr().err
