"""What the command line sets before anything else runs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_SCRIPT = """
import os, sys
from service.cli.main import main
assert "numpy" not in sys.modules
sys.argv = ["mindwire", "--version"]
try:
    main()
except SystemExit:
    pass
import numpy
print("threads", os.environ["OPENBLAS_NUM_THREADS"])
"""


@pytest.mark.parametrize(("asked", "given"), [(None, "1"), ("2", "2")])
def test_linear_algebra_takes_one_core_unless_the_user_says_otherwise(asked: str | None, given: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_NUM_THREADS"}
    if asked:
        environment["OPENBLAS_NUM_THREADS"] = asked
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], env=environment, check=True, capture_output=True, text=True, timeout=60
    )

    assert done.stdout.splitlines()[-1] == f"threads {given}"
