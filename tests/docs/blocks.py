"""Runs every shell and Python block of the documentation as it stands, page by page, against real services and signals.

``python -m tests.docs.blocks [PAGE…]`` prints the count of executed, marked and failing blocks. A block that cannot be run is
marked by ``<!-- not run: reason -->`` before it. Addresses are those of free ports, and ``SHORTER`` has what is shortened: the
minutes of recordings, the epochs of trainings. Commands that go on until Ctrl-C run until the end of their page.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from markdown_it import MarkdownIt

if __name__ == "__main__":
    import tests.conftest  # noqa: F401 - LSL of its own, before anything imports pylsl

from tests.docs.prepared import Prepared
from tests.support.streaming import eventually

ROOT = Path(__file__).parents[2]
SHELL, PYTHON = {"sh", "bash"}, {"python"}
MARK = re.compile(r"<!-- not run: (.+?) -->\s*\Z")
# Until Ctrl-C, unless they are given a duration.
LASTING = {"serve", "simulate", "play", "demo", "record"}
SHORTER = {
    "--duration 180": "--duration 3",
    "--duration 60": "--duration 3",
    "--seconds 60": "--seconds 3",
    "max_epochs=20": "max_epochs=1",
}
FEWER = {
    "train": "--epochs 1 --slide 0",
    "cross-validate": "--epochs 1 --slide 0",
}
# Pages whose blocks other tests run as they stand, with more than these could compare.
ELSEWHERE = {"docs/bring-your-own-decoder.md": "tests/mindwire/cli/test_bring_your_own_decoder.py"}


@dataclass(frozen=True)
class Block:
    """A fenced block, its place, and the reason why it is not run where it is marked."""

    page: str
    line: int
    language: str
    code: str
    reason: str | None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """Return the pages whose blocks are run, in an order in which later ones can use what earlier ones have written."""
    names = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
    names.remove("docs/certificate.md")
    return ["README.md", *names, "docs/certificate.md"]


def blocks(page: str) -> list[Block]:
    """Return the shell and Python blocks of a page."""
    text = (ROOT / page).read_text("utf-8")
    lines, found = text.splitlines(), []
    for token in MarkdownIt("commonmark").parse(text):
        if token.type == "fence" and token.info in SHELL | PYTHON:
            marked = MARK.search("\n".join(lines[: token.map[0]]))
            found.append(Block(page, token.map[0] + 1, token.info, token.content, marked and marked[1]))
    return found


def commands(code: str) -> Iterator[str]:
    """Yield the commands of a shell block."""
    for line in code.replace("\\\n", " ").splitlines():
        if shlex.split(line, comments=True):
            yield line


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Lasting:
    """A process that goes on, and what it has printed."""

    def __init__(self, words: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.words = words
        self.output = folder / f".output-{time.monotonic_ns()}"
        with self.output.open("w") as out:
            self.process = subprocess.Popen(words, cwd=folder, env=environment, stdout=out, stderr=out)

    def text(self) -> str:
        return self.output.read_text("utf-8", "replace")

    def wait_for(self, pattern: str) -> None:
        def there() -> bool:
            ended = self.process.poll() is not None
            assert re.search(pattern, self.text()) or not ended, f"{self.words} ended: {self.text()[-1500:]}"
            return bool(re.search(pattern, self.text()))

        eventually(there, 120, f"{pattern!r} of {self.words}")

    def end(self) -> None:
        """End it by Ctrl-C, which is no failure."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        assert code in (0, 130), f"{self.words} ended with {code}: {self.text()[-1500:]}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Page:
    """The blocks of one page, run in order in one folder."""

    def __init__(self, page: str, prepared: Prepared) -> None:
        self.name, self.prepared = page, prepared
        self.folder = prepared.folder(page)
        self.port, self.osc = free_port(), free_port()
        self.lasting: dict[str, Lasting] = {}
        self.environment = {**os.environ, "MINDWIRE_PORT": str(self.port), "TOKEN": "no token is needed"}
        roots = ("service", "models", "clients/python", "")
        self.environment["PYTHONPATH"] = os.pathsep.join(str(ROOT / root) for root in roots)
        self.environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    def run(self) -> dict[Block, str]:
        """Run all blocks; return those that failed, with the failure."""
        failures, before = {}, Path.cwd()
        with ExitStack() as stack:
            os.chdir(self.folder)
            stack.callback(os.chdir, before)
            stack.enter_context(self.prepared.around(self))
            for block in blocks(self.name):
                if block.reason is None:
                    try:
                        self.block(block)
                    except BaseException as error:
                        if isinstance(error, KeyboardInterrupt):
                            raise
                        failures[block] = f"{type(error).__name__}: {error}"
            for one in self.lasting.values():
                try:
                    one.end()
                except (AssertionError, subprocess.TimeoutExpired) as error:
                    failures[block] = str(error)
                    one.kill()
        return failures

    def block(self, block: Block) -> None:
        if block.language in PYTHON:
            self.python(self.adapted(block.code))
        else:
            for command in commands(block.code):
                self.command(self.adapted(command))

    def adapted(self, code: str) -> str:
        """Return code with the ports that are free here, and with what is shortened."""
        for text, short in SHORTER.items():
            code = code.replace(text, short)
        code = code.replace("127.0.0.1:8000", f"127.0.0.1:{self.port}")
        code = re.sub(r"(--osc |\"127\.0\.0\.1\", )9000", rf"\g<1>{self.osc}", code)
        return self.prepared.renamed(self.name, code)

    # Shell

    def command(self, text: str) -> None:
        words = shlex.split(text, comments=True)
        plain = words[0] == "mindwire" and not re.search(r"[$;&|]", re.sub(r"#.*|'[^']*'|\"[^\"]*\"", "", text))
        if words[0] == "pip":
            self.pip(words[1:])
        elif not plain:
            self.shell(text)
        elif words[1] in LASTING and not {"--print-config", "--duration"} & set(words):
            self.begin(words)
        elif words[1] == "record":
            (self.folder / words[words.index("--out") + 1]).unlink(missing_ok=True)  # recordings are not written over
            self.shell(text)
            self.prepared.recorded(self, words)
        else:
            self.mindwire(words[1:])

    def begin(self, words: list[str]) -> None:
        """Start a command that goes on, in place of one of its kind."""
        kind = words[1]
        if earlier := self.lasting.pop(kind, None):
            earlier.end()
        if kind == "demo":
            words = [*words, "--port", str(self.port)]
        started = Lasting([sys.executable, "-m", *words], self.folder, self.environment)
        self.lasting[kind] = started
        started.wait_for(r"http://\S+:\d+" if kind in {"serve", "demo"} else r"\S.*\n")
        self.prepared.started(self, words, started)

    def mindwire(self, words: list[str]) -> None:
        """Run a command in this process, which has imported everything once."""
        from typer.testing import CliRunner

        from mindwire.cli.main import app

        expanded = [
            name
            for word in words
            for name in (sorted(map(str, Path().glob(word))) if re.search(r"[*\[]", word) else [word])
        ]
        result = CliRunner().invoke(app, [*expanded, *shlex.split(FEWER.get(words[0], ""))])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        self.prepared.allowed(words, result.exit_code, result.output)

    def shell(self, text: str) -> None:
        done = subprocess.run(
            ["bash", "-ec", text], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{text}: {done.returncode} {(done.stderr or done.stdout)[-1500:]}"
        if text.startswith("curl"):
            assert '"detail"' not in done.stdout, done.stdout[-1500:]
            if "POST" in text and "/recording" in text:
                self.prepared.wait_recorded(self.port)

    def pip(self, words: list[str]) -> None:
        """Resolve what is installed from the clone, without installing it."""
        self.prepared.installed(words)

    # Python

    def python(self, code: str) -> None:
        """Run a program that ends in this process, and one that listens in its own, until it has printed something."""
        if not re.search(r"127\.0\.0\.1|pylsl", code):
            with redirect_stdout(StringIO()) as out, redirect_stderr(out):
                exec(compile(code, self.name, "exec"), {"__name__": "__main__"})
            return
        if "OSC" not in code and "pylsl" not in code:
            code = code.replace(f"127.0.0.1:{self.port}", self.prepared.address)
        listening = Lasting([sys.executable, "-u", "-c", code], self.folder, self.environment)
        try:
            with self.prepared.messages(self):
                listening.wait_for(r"\S.*\n")
            ended = listening.process.poll()
            assert ended in (None, 0), listening.text()[-1500:]
            assert "Traceback" not in listening.text(), listening.text()[-1500:]
        finally:
            listening.kill()


def main(names: list[str]) -> int:
    """Run pages and print what became of their blocks; return the exit code."""
    executed = marked = 0
    failing: dict[Block, str] = {}
    with Prepared() as prepared:
        for page in pages():
            all_of = blocks(page)
            marked_here = [block for block in all_of if block.reason is not None]
            if not all_of or (names and not any(name in page for name in names)):
                continue
            begin, used = time.monotonic(), sum(os.times()[:4])
            failed = {} if page in ELSEWHERE else Page(page, prepared).run()
            failing |= failed
            marked += len(marked_here)
            executed += len(all_of) - len(marked_here)
            spent = f"{time.monotonic() - begin:.0f} s, {sum(os.times()[:4]) - used:.0f} s of processor time"
            where = f"by {ELSEWHERE[page]}" if page in ELSEWHERE else spent
            print(
                f"{page}: {len(all_of)} blocks, {len(marked_here)} marked, {len(failed)} failing; {where}", flush=True
            )
            for block, why in failed.items():
                print(f"  {block.place}: {why}", flush=True)
    total = executed + marked
    print(
        f"{total} blocks: {executed} executed, {marked} marked ({100 * marked / max(total, 1):.0f} %), {len(failing)} failing"
    )
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
