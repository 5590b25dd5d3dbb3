"""Marks every test here; what they share is in tests/lsl_cap.py, tests/streaming.py, oracle.py and cases.py."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MEASURED = "MINDWIRE_FAULTS_JSON"


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture
def recovery(request):
    """Takes the seconds that a recovery took; kept in the file that MINDWIRE_FAULTS_JSON names, a line each."""
    node = request.node.nodeid

    def take(seconds: float, what: str = "") -> None:
        print(f"recovered in {seconds:.2f} s {what}")
        if os.environ.get(MEASURED):
            with Path(os.environ[MEASURED]).open("a") as file:
                file.write(json.dumps({"test": node, "seconds": round(seconds, 2)}) + "\n")

    return take
