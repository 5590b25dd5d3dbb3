"""The examples of the Python client's README and documentation, run as they stand against a service."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Decide, Latest
from tests.support.standin import StandIn, served

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "clients" / "python"


def examples(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def first_lines(code: str, n: int) -> list[str]:
    stream = StandIn()
    always = Decide(commit=1e-6, release=1e-6, dwell_s=0, refractory_s=0)
    stream.control(ControlPolicy(evidence=Latest(), decide=always))
    with served(stream) as address:
        stream.start()
        code = code.replace("127.0.0.1:8000", address)
        environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as process:
            lines = [process.stdout.readline() for _ in range(n)]
            process.kill()
        stream.stop()
    return lines


def test_cursor_moves_with_decisions():
    stream = StandIn()
    always = Decide(commit=1e-6, release=1e-6, dwell_s=0, refractory_s=0)
    stream.control(ControlPolicy(evidence=Latest(), decide=always))
    with served(stream) as address:
        stream.start()
        done = subprocess.run(
            [sys.executable, PACKAGE / "examples" / "cursor.py", address, "--steps", "3"],
            check=True, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        )  # fmt: skip
        stream.stop()
    assert re.fullmatch(rf"3 {CLASS} \d\.\d\d", done.stdout.splitlines()[-1]), done.stdout
    assert done.stdout.splitlines()[-12:-1] != done.stdout.splitlines()[:11]


def test_wheel_holds_the_client_alone(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=PACKAGE, check=True, capture_output=True, timeout=100)
    (wheel,) = tmp_path.glob("mindwire_client-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    written = {f"mindwire_client/{path.name}" for path in (PACKAGE / "mindwire_client").glob("*.py")}
    assert written | {"mindwire_client/py.typed"} == {name for name in names if name.startswith("mindwire_client/")}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert wheel.stat().st_size < 100_000


CLASS = "(feet|left_hand|right_hand|tongue)"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (examples(PACKAGE / "README.md")[0], ["classes: feet left_hand right_hand tongue\n", rf"{CLASS} 0\.\d+\n"]),
        (examples(PACKAGE / "README.md")[1], [rf"{CLASS} 0\.\d+\n"]),
        (examples(ROOT / "docs" / "clients.md")[0], ["True\n"]),
    ],
    ids=["readme", "asyncio", "markers"],
)
def test_example_runs_as_pasted(code, expected):
    lines = first_lines(code, len(expected))
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(expected, lines, strict=True)), lines


def test_first_example_has_at_most_ten_lines():
    assert len(examples(PACKAGE / "README.md")[0].strip().splitlines()) <= 10


@pytest.mark.parametrize("path", sorted((PACKAGE / "mindwire_client").glob("*.py")), ids=lambda path: path.name)
def test_module_is_syntax_of_python_3_10(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))


def test_it_imports_nothing_but_what_it_depends_on():
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (PACKAGE / "mindwire_client").glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    roots = {name.partition(".")[0] for name in names}
    assert roots - sys.stdlib_module_names == {"mindwire_client", "msgspec", "websockets"}


def test_import_brings_no_websockets_and_the_first_connection_little_more_than_these():
    code = (
        "import sys, mindwire_client; print(*sys.modules)\n"
        "import websockets.asyncio.client; before = set(sys.modules)\n"
        "mindwire_client.connect('127.0.0.1:1'); print(*set(sys.modules) - before)"
    )
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    imported, connected = ({name.partition(".")[0] for name in line.split()} for line in done.stdout.splitlines())
    assert imported.isdisjoint({"websockets", "asyncio", "ssl", "http"})
    assert connected <= {"mindwire_client", "json", "_json"}
