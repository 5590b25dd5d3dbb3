"""The report says what was measured, honestly, in a page that needs nothing beside itself."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from mindwire.errors import RecordingError
from mindwire.evaluation.control_report import ControlReport
from mindwire.evaluation.idle import IdleFigures
from mindwire.evaluation.page import render_html, write_report
from mindwire.evaluation.report import (
    DEFINITIONS,
    LEGEND,
    Comparison,
    Report,
    headline,
    idle_sentence,
    table,
    terminal_parts,
)
from mindwire.evaluation.scores import AlignmentMode, EvaluatedRun, Trace, score_runs
from mindwire.offline.trials import Trial
from mindwire_models.presets import BCIC2A
from tests.support.reports import CLASSES, controlled, make_report


def test_the_headline_tells_chance_and_undecided_trials() -> None:
    text = headline(make_report())
    assert "18 of 20 trials right (90%" in text
    assert "better than guessing among 2 classes" in text
    assert "1 of 21 trials was undecided (no prediction 1) and is not counted" in text
    assert "not distinguishable from guessing" in headline(make_report(n_right=12, n_late=0))


def test_what_was_trained_on_is_marked_everywhere_and_judged_nowhere() -> None:
    report = make_report().model_copy(
        update={"warning": "TRAINING DATA: one & all", "notes": ["8 markers <left> out."]}
    )
    assert "18 of 20 trials right" in headline(report)
    assert "better than" not in headline(report)
    page = render_html(report)
    assert "<title>TRAINING DATA: evaluation of demo</title>" in page
    assert page.index("TRAINING DATA: one &amp; all") < page.index("18 of 20")
    assert "<li>8 markers &lt;left&gt; out.</li>" in page
    assert next(iter(json.loads(report.model_dump_json()))) == "warning"


def test_a_single_class_gives_no_verdict() -> None:
    report = make_report(n_late=0)
    trace = Trace(np.array([16.0]), np.array([[0.1, 0.7, 0.1, 0.1]]), np.zeros(1, np.int64))
    run = EvaluatedRun("one.xdf", "00" * 32, trace, (Trial(12.0, "left_hand"),), 0.0)
    overall, runs = score_runs([run], BCIC2A, CLASSES, 4.0)
    text = headline(report.model_copy(update={"overall": overall, "runs": runs}))
    assert "1 of 1 trials right" in text
    assert "all are of left_hand, which always answering left_hand decides as well: no verdict" in text
    assert (overall.better_than_chance, overall.chance, overall.chance_p_value) == (None, 1, 1)
    assert overall.itr_bits_per_minute == 0


def test_both_files_are_written_and_the_json_reads_back(tmp_path: Path) -> None:
    report = make_report()
    files = write_report(report, tmp_path / "new" / "out")
    assert [file.name for file in files] == ["report.json", "report.html"]
    data = json.loads(files[0].read_text())
    assert data["overall"]["accuracy"] == 0.9
    assert data["runs"][0]["file"] == "a<b>.xdf"
    assert Report.model_validate_json(files[0].read_text()) == report
    assert sorted(path.name for path in files[0].parent.iterdir()) == ["report.html", "report.json"]


def test_a_folder_that_cannot_be_written_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match="cannot be written"):
        write_report(make_report(), tmp_path / "file" / "out")


class _Strict(HTMLParser):
    """Checks that elements nest and collects what the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "br", "link", "img"}:
            self.open.append(tag)
        self.loads += [str(value) for key, value in attrs if key in {"src", "href"}]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_escaped_and_fetches_nothing() -> None:
    page = render_html(make_report())
    parser = _Strict()
    parser.feed(page)
    assert parser.open == []
    assert parser.loads == []
    assert "http" not in page
    assert "url(" not in page
    assert "a<b>" not in page
    assert "a&lt;b&gt;.xdf" in page
    assert page.count("<svg") == 4
    assert not re.search(r"\bnan\b", page)


def test_what_runs_beside_and_what_happens_at_rest_are_told_everywhere() -> None:
    report, other = make_report(), make_report(n_right=9)
    idle = IdleFigures(
        idle_class="rest",
        probability=0.6,
        dwell_s=0.5,
        idle_minutes=2.0,
        false_activations=3,
        false_activations_per_minute=1.5,
        n_movements=40,
        n_reached=30,
        n_wrong=4,
        median_seconds=2.25,
    )
    comparison = Comparison(alignment=AlignmentMode.OFF, overall=other.overall, runs=other.runs)
    report = report.model_copy(update={"idle": idle, "comparison": comparison})
    assert "With alignment off: 9 of 20 right (45%" in headline(report)
    assert idle_sentence(report.idle) == (
        "With threshold 0.6 held for 0.5 s: 1.5 false activations per minute of rest (3 in 2.0 min); 30 of 40 other trials "
        "triggered the right class (median 2.2 s after the cue); 4 triggered a wrong class first."
    )
    nothing = {"false_activations_per_minute": None, "n_wrong": 0, "median_seconds": None, "n_reached": 0}
    assert idle_sentence(report.idle.model_copy(update=nothing)) == (
        "With threshold 0.6 held for 0.5 s: 0 of 40 other trials triggered the right class."
    )
    page = render_html(report)
    for text in ("Accuracy, alignment off", "1.5<small>per minute of rest", "median of 30 of 40 trials"):
        assert text in page
    console = Console(width=200, force_terminal=False)
    with console.capture() as capture:
        console.print(table(report))
    assert capture.get().count("9/20") == 2
    assert Report.model_validate_json(report.model_dump_json(by_alias=True)) == report


def test_a_report_without_any_decided_trial_still_renders() -> None:
    report = make_report()
    trace = Trace(np.empty(0), np.empty((0, 4)), np.empty(0, np.int64))
    run = EvaluatedRun("empty.xdf", "00" * 32, trace, (Trial(1.0, "left_hand"),), 0.0)
    overall, runs = score_runs([run], BCIC2A, CLASSES, 4.0)
    report = report.model_copy(update={"overall": overall, "runs": runs})
    page = render_html(report)
    assert "The only trial had no valid prediction" in page
    assert not re.search(r"\bnan\b", page)


def test_the_terminal_table_has_a_row_per_recording_and_one_for_all() -> None:
    console = Console(width=160, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as capture:
        console.print(table(make_report(name="folder/run.xdf")))
    text = capture.get()
    assert "run.xdf" in text
    assert "folder" not in text
    assert text.count("18/20") == 2


def test_the_table_fits_eighty_columns_and_its_figures_are_explained() -> None:
    report = make_report(name="s1-run04-22ch-250hz-a-long-name-of-a-recording.xdf")
    report = report.model_copy(
        update={"comparison": Comparison(alignment=AlignmentMode.OFF, overall=report.overall, runs=report.runs)}
    )
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        console.print(table(report))
    text = capture.get()
    assert max(map(len, text.splitlines())) <= 80
    for word in ("18/20", "90%", "70–97", "0.80", "off", "decided"):
        assert word in text
    for word in ("95 %", "κ", "nMCC", "bits/min", "cal. error", "ECE", "undecided", "valid"):
        assert word in LEGEND
    assert {"valid", "false activations", "calibration error", "chance"} <= DEFINITIONS.keys()


def test_control_is_reported_with_its_intervals_and_compared_with_the_raw_argmax() -> None:
    report = controlled()
    control = report.control
    assert control is not None
    figures = control.score.overall
    assert (figures.n_right, figures.n_trials, figures.n_wrong_first) == (1, 2, 1)
    assert (figures.false_activations, figures.rest_minutes) == (1, pytest.approx(2.0, abs=0.01))
    assert control.raw.overall.n_right == 1
    assert control.frontier == [figures]
    (note,) = control.notes
    assert note.startswith(
        "1 in 2.0 minutes of rest proves at most 2.38 false activations a minute (exact 95 % bound), which does not"
    )
    assert note.endswith(
        "prove the budget of 1 a minute: that takes 3.0 minutes of rest without any, and more with some."
    )
    page = render_html(report)
    for text in (
        "1 of 2 trials with a right activation",
        "1.0 expected by chance",
        "raw argmax",
        "budget 1",
        note,
    ):
        assert text in page
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(*terminal_parts(report), sep="\n")
    assert "a<b>.xdf" in console.export_text()
    stored = json.loads(report.model_dump_json())["control"]
    assert stored["score"]["runs"][0]["file"] == "a<b>.xdf"
    assert ControlReport.model_validate_json(json.dumps(stored)) == control


def test_without_rest_nothing_is_said_of_false_activations_but_that() -> None:
    report = controlled(0.0)
    assert report.control is not None
    assert report.control.notes[0].startswith(
        "There is no rest in these recordings, so false activations cannot be counted"
    )
    assert report.control.score.overall.false_interval is None
    page = render_html(report)
    assert "Right activations against false ones at rest" not in page
    assert report.control.notes[0] in page


def test_recordings_that_a_policy_was_tuned_on_are_named() -> None:
    report = controlled(sha256="ab" * 32)
    assert report.control is not None
    assert report.control.notes[1].startswith("The policy was tuned on a<b>.xdf, so its figures there are too good")
