"""A picture of the dashboard in docker/ of a run with faults: a real service, a real Prometheus with the alerts, and what breaks.

    python benchmarks/dashboard.py --out docs/dashboard.png

Four streams in two workers, two of them of simulated people who imagine movements and two of software caps, with recordings and websocket clients; samples are
lost, a channel becomes flat, a cap is taken off, another freezes, a worker and a recorder are killed, a client stalls, strangers are
refused, and a model is swapped and rolled back. Needs ``prometheus`` (Debian's package), and the extras ``train`` and ``record``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.dashboard_picture import Prometheus, draw  # noqa: E402
from mindwire.sinks.messages import Encoding  # noqa: E402
from mindwire.sources.loopback import lsl_on_loopback  # noqa: E402
from mindwire_models.bundle import load_bundle  # noqa: E402
from mindwire_models.presets import BCIC2A  # noqa: E402
from mindwire_models.zoo import zoo_bundle_path  # noqa: E402
from tests.support.bundles import random_bundle  # noqa: E402
from tests.support.gateway_clients import Listener, workers_of  # noqa: E402
from tests.support.lsl_cap import Cap  # noqa: E402
from tests.support.raw_websocket import upgraded  # noqa: E402
from tests.support.service_process import service  # noqa: E402

SCRAPE_S = 2.0
NAMES = ["chair-1", "chair-2", "chair-3", "chair-4"]
JSON = {"Content-Type": "application/json"}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def prometheus(folder: Path, target: str):
    """Run Prometheus with the configuration of docker/, another target, and an interval that suits some minutes."""
    config = yaml.safe_load((ROOT / "docker" / "prometheus" / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": f"{SCRAPE_S:g}s", "evaluation_interval": f"{SCRAPE_S:g}s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    shutil.copy(ROOT / "docker" / "prometheus" / "alerts.yaml", folder)
    port = free_port()
    words = [f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}"]
    words += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with subprocess.Popen(["prometheus", *words]) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def ask(address: str, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> int:
    """Return the status of the answer."""
    request = urllib.request.Request(f"http://{address}{path}", body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        print(path, error.code, error.read().decode()[:300], flush=True)
        return error.code


def stall(address: str, stream: str, seconds: float) -> None:
    """Open a websocket, and read nothing for some time."""

    def hold() -> None:
        with upgraded(address, f"/v1/streams/{stream}/signal"), upgraded(address, f"/v1/streams/{stream}/predictions"):
            time.sleep(seconds)

    threading.Thread(target=hold, daemon=True).start()


def kill_recorder(service_pid: int, stream: str) -> None:
    for process in psutil.Process(service_pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "LabRecorder" in process.name() and any(f"{stream}-" in word for word in process.cmdline()):
                process.kill()


def other_bundle(folder: Path) -> str:
    """Return the name of a bundle in a folder of models, with the contract of the demonstration's and random weights."""
    return random_bundle(folder / "candidate", load_bundle(zoo_bundle_path()).contract).name


def main() -> None:
    """Run, break, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "dashboard.png")
    parser.add_argument("--pace", type=float, default=1.0, help="Seconds per second of the plan.")
    options = parser.parse_args()
    run, folder = uuid.uuid4().hex[:6], Path(tempfile.mkdtemp(prefix="mindwire-dashboard-"))
    (folder / "models").mkdir()
    swapped = other_bundle(folder / "models")
    with contextlib.ExitStack() as stack:
        stack.enter_context(lsl_on_loopback(f"dashboard-{run}"))
        people = []
        for seed, name in enumerate(NAMES[:2], 1):
            command = [sys.executable, "-m", "mindwire", "simulate", "--name", f"{name}-{run}", "--seed", str(seed)]
            command += ["--source-id", f"{name}-{run}", "--closed-loop", "--decisions", name]
            people.append(stack.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL)))
            stack.callback(people[-1].terminate)
        values = {"labels": BCIC2A.channels, "n_channels": len(BCIC2A.channels), "sfreq": 250.0, "chunk": 10}
        caps = [
            stack.enter_context(Cap(f"{name}-{run}", source_id=f"{name}-{run}", seed=seed, drift_ppm=ppm, **values))
            for seed, (name, ppm) in enumerate(zip(NAMES[2:], (120.0, -40.0), strict=True))
        ]
        streams = [word for name in NAMES for word in ("--stream", f"id={name},name={name}-{run}")]
        words = [
            "--model",
            zoo_bundle_path(),
            "--workers",
            2,
            "--record",
            folder / "runs",
            "--models",
            folder / "models",
        ]
        running = stack.enter_context(service(*words, *streams))
        address = running.address()
        threading.Thread(target=running.process.stderr.read, daemon=True).start()  # or its pipe would fill
        stored = stack.enter_context(prometheus(folder, address))
        for name in NAMES[:3]:
            listener = Listener(address, name, Encoding.JSON)
            stack.callback(listener.end)
        model, other = "/v1/streams/chair-2/model", json.dumps({"model": swapped, "when": "ready"}).encode()
        begin = time.time()
        plan: list[tuple[float, str, Callable[[], object]]] = [
            (45, "chair-3 loses 60 samples", lambda: caps[0].tell("lose", n=60)),
            (60, "a channel of chair-3 is flat for 20 s", lambda: caps[0].tell("spoil", n=5000, channel=3, value=0.0)),
            (90, "the cap of chair-4 is taken off", caps[1].kill),
            (115, "and put on again", caps[1].start),
            (140, "worker 1 is killed", lambda: os.kill(workers_of(running)[0].pid, signal.SIGKILL)),
            (170, "a client of chair-2 reads nothing", lambda: stall(address, "chair-2", 60 * options.pace)),
            (185, "chair-2 gets another model", lambda: ask(address, model, "POST", other, **JSON)),
            (205, "the recorder of chair-1 is killed", lambda: kill_recorder(running.process.pid, "chair-1")),
            (225, "pages of strangers are refused", lambda: [ask(address, "/v1/streams", Origin="https://elsewhere.example") for _ in range(12)]),
            (235, "the adaptation of chair-1 is frozen", lambda: ask(address, "/v1/streams/chair-1/adaptation", "POST", b'{"action": "freeze"}', **JSON)),
            (240, "chair-2 gets its model back", lambda: ask(address, f"{model}/rollback", "POST", b"", **JSON)),
            (245, "chair-3 freezes for 7 s", caps[0].freeze),
            (252, "and goes on", caps[0].thaw),
            (275, "end", lambda: None),
        ]  # fmt: skip
        for at, what, act in plan:
            time.sleep(max(0.0, begin + at * options.pace - time.time()))
            print(f"{time.time() - begin:5.0f} s: {what}", flush=True)
            act()
        end = time.time()
        draw(Prometheus(stored, begin, end, SCRAPE_S), options.out)
        print(f"{options.out}: {options.out.stat().st_size >> 10} KiB")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
