"""The npm package as it is installed: its files, its types, and the examples of README and documentation as pasted."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Decide, Latest
from tests.support.javascript_client import node
from tests.support.standin import StandIn, served

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "clients" / "javascript"
STATIC = ROOT / "service" / "mindwire" / "api" / "static"
TSC = ROOT / "tests" / "javascript" / "node_modules" / ".bin" / "tsc"
CLASS = "(feet|left_hand|right_hand|tongue)"

pytestmark = pytest.mark.skipif(
    not (node() and shutil.which("npm") and TSC.exists()), reason="Node 20, npm or the type checker is not installed"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder in which the package is installed."""
    folder = tmp_path_factory.mktemp("project")
    command = ["npm", "pack", "--offline", "--silent", "--pack-destination", str(folder)]
    subprocess.run(command, cwd=PACKAGE, check=True, capture_output=True, timeout=300)
    (archive,) = folder.glob("mindwire-client-*.tgz")
    command = ["npm", "install", "--offline", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", str(archive)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    return folder


def examples(path: Path) -> list[str]:
    return re.findall(r"```js\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def test_package_has_the_files_of_the_service_and_their_types(project):
    dist = project / "node_modules" / "mindwire-client" / "dist"
    sources = [STATIC / "client.js", *(STATIC / "client").glob("*.js")]
    names = {str(path.relative_to(STATIC)) for path in sources}
    assert {str(path.relative_to(dist)) for path in dist.rglob("*.js")} == names
    assert all((dist / name).read_bytes() == (STATIC / name).read_bytes() for name in names)
    assert {name.replace(".js", ".d.ts") for name in names} == {
        str(path.relative_to(dist)) for path in dist.rglob("*.ts")
    }
    about = json.loads((project / "node_modules" / "mindwire-client" / "package.json").read_text("utf-8"))
    assert "dependencies" not in about


TYPED = """
import { Signal, Stream, connect, type Decision, type Missed } from "mindwire-client";
const stream = await connect("127.0.0.1:8000", { token: "t", stream: "eeg" });
for await (const one of stream.messages(["decision", "missed"])) {
  const known: Decision | Missed = one;
  if (one.type === "missed") one.count.toFixed(); else one.class.trim();
  // @ts-expect-error: a decision has no such field
  known.unknown;
}
stream.on("prediction", ({ probabilities }) => probabilities.map((value) => value.toFixed()));
const other: Stream = new Stream("127.0.0.1:8000", { wait: true });
other.on("axes", ({ values }) => values.x.toFixed());
new Signal({ stream: "eeg" }).onblock = ({ samples }) => samples.slice(0, 1);
"""


def test_types_are_found_by_a_program_in_typescript(project):
    (project / "program.mts").write_text(TYPED, encoding="utf-8")
    options = {"noEmit": True, "strict": True, "target": "esnext", "module": "nodenext", "types": []}
    setting = {"compilerOptions": {**options, "lib": ["esnext", "dom"]}, "files": ["program.mts"]}
    (project / "tsconfig.json").write_text(json.dumps(setting), encoding="utf-8")
    done = subprocess.run([TSC], cwd=project, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (examples(PACKAGE / "README.md")[0], ["classes: feet left_hand right_hand tongue", rf"{CLASS} 0\.\d+"]),
        (examples(ROOT / "docs" / "clients.md")[0], [r"\d+ true \d+ ms"]),
    ],
    ids=["readme", "docs"],
)
def test_example_for_node_runs_as_pasted(project, code, expected):
    assert len(code.strip().splitlines()) <= 10
    stream = StandIn()
    always = Decide(commit=1e-6, release=1e-6, dwell_s=0, refractory_s=0)
    stream.control(ControlPolicy(evidence=Latest(), decide=always))
    with served(stream) as address:
        stream.start()
        (project / "example.mjs").write_text(code.replace("127.0.0.1:8000", address), encoding="utf-8")
        with subprocess.Popen([*node(), "example.mjs"], cwd=project, stdout=subprocess.PIPE, text=True) as process:
            lines = [process.stdout.readline().strip() for _ in expected]
            process.kill()
        stream.stop()
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(expected, lines, strict=True)), lines
