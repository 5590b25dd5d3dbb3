"""What is shipped: the wheel, the container image and the scripts that lead to them."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import uuid
import zipfile
from pathlib import Path

import pylsl
import pytest
import yaml

from mindwire_models.bundle import load_bundle
from mindwire_models.zoo import zoo_bundle_path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def _build_wheel(source: Path, out: Path) -> list[str]:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=100)
    (wheel,) = out.glob("mindwire-*.whl")
    return sorted(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return _build_wheel(ROOT, tmp_path_factory.mktemp("wheel"))


def test_wheel_holds_every_committed_file_of_the_packages(wheel: list[str]) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "models", "service"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\n")
    committed = {name.partition("/")[2] for name in listed if name and (ROOT / name).exists()}

    assert committed <= set(wheel)
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"mindwire", "mindwire_models"}
    assert any(name.endswith("licenses/LICENSE") for name in wheel)


def test_wheel_holds_a_bundle_to_start_with(wheel: list[str]) -> None:
    folder = "mindwire_models/zoo/simulated-4class/"
    shipped = {name.removeprefix(folder) for name in wheel if name.startswith(folder)}

    assert {"config.json", "contract.json", "model.onnx", "model.safetensors", "README.md", "SHA256SUMS"} <= shipped


def test_image_is_built_from_everything_the_wheel_needs(wheel: list[str], tmp_path: Path) -> None:
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    sources = [name for line in copies for name in line.split()]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(sources) == allowed

    context = tmp_path / "src"
    context.mkdir()
    for name in sources:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, context / name)
    assert _build_wheel(context, tmp_path / "out") == wheel


@pytest.mark.skipif(not (BIN / "hadolint").exists(), reason="hadolint has no wheel for this machine")
def test_dockerfile_has_no_fault_that_hadolint_knows() -> None:
    done = subprocess.run(
        [BIN / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", ["run", "test", "default-install", "release"])
def test_scripts_are_executable_and_have_no_fault_that_shellcheck_knows(name: str) -> None:
    script = ROOT / ".ci" / name
    done = subprocess.run([BIN / "shellcheck", script], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (0, "")
    assert os.access(script, os.X_OK)


def test_compose_uses_the_hosts_network_and_mounts_what_exists() -> None:
    folder = ROOT / "docker"
    services = yaml.safe_load((folder / "compose.yaml").read_text())["services"]

    assert set(services) == {"demo", "serve", "serve-gpu"}
    for service in services.values():
        assert service["network_mode"] == "host"
        assert service["read_only"] is True
        assert (folder / service["build"]["context"] / "Dockerfile").is_file()
        config, target = service["volumes"][0].split(":")[:2]
        assert (folder / config).is_file()
        assert target == "/etc/lsl_api/lsl_api.cfg"


@pytest.mark.parametrize(("peers", "found"), [("{127.0.0.1}", "1"), ("{}", "0")])
def test_known_peers_of_the_containers_configuration_are_asked(peers: str, found: str, tmp_path: Path) -> None:
    text = (ROOT / "docker" / "lsl_api.cfg").read_text()
    shipped = configparser.ConfigParser()
    shipped.read_string(text)
    assert dict(shipped["lab"]) == {"knownpeers": "{}"}

    ours = configparser.ConfigParser()
    ours.read(os.environ["LSLAPICFG"])
    lonely = (
        f"SessionID = {ours['lab']['SessionID']}\n[ports]\nIPv6 = disable\nPortRange = 256\n"
        "[multicast]\nResolveScope = machine\nMachineAddresses = {}\nAddressesOverride = {}\n"
        "ListenAddress = 127.0.0.1\nInterfaces = 127.0.0.1\n"
    )
    source_id = f"peer-{uuid.uuid4().hex}"
    outlet = pylsl.StreamOutlet(pylsl.StreamInfo("Peer", "EEG", 1, 250.0, pylsl.cf_float32, source_id))
    find = f"import pylsl; print(len(pylsl.resolve_byprop('source_id', {source_id!r}, timeout=5)))"
    config = tmp_path / "lsl_api.cfg"
    config.write_text(text.replace("KnownPeers = {}", f"KnownPeers = {peers}") + lonely)
    done = subprocess.run(
        [sys.executable, "-c", find],
        env={**os.environ, "LSLAPICFG": str(config)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    del outlet

    assert done.stdout.strip() == found


def test_readme_gives_one_block_to_run_and_one_to_test() -> None:
    readme = (ROOT / "README.md").read_text()
    for heading, last in (("Run it", "mindwire demo"), ("Test it", ".ci/test")):
        section = readme.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
        blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
        assert len(blocks) == 1
        assert blocks[0].strip().endswith(last)
        assert blocks[0].startswith("python3 -m venv .venv && ")


def test_all_distributions_and_the_citation_have_one_version() -> None:
    (version,) = {
        re.search(r'^__version__ = "(.+)"$', (ROOT / path).read_text(), re.MULTILINE)[1]
        for path in ("service/mindwire/__init__.py", "clients/python/mindwire_client/__init__.py")
    }

    for path in ("CITATION.cff", "clients/javascript/package.json"):
        assert yaml.safe_load((ROOT / path).read_text())["version"] == version


def test_changelog_has_the_headings_that_a_release_needs() -> None:
    headings = re.findall(r"^(##+ .+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    version = r"## \[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d"

    assert headings[0] == "## [Unreleased]"
    for heading in headings[1:]:
        assert re.fullmatch(rf"{version}|### (Added|Changed|Deprecated|Removed|Fixed|Security)", heading), heading


def test_files_that_the_contributing_guide_names_exist() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", (ROOT / "CONTRIBUTING.md").read_text())

    assert len(named) > 30
    for name in named:
        if "NAME" not in name:
            assert any(f"/{name}" in f"/{path}" for path in listed), name


@pytest.mark.parametrize("name", ["fault", "amplifier", "idea"])
def test_issue_template_is_a_form(name: str) -> None:
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text())
    fields = [field for field in form["body"] if field["type"] != "markdown"]

    assert form["name"]
    assert form["description"]
    assert all(field["type"] in {"input", "textarea"} and field["attributes"]["label"] for field in fields)
    assert len({field["id"] for field in fields}) == len(fields)


def test_zoo_bundle_is_sound_small_and_says_what_it_is_for() -> None:
    bundle = load_bundle(zoo_bundle_path())
    card = (bundle.path / "README.md").read_text()

    assert bundle.contract.classes == ("feet", "left_hand", "right_hand", "tongue")
    assert sum(path.stat().st_size for path in bundle.path.iterdir()) <= 200 * 1024
    assert "For demonstration only" in card
    assert "knows nothing of real brains" in card
