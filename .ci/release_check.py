"""Try demo, evaluate, play, serve and the client as installed; run by ``.ci/release`` after ``default_install_check.py``.

It works in the folder and with the recording of that check.
"""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mindwire
import mindwire_client
from mindwire.sources.loopback import lsl_on_loopback
from mindwire_models.zoo import zoo_bundle_path

COMMAND = Path(sys.executable).with_name("mindwire")
MODEL = str(zoo_bundle_path())
WAIT_S = 60


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command, and end it as a user does: with Ctrl-C, upon which it reports success."""
    with subprocess.Popen([COMMAND, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
    assert process.returncode in {0, 130}, f"{arguments[0]} ended with {process.returncode}"


def line_with(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """Return the first match among the lines that a process prints."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(pattern, line):
            return found
    msg = f"{process.args} ended without {pattern}"
    raise AssertionError(msg)


def try_demo() -> None:
    """Wait for a decision of the demonstration."""
    with running("demo", "--port", "0") as demo:
        print("demo:", line_with(demo, r"decided: \w+")[0])


def try_evaluate() -> None:
    """Report on the recording."""
    command = [COMMAND, "evaluate", "recording.xdf", "--model", MODEL, "--out", "report"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=WAIT_S)
    overall = json.loads(Path("report/report.json").read_text(encoding="utf-8"))["overall"]
    assert Path("report/report.html").is_file()
    print(f"evaluate: {overall['n_trials']} trials, accuracy {overall['accuracy']:.2f}")


def try_serve_and_client() -> None:
    """Serve the recording as a cap, and receive predictions."""
    with (
        running("serve", "--port", "0", "--model", MODEL, "--stream", "name=Played", "--log-level", "warning") as serve,
        running("play", "recording.xdf", "--name", "Played"),
    ):
        address = line_with(serve, r"http://(\S+:\d+)")[1]
        with mindwire_client.connect(address, timeout_s=WAIT_S) as stream:
            best = next(max(prediction.probabilities) for prediction in stream.predictions(valid=True))
            print(f"serve and client: {stream.hello.stream}, {' '.join(stream.hello.classes)}, {best:.2f}")


def main() -> None:
    """Try each in turn."""
    for module in (mindwire, mindwire_client):
        assert Path(sys.prefix) in Path(module.__file__).parents, f"{module.__file__} is not what was installed"
    with lsl_on_loopback(f"release-{Path.cwd()}"):
        try_evaluate()
        try_serve_and_client()
        try_demo()


if __name__ == "__main__":
    main()
