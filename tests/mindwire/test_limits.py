"""At the limit of open files: raised at the start, and LSL's failures there are told as what they are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def child(code: str, *, soft: int, hard: int) -> dict:
    """Run code under limits of its own; what it prints is JSON."""
    import resource

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_soft_limit_is_raised_to_the_hard_one():
    code = """
import json, resource
from mindwire.limits import raise_descriptor_limit
now = raise_descriptor_limit()
print(json.dumps([now, *resource.getrlimit(resource.RLIMIT_NOFILE), raise_descriptor_limit()]))
"""
    assert child(code, soft=100, hard=300) == [300, 300, 300, 300]


def test_lsl_without_descriptors_is_an_error_that_is_retried_and_works_afterwards():
    code = """
import json, os
from mindwire.errors import ResourceError, SourceError
from mindwire.sources.lsl_discovery import StreamSearch
with StreamSearch(""):
    pass
kept = []
try:
    while True:
        kept.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
try:
    StreamSearch("")
    said = "nothing"
except ResourceError as error:
    said = str(error)
for one in kept:
    os.close(one)
with StreamSearch(""):
    pass
print(json.dumps(said))
"""
    assert "too many files are open" in child(code, soft=80, hard=80)
