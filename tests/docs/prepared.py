"""Files, signals and services that the blocks of the documentation expect: a person's recordings, models, a cap, a listener."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pythonosc.osc_message_builder import OscMessageBuilder

from tests.support.streaming import eventually
from tests.support.threads import meanwhile

ROOT = Path(__file__).parents[2]
SECONDS = 75
NUMBERS = {"feet": "1", "left_hand": "2", "right_hand": "3", "tongue": "1"}
# What trainings need minutes for with a whole cap is recorded with a few channels, except where a network of 22 is trained on.
FEW, FEW_SFREQ, WHOLE_CAP = ("Fz", "C3", "Cz", "C4", "Pz"), 125.0, {"docs/training.md"}
NAMED = {"docs/tutorial.md"}
# Pages on which MyAmp, an amplifier with EEG, is on the network, and those whose service takes models.
CAP = {
    "README.md", "docs/sessions.md", "docs/certificate.md", "docs/network.md", "docs/several-streams.md", "docs/control.md",
    "docs/my-amplifier.md",
}  # fmt: skip
RECORDINGS = {
    "README.md": {"session1": 1, "session2": 2, "other1": 4, "other2": 5, "run": 6},
    "docs/tutorial.md": {"run1": 1, "run2": 2, "run3": 3, "run4": 4},
    "docs/control.md": {"session/run4": 4, "session/run5": 5, "run1": 4, "run2": 5, "run3": 6}
    | {f"day2/run{number}": number + 3 for number in (1, 2, 3, 4, 5)},
    "docs/training.md": {"day1/run1": 1, "day1/run2": 2, "day2/run1": 4, "day2/run2": 5}
    | {"earlier/run1": 1, "earlier/run2": 2, "today/run1": 6, "today/run2": 7},
}
TRAINED = {"docs/control.md"}  # pages whose model knows idling


class Prepared:
    """What all pages share, in one temporary folder; used with ``with``."""

    def __enter__(self) -> Prepared:
        self._stack = ExitStack()
        self.base = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="mindwire-docs-")))
        self._installed: set[tuple[str, ...]] = set()
        self._address: str | None = None
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    # Files

    def folder(self, page: str) -> Path:
        """Return a page's folder, with the recordings and models that the page begins with."""
        from mindwire_models.zoo import zoo_bundle_path

        folder = self.base / Path(page).stem
        folder.mkdir()
        (folder / "benchmarks").symlink_to(ROOT / "benchmarks")
        (folder / ".venv").symlink_to(sys.prefix)
        for name, seed in RECORDINGS.get(page, {}).items():
            (folder / name).parent.mkdir(exist_ok=True)
            path = self.recording(seed, named=page in NAMED, whole=page in WHOLE_CAP)
            shutil.copy(path, folder / f"{name}.xdf")
        if RECORDINGS.get(page):
            shutil.copy(self.recording(9, rest=True, whole=page in WHOLE_CAP), folder / "rest.xdf")
        bundle = self.trained() if page in TRAINED else zoo_bundle_path()
        for name in ("my-model", "models/p01", "sessions/models/P01-1", "other-model", "day1"):
            if not (folder / name).exists():
                shutil.copytree(bundle, folder / name)
        (folder / "token").write_text("a token of docs")
        (folder / "read-token").write_text("another token of docs")
        (folder / "lsl_api.cfg").write_text(Path(os.environ["LSLAPICFG"]).read_text())
        policy = '{"version": 1, "decide": {"commit": %s, "release": 0.4}}'
        (folder / "old.json").write_text(policy % 0.6)
        (folder / "new.json").write_text(policy % 0.7)
        if page == "docs/convention.md":
            from tests.support.convention_streams import BEGIN, Spec, good_streams, write_streams

            times = [BEGIN + number / 250 for number in range(500)]
            channels = [(label, "microvolts", "EEG") for label in FEW]
            eeg = Spec("MyCap", "EEG", "float32", {}, [[1.0] * len(FEW)] * len(times), times, channels, 250.0)
            write_streams(folder / "run.xdf", {**good_streams(), "eeg": eeg})
        if page in {"README.md", "docs/training.md"}:
            for name in ("weights.ckpt", "bcic2a-loso-1.ckpt"):
                shutil.copy(self.checkpoint(), folder / name)
        if page == "docs/protocol.md":
            shutil.make_archive(str(folder / "model"), "zip", folder / "my-model")
        if page == "docs/several-streams.md":
            (folder / "clinic.toml").write_text('model = "my-model"\n[[stream]]\nid = "cap"\nname = "MyAmp"\n')
        return folder

    def recording(self, seed: int, *, named: bool = True, rest: bool = False, whole: bool = False) -> Path:
        """Return a recording of the simulated person: cues, named or numbered, or rest."""
        path = self.base / f"{seed}-{named}-{rest}-{whole}.xdf"
        if not path.exists():
            from mindwire.sources.simulator import Artefacts, Simulator
            from mindwire_models.presets import BCIC2A_CHANNELS
            from tests.support.xdf_writer import eeg_file

            labels = BCIC2A_CHANNELS if whole else FEW
            person = Simulator(
                seed,
                artefacts=Artefacts.NONE,
                name="MyCap",
                rest_s=600.0 if rest else 0.0,
                sfreq=FEW_SFREQ,
                channels=labels,
            )
            samples = person.read(round(SECONDS * (2 if whole else 1) * person.sfreq)).samples
            cues = [(1000.0 + cue.time, cue.label if named else NUMBERS[cue.label]) for cue in person.drain_markers()]
            eeg_file(path, samples, person.sfreq, person.info.labels, markers=cues, name="MyCap")
        return path

    def trained(self) -> Path:
        """Return a bundle with a class for idling, trained once."""
        path = self.base / "trained"
        if not path.exists():
            files = [self.recording(seed, named=False) for seed in (1, 2, 3)]
            words = ["train", *map(str, files), "--markers", "1=idle", "2=left_hand", "3=right_hand", "--folds", "0"]
            self.invoke([*words, "--decoder", "riemann", "--out", str(path)])
        return path

    def checkpoint(self) -> Path:
        """Return a checkpoint as the paper's authors publish them, with the weights of the bundled model."""
        path = self.base / "weights.ckpt"
        if not path.exists():
            import torch

            from mindwire_models.bundle import load_bundle, load_network
            from mindwire_models.zoo import zoo_bundle_path

            weights = load_network(load_bundle(zoo_bundle_path())).state_dict()
            renamed = {f"model.{name.replace('final_layer', 'classifier')}": value for name, value in weights.items()}
            known = {"n_classes": 4, "n_channels": 22, "input_window_samples": 1000, "attention_mode": "se"}
            torch.save({"state_dict": renamed, "hyper_parameters": known, "epoch": 1}, path)
        return path

    @staticmethod
    def invoke(words: list[str]) -> None:
        from typer.testing import CliRunner

        from mindwire.cli.main import app

        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, (result.output, result.exception)

    def renamed(self, page: str, code: str) -> str:
        """Return code with names of examples replaced by those that exist."""
        if page == "docs/certificate.md":
            recorded = sorted((self.base / "certificate" / "sessions").glob("*.xdf"))
            sessions = sorted((self.base / "sessions" / "sessions" / "P01").glob("2*"))
            if recorded:
                code = code.replace("sessions/EEG-S1-20260102-101500.xdf", f"sessions/{recorded[0].name}")
            if sessions:
                code = code.replace("sessions/P01/2026-01-02", str(sessions[0]))
        return code

    # Signals and services

    @contextmanager
    def around(self, page: Any) -> Iterator[None]:
        """Have on the network what a page expects there."""
        with ExitStack() as stack:
            if page.name in CAP:
                words = ["simulate", "--name", "MyAmp", "--source-id", "amp-1"]
                cap = subprocess.Popen(
                    [sys.executable, "-m", "mindwire", *words], env=page.environment,
                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                )  # fmt: skip
                stack.callback(cap.communicate)
                stack.callback(cap.kill)
                cap.stdout.readline()
            if page.name == "docs/convention.md":
                from tests.support.convention_streams import good_streams, sent

                for kind, ending in (("probabilities", ""), ("decisions", "-Decisions")):
                    spec = replace(good_streams()[kind], name=f"Mindwire-cap{ending}")
                    stack.enter_context(sent(spec))
            if page.name == "docs/protocol.md":
                page.begin(
                    ["mindwire", "serve", "--model", "my-model", "--models", "models", "--stream", "name=absent"]
                )
            yield

    def started(self, page: Any, words: list[str], process: Any) -> None:
        """Wait, after a service has started, for what the next blocks need of it; end it where the page says so."""
        if page.name == "docs/control.md" and words[1] == "serve":  # before the page's next signal begins
            process.wait_for('"message": "(connecting|settling|live)')
        if page.name == "docs/sessions.md" and "--model" in words:
            self.wait_ready(page.port)
        if "--record" in words:
            self.wait_ready(page.port)
            process.end()
            eventually(lambda: not list(self.unfinished(page.folder)), 30, "the recorder ends its files")

    @staticmethod
    def unfinished(folder: Path) -> Iterator[Path]:
        """Yield the recordings that the recorder, which outlives the service by some seconds, has not finished."""
        from mindwire.sources.xdf_file import XdfFile

        for path in folder.rglob("*.xdf"):
            if any("still being written" in problem for problem in XdfFile(path).problems):
                yield path

    @staticmethod
    def wait_recorded(port: int) -> None:
        """Wait until the recording that has begun holds some seconds of predictions that may be believed."""

        def valid() -> int:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/streams/MyAmp", timeout=5) as answer:
                return int(json.load(answer)["counters"]["valid"])

        first, deadline = valid(), time.monotonic() + 90
        while valid() < first + 100:
            assert time.monotonic() < deadline, "nothing valid is recorded"
            time.sleep(0.2)

    @staticmethod
    def wait_ready(port: int) -> None:
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5):
                    return
            except urllib.error.HTTPError as error:
                error.close()
            assert time.monotonic() < deadline, "the service does not get ready"
            time.sleep(0.2)

    @property
    def address(self) -> str:
        """Address of a service whose stream decides all the time."""
        if self._address is None:
            from mindwire.control.policy import ControlPolicy
            from mindwire.control.stages import Decide, Latest
            from tests.support.standin import StandIn, served

            stream = StandIn()
            always = Decide(commit=1e-6, release=1e-6, dwell_s=0, refractory_s=0)
            stream.control(ControlPolicy(evidence=Latest(), decide=always))
            self._address = self._stack.enter_context(served(stream))
            stream.start()
            self._stack.callback(stream.stop)
        return self._address

    @contextmanager
    def messages(self, page: Any) -> Iterator[None]:
        """Send decisions by OSC, and by LSL to the first that listens."""
        if page.name == "docs/my-program.md":
            from tests.support.convention_streams import good_streams, sent

            with sent(replace(good_streams()["decisions"], name="Mindwire-cap-Decisions")):
                yield
            return

        def send(end: threading.Event) -> None:
            message = OscMessageBuilder("/mindwire/cap/decision")
            for value in ("left_hand", 0.9, 1, 2.0):
                message.add_arg(value)
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                while not end.wait(0.1):
                    sock.sendto(message.build().dgram, ("127.0.0.1", page.osc))

        with meanwhile(send):
            yield

    # Commands

    def installed(self, words: list[str]) -> None:
        """Have pip prepare what a page installs from the clone, and see that it has the extras."""
        if tuple(words) not in self._installed:
            done = subprocess.run(
                [sys.executable, "-m", "pip", *words, "--dry-run", "--no-deps", "--no-build-isolation", "--quiet"],
                cwd=ROOT, capture_output=True, text=True, timeout=100,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert "does not provide" not in done.stderr, done.stderr
            self._installed.add(tuple(words))

    def recorded(self, page: Any, words: list[str]) -> None:
        """Put minutes in place of the seconds that a page has recorded."""
        path = Path(words[words.index("--out") + 1])
        assert path.stat().st_size > 1000, f"{path} is empty"
        stem = path.stem
        if page.name in NAMED:
            source = self.recording(9, rest=True) if stem == "rest" else self.recording(int(stem[-1]))
            shutil.copy(source, path)

    @staticmethod
    def allowed(words: list[str], code: int, output: str) -> None:
        """Accept success, findings about this machine, and a candidate that is rejected."""
        found = words[0] == "doctor" or (words[0] == "improve" and "Rejected" in output)
        assert code == 0 or (found and code == 1), f"{words}: {code} {output[-1500:]}"
