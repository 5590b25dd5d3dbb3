"""Runs the steps of the Dockerfile without a container engine, in a clean root file system, and what they make as compose does.

    sudo python3 .ci/image_check.py [--arg DEVICE=cpu …] [--bind FOLDER …] [--run COMMAND --health COMMAND --env NAME=VALUE …]

The root file system has this machine's ``/usr`` and Python, read-only, and else what the Dockerfile puts there: the base image
itself is not tested, nor is its glibc. Then the image's command runs with a read-only root, an empty ``/tmp``, the image's user,
no capabilities and no new privileges, until its health check passes; SIGTERM must end it in time. ``--bind`` adds folders
that this machine's pip needs, such as one with wheels. Linux with util-linux; as root.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
_USR = ("bin", "lib", "lib64", "sbin")
_SYSTEM = (
    "usr",
    "dev",
    "proc",
    "sys",
    "etc/ssl",
    "etc/ld.so.cache",
    "etc/alternatives",
    "etc/resolv.conf",
    "etc/hosts",
)
_HEALTHY_S, _END_S = 60.0, 15.0


@dataclass
class Stage:
    """One stage of the build: its root file system and what it has set."""

    root: Path
    environment: dict[str, str]
    folder: str = "/"
    user: str = "0"
    settings: dict[str, str] = field(default_factory=dict)

    def chroot(self, command: list[str], *before: str) -> list[str]:
        """Return a command that runs in the root file system."""
        inside = 'cd "$0" && exec "$@"'
        return [*before, "chroot", str(self.root), "/bin/sh", "-c", inside, self.folder, *command]

    def path(self, name: str) -> Path:
        """Return where a path of the stage lies on this machine."""
        return self.root / os.path.join(self.folder, name).lstrip("/")  # noqa: PTH118 - of the stage, not of this machine


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield the instructions of a Dockerfile with their arguments."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, rest.strip()


def substituted(text: str, values: dict[str, str]) -> str:
    """Return text with variables as Docker replaces them."""
    return re.sub(r"\$\{?(\w+)\}?", lambda match: values.get(match[1], ""), text)


def mount(*options: str) -> None:
    """Mount within this process's namespace."""
    subprocess.run(["mount", *options], check=True)


def new_stage(root: Path, binds: list[Path]) -> Stage:
    """Return a stage whose root has the system and Python of this machine alone."""
    root.mkdir()
    for name in ("tmp", "root", "home", "opt", "etc", "run", "var/tmp"):
        (root / name).mkdir(parents=True)
    for name in _USR:
        (root / name).symlink_to(f"usr/{name}")
    python = Path(sys.base_prefix)
    for path in [*(Path("/") / name for name in _SYSTEM), python, *binds]:
        if not path.exists() or (path != Path("/usr") and path.is_relative_to("/usr")):
            continue
        at = root / str(path).lstrip("/")
        if path.is_dir():
            at.mkdir(parents=True, exist_ok=True)
        else:
            at.parent.mkdir(parents=True, exist_ok=True)
            at.touch()
        mount("--rbind", str(path.resolve()), str(at))
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    kept = {name: value for name, value in os.environ.items() if re.match(r"(PIP_|SSL_|\w+_proxy$)", name)}
    path = f"{python}/bin:/usr/bin:/usr/sbin"
    return Stage(root, {**kept, "PATH": path, "HOME": "/root", "LANG": "C.UTF-8"})


def built(work: Path, given: dict[str, str], binds: list[Path]) -> Stage:
    """Run the Dockerfile's steps and return its last stage."""
    known: dict[str, Stage] = {}
    everywhere, values, stage = dict(given), dict(given), None
    for word, rest in instructions((ROOT / "Dockerfile").read_text()):
        if word == "FROM":
            _, _, name = substituted(rest, everywhere).partition(" AS ")
            stage = known[name or "last"] = new_stage(work / (name or "last"), binds)
            values = {}
        elif word == "ARG":
            name, _, default = rest.partition("=")
            (everywhere if stage is None else values)[name] = given.get(name, default)
        else:
            assert stage is not None
            print(f"{word} {rest}", flush=True)
            step(stage, word, rest, {**values, **stage.environment}, known)
    return known["last"]


def step(stage: Stage, word: str, rest: str, values: dict[str, str], known: dict[str, Stage]) -> None:
    """Run one instruction."""
    match word:
        case "RUN":
            subprocess.run(stage.chroot(["/bin/sh", "-c", rest]), env=values, check=True)
        case "WORKDIR":
            stage.folder = rest
            stage.path("").mkdir(parents=True, exist_ok=True)
        case "ENV":
            stage.environment |= dict(one.split("=", 1) for one in shlex.split(substituted(rest, values)))
        case "USER":
            stage.user = rest
        case "COPY":
            *sources, target = rest.split()
            origin = known[sources.pop(0).removeprefix("--from=")] if sources[0].startswith("--from=") else None
            for name in sources:
                copy(ROOT / name if origin is None else origin.path(name), stage.path(target))
        case _:
            stage.settings[word] = rest


def copy(source: Path, target: Path) -> None:
    """Copy as COPY does: the content of a folder, or a file into a folder."""
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def loopback_alone() -> None:
    """Enter a network namespace whose only device, loopback, is up; ports of this machine are free there."""
    assert ctypes.CDLL(None).unshare(0x40000000) == 0, "CLONE_NEWNET"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP


def end_rest(root: Path) -> None:
    """Kill what is left in the root file system, as the end of a container does."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if (entry / "root").readlink() == root:
                os.kill(int(entry.name), signal.SIGKILL)


def check(stage: Stage, run: list[str], health: list[str], code: int) -> None:
    """Run the image's command as compose does, until its health check passes, and end it."""
    settings = stage.settings
    health = health or json.loads(settings["HEALTHCHECK"].partition("CMD ")[2])
    run = run or [*json.loads(settings["ENTRYPOINT"]), *json.loads(settings["CMD"])]
    loopback_alone()
    mount("--rbind", str(stage.root), str(stage.root))
    mount("-o", "remount,bind,ro", str(stage.root))
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(stage.path("/tmp")))
    limits = ["/usr/bin/setpriv", f"--reuid={stage.user}", f"--regid={stage.user}", "--clear-groups", "--no-new-privs"]
    limits += ["--bounding-set=-all", "--inh-caps=-all"]
    inside = {**stage.environment, "HOME": stage.folder}

    def limited(words: list[str]) -> list[str]:
        return stage.chroot([*limits, *words])

    refused = subprocess.run(limited(["touch", "written"]), env=inside, capture_output=True, text=True, check=False)
    assert "Read-only file system" in refused.stderr, refused.stderr
    print("runs:", *run, flush=True)
    service = subprocess.Popen(limited(run), env=inside, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + _HEALTHY_S
    while subprocess.run(limited(health), env=inside, capture_output=True, check=False).returncode != 0:
        assert service.poll() is None, f"ended with {service.returncode}"
        assert time.monotonic() < deadline, "never became healthy"
        time.sleep(0.5)
    ids = {line.split()[1] for line in Path(f"/proc/{service.pid}/status").read_text().splitlines() if "Uid" in line}
    assert ids == {stage.user}, ids
    service.terminate()
    assert service.wait(_END_S) == code, f"ended with {service.returncode}"
    end_rest(stage.root)
    print(f"healthy with a read-only root as uid {stage.user}, and ended in order")


def main() -> None:
    """Build and check."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--arg", action="append", default=[], metavar="NAME=VALUE", help="as docker build --build-arg")
    parser.add_argument("--bind", action="append", default=[], type=Path, help="another folder of this machine")
    parser.add_argument("--run", type=shlex.split, default=[], help="instead of the image's ENTRYPOINT and CMD")
    parser.add_argument("--health", type=shlex.split, default=[], help="instead of its HEALTHCHECK")
    parser.add_argument("--code", type=int, default=0, help="exit code after SIGTERM; that of ray start is 1")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    if os.environ.get("IMAGE_CHECK") != "namespace":
        os.environ["IMAGE_CHECK"] = "namespace"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])
    work = Path(tempfile.mkdtemp(prefix="mindwire-image-"))
    mount("-t", "tmpfs", "tmpfs", str(work))  # what is mounted below it ends with this process
    try:
        stage = built(work, dict(one.split("=", 1) for one in options.arg), options.bind)
        stage.environment |= dict(one.split("=", 1) for one in options.env)
        check(stage, options.run, options.health, options.code)
    finally:
        subprocess.run(["umount", "--lazy", str(work)], check=True)
        work.rmdir()


if __name__ == "__main__":
    main()
