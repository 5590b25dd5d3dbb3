"""The command line before and around its commands: what it sets, wrong words, Ctrl-C at any moment, closed pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mindwire.cli.main import COMMANDS, run
from mindwire.sources.liblsl import quiet_config

_SCRIPT = """
import os, sys
from mindwire.__main__ import main
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


_COLLECTOR = """
import gc, sys
from mindwire.__main__ import main
try:
    main()
except SystemExit:
    print("enabled", gc.isenabled())
"""


@pytest.mark.parametrize(("command", "enabled"), [("inspect", True), ("serve", False), ("demo", False)])
def test_garbage_is_collected_from_when_a_command_begins_and_of_one_that_listens_from_then(
    command: str, enabled: bool
) -> None:
    words = [sys.executable, "-c", _COLLECTOR, command, "--help"]
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == f"enabled {enabled}"


_TOLD = """
import sys
import mindwire.__main__ as entry
from mindwire.interrupts import Interrupts
class Told(Interrupts):
    def begin(self):
        super().begin()
        print("ready", flush=True)
entry.Interrupts = Told
sys.argv = ["mindwire", *sys.argv[1:]]
entry.main()
"""


def start(*words: str, cwd: Path) -> subprocess.Popen[str]:
    """A command in a session of its own, as a terminal has them, so that Ctrl-C reaches its children too.

    It has taken over from the interpreter's start, whose own time no program can do anything about.
    """
    words = (sys.executable, "-c", _TOLD, *words)
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, cwd=cwd
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("words", [("demo", "--port", "0"), ("simulate",), ("streams", "--timeout", "5")])
def test_ctrl_c_ends_a_command_without_a_word_also_amid_its_imports(
    words: tuple[str, ...], seconds: float, tmp_path: Path
) -> None:
    process = start(*words, cwd=tmp_path)
    time.sleep(seconds)  # whatever it is doing by then
    os.killpg(process.pid, signal.SIGINT)
    text, _ = process.communicate(timeout=30)
    # The interpreter kills itself by the signal where code that a library evaluates was interrupted; shells show 130 too.
    # 0: it had begun what Ctrl-C is meant to end.
    assert process.returncode in (0, 130, -signal.SIGINT)
    for word in ("Traceback", "rror", "xception", "gnored", "Abort"):
        assert word not in text


def test_an_interrupt_is_raised_again_when_a_library_has_swallowed_it() -> None:
    script = """
import signal, time
import mindwire.cli.main
from mindwire.__main__ import main
def swallow():
    try:
        print("ready", flush=True)
        time.sleep(60)
    except BaseException:
        pass
    try:
        raise ImportError("half a module")
    except ImportError:
        for _ in range(600):
            time.sleep(0.1)
mindwire.cli.main.run = swallow
main()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
        one.send_signal(signal.SIGINT)
        assert (one.wait(30), one.stdout.read()) == (130, "")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["replay"], "Missing argument 'FILE...'. See `mindwire replay --help`."),
        (["tarin"], "No such command 'tarin'. Did you mean 'train'? See `mindwire --help`."),
        (["bench", "--hop", "abc"], "--hop: expected a whole number, found 'abc'. See `mindwire bench --help`."),
        (["bench", "--hop=0"], "--hop: expected at least 1, found '0'. See `mindwire bench --help`."),
        (
            ["replay", "x", "--device", "gpu"],
            "--device: expected one of 'auto', 'cpu', 'cuda', found 'gpu'. See `mindwire replay --help`.",
        ),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(monkeypatch, capsys, words: list[str], sentence: str) -> None:
    monkeypatch.setattr("sys.argv", ["mindwire", *words])
    assert run() == 2
    assert capsys.readouterr().err == f"mindwire: {sentence}\n"


def test_the_former_spelling_of_play_works_and_names_the_new_command(monkeypatch, capsys, tmp_path: Path) -> None:
    absent = tmp_path / "absent.xdf"
    monkeypatch.setattr("sys.argv", ["mindwire", "replay", str(absent), "--lsl", "--chunk", "8"])
    assert run() == 1
    notice, error = capsys.readouterr().err.splitlines()
    assert notice == ("mindwire: `replay --lsl` is now `mindwire play`; the old spelling works in this version only.")
    assert str(absent) in error
    monkeypatch.setattr("sys.argv", ["mindwire", "replay", str(absent), "--lsl", "--out", "x.csv"])
    assert run() == 2
    assert capsys.readouterr().err.endswith("No such option: --out. See `mindwire play --help`.\n")


def test_help_lists_each_command_with_its_first_sentence(monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["mindwire", "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    assert run() == 0
    output = capsys.readouterr().out
    for name in COMMANDS:
        assert f" {name} " in output
    assert "Play a recording's EEG and markers through LSL outlets" in output


def test_completion_offers_commands_options_and_choices() -> None:
    def complete(words: str, count: int) -> list[str]:
        environment = {
            **os.environ,
            "_MINDWIRE_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(count),
        }
        script = "import sys; sys.argv = ['mindwire']; from mindwire.__main__ import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60
        )
        return done.stdout.split()

    assert complete("mindwire cro", 1) == ["cross-validate"]
    assert "--sweep" in complete("mindwire train --sw", 2)
    assert complete("mindwire serve --device c", 3) == ["cpu", "cuda"]


@pytest.mark.parametrize("words", [("demo", "--port", "0"), ("--help",), ("replay", "--help")])
def test_a_pipe_that_nobody_reads_any_more_ends_a_command_quietly(words: tuple[str, ...]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "mindwire", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert (process.wait(60), process.stderr.read()) == (0, "")
    process.stderr.close()


def test_a_full_disk_at_standard_output_is_one_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        words = [sys.executable, "-m", "mindwire", "--version"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "mindwire: No space left on device.\n")


def test_the_log_of_liblsl_is_off_unless_the_user_configured_it() -> None:
    assert quiet_config("") == "\n\n[log]\nlevel = -3\n"
    assert quiet_config("[lab]\nSessionID = x") == "[lab]\nSessionID = x\n\n[log]\nlevel = -3\n"
    assert quiet_config("[log]\n; nothing\n[lab]\nlevel = 1\n") == "[log]\nlevel = -3\n; nothing\n[lab]\nlevel = 1\n"
    assert quiet_config("[log]\nlevel = 2\n") is None
    assert quiet_config("[lab]\n[log]\nfile = lsl.log\n") is None
    loud = {key: value for key, value in os.environ.items() if key != "LSLAPICFG"}
    script = "from mindwire.sources.liblsl import pylsl; pylsl.library_version(); pylsl.StreamInfo()"
    for debug, words in (("", 0), ("1", 1)):
        environment = {**loud, "MINDWIRE_DEBUG": debug}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        assert bool(done.stderr) is bool(words), done.stderr


def test_an_interrupt_of_code_from_a_string_ends_with_the_code_of_interrupts(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text("""
import mindwire.cli.main
from mindwire.__main__ import main

def run():
    exec("import signal; signal.raise_signal(signal.SIGINT)")

mindwire.cli.main.run = run
main()
""")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    words = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "")


def test_windows_is_refused_in_one_sentence() -> None:
    script = "import sys; sys.platform = 'win32'; import mindwire.__main__"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("mindwire: Mindwire runs on Linux and macOS, not on Windows;")


_TRAINING = """
import numpy as np
import mindwire.cli.main
from mindwire_models.training.fit import Recipe
from mindwire_models.parallel import Parallel
from mindwire_models.training.pool import Job, run_jobs
from mindwire_models.training.trials import TrialWindows
from mindwire.__main__ import main

def train():
    rng = np.random.default_rng(0)
    windows = rng.standard_normal((8, 4, 500)).astype(np.float32)
    data = TrialWindows(windows, np.arange(8), np.arange(8) % 2)
    print("ready", flush=True)
    run_jobs(data, 2, [Job(np.arange(8), Recipe(epochs=1_000_000))] * 2, parallel=Parallel(2))

if __name__ == "__main__":
    mindwire.cli.main.run = train
    main()
"""


@pytest.mark.parametrize("seconds", [0.0, 0.3, 3.0])
def test_ctrl_c_ends_trainings_with_their_processes(tmp_path: Path, seconds: float) -> None:
    script = tmp_path / "training.py"
    script.write_text(_TRAINING)
    roots = os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": roots}
    process = subprocess.Popen(
        [sys.executable, str(script)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    text, _ = process.communicate(timeout=30)  # to the end of the last process that holds the pipe
    assert (process.returncode, text) == (130, "")
