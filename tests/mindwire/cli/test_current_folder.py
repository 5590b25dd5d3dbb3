"""Folders of recordings come from others: nothing in the current folder is run, whichever process is started there."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from mindwire.bench.processes import Processes
from mindwire.serve.gateway.address import Address
from mindwire.serve.gateway.process import WorkerStart, start_process

BIN = Path(sys.executable).parent
NAMES = (
    "service/__init__",
    "models",
    "mindwire",
    "mindwire_models/__init__",
    "uvloop",
    "numpy",
    "socket",
    "random",
    "typer",
    "multiprocessing/__init__",
    "joblib/__init__",
)
# As the command line, then children as the demonstration and training start them.
SPAWN = """
import multiprocessing, sys
sys.argv = ["mindwire", "--version"]
from mindwire.__main__ import main
try:
    main()
except SystemExit:
    pass
if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=print, args=("child",))
    child.start()
    child.join(60)
    import joblib
    print(*joblib.Parallel(2)(joblib.delayed(str)(number) for number in (7, 8)))
    sys.exit(child.exitcode)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, full of modules that leave a file when they are run."""
    for name in NAMES:
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'RUN')!r}).write_text({name!r})\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / "RUN").exists(), (tmp_path / "RUN").read_text()


def run(*command):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command(folder):
    assert run(BIN / "mindwire", "streams", "--timeout", "0.1")


def test_the_module(folder):
    (folder / "mindwire.py").unlink()  # what -m runs is looked for in the current folder, whoever asks
    assert run(sys.executable, "-m", "mindwire", "streams", "--timeout", "0.1")


def test_children_of_multiprocessing_and_joblib(folder, tmp_path_factory):
    pytest.importorskip("joblib")
    script = tmp_path_factory.mktemp("script") / "spawn.py"
    script.write_text(SPAWN)
    lines = run(sys.executable, script).splitlines()
    assert lines[-2:] == ["child", "7 8"]


def test_worker_processes(folder):
    async def code():
        worker = await start_process(WorkerStart("not JSON", Address(), "."))
        return await worker.next_report(), await worker.wait()

    assert asyncio.run(code()) == (None, "ended with code 1")


def test_measurements(folder):
    with Processes() as processes:
        assert processes.python("-c", "import numpy, mindwire").wait(60) == 0
