"""The documentation site is built without a warning, and shows what is generated from the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mindwire.cli.main import COMMANDS
from mindwire.config import Settings

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(300)
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("torch")
    for name in ("sphinx", "myst_parser", "numpydoc", "pydata_sphinx_theme"):
        pytest.importorskip(name)
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=280, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    pages = {path.stem: re.sub(r"<[^>]+>", "", path.read_text("utf-8")) for path in tmp_path.glob("*.html")}
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} <= set(pages)
    assert all(f"mindwire {name}" in pages["command-line"] for name in COMMANDS)
    assert all(f"MINDWIRE_{name.upper()}" in pages["settings"] for name in Settings.model_fields)
    assert "/v1/streams/{stream}/markers" in pages["rest"]
    for page, names in (
        ("python-models", ("AttentionBaseNet", "load_bundle")),
        ("python-client", ("connect", "Missed")),
    ):
        assert all(name in pages[page] for name in names)
