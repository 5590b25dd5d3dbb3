"""No test imports a test: what several tests share lies in ``tests/support``."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
# Modules of tests that others import today. A name leaves this list when its helpers have moved; none is added.
KNOWN = {
    "tests.faults.test_stalls",
    "tests.mindwire.api.test_limits",
    "tests.mindwire.cli.test_inspect_command",
    "tests.mindwire.evaluation.test_report",
    "tests.mindwire.live.test_live_equals_replay",
    "tests.mindwire.live.test_stream",
    "tests.mindwire.serve.test_serving",
    "tests.mindwire.sinks.test_recorder",
    "tests.mindwire.training.test_calibration",
}


def test_no_further_test_is_imported_by_a_test() -> None:
    pattern = re.compile(r"^from (tests\.\S*\btest_\w+) import", re.MULTILINE)
    found = {name for path in TESTS.rglob("*.py") for name in pattern.findall(path.read_text(encoding="utf-8"))}
    assert found - {"tests.test_words"} <= KNOWN
