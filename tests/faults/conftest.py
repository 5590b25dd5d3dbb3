"""Marks every test here; what they share is in tests/support/lsl_cap.py, tests/support/streaming.py, oracle.py and cases.py."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.faults)
