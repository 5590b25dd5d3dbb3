"""The command line in the test's own process, where a process of its own would check the same and take a second."""

from __future__ import annotations

import os

import pytest

from mindwire.cli.main import run


def command(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Run a command: its exit code, and what it wrote to standard output and standard error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["mindwire", *map(str, words)])
        # what the command sets for the processes that it starts
        patch.setenv("PYTHONSAFEPATH", "1")
        patch.setenv("OPENBLAS_NUM_THREADS", os.environ.get("OPENBLAS_NUM_THREADS", "1"))
        code = run()
    return code, *capsys.readouterr()


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """Run a command that refuses something: its exit code, and its only sentence."""
    code, _, said = command(capsys, *words)
    (sentence,) = said.splitlines()
    assert sentence.startswith("mindwire: ")
    return code, sentence
