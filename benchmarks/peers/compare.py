"""Mindwire beside what users would take instead: the same samples through the same outlet, the same hop, one run.

    python benchmarks/peers/compare.py --seconds 60 --out docs/latency.svg

Peers, each in an environment of its own that this script makes (kept with --environments FOLDER), versions pinned:

- braindecode, eager, in a loop on mne-lsl's StreamLSL
- the same loop with the plain ONNX export in ONNX Runtime
- ezmsg: ezmsg-lsl's inlet, ezmsg-sigproc's window, the plain ONNX export

timeflux is not among them: 0.17.2 imports what pylsl has dropped, and the pylsl it was made for brings no liblsl.

For a peer the time ends when it has its prediction; for Mindwire when a websocket client in another process has it.
The peers get the window as it comes; Mindwire also filters, checks and aligns it. A prediction is lost when a hop
passed without one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from mindwire.bench.latency import LatencyRun  # noqa: E402
from mindwire.bench.processes import CpuMeter, Processes, read_line, summarise, with_children  # noqa: E402
from mindwire.evaluation.svg import distributions, standalone  # noqa: E402
from mindwire.outputs import check_report  # noqa: E402
from mindwire.provenance import machine  # noqa: E402
from mindwire_models.atomic import replace_file  # noqa: E402

ENVIRONMENTS = {
    "mne-lsl": ("torch==2.13.0", "mne-lsl==1.14.0", "braindecode==1.8.1", "onnxruntime==1.32.0", "safetensors"),
    "ezmsg": ("ezmsg-lsl==1.17.1", "ezmsg-sigproc==3.11.1", "onnxruntime==1.32.0"),
}
# what it is called, environment, script, whether it takes the plain ONNX export
PEERS = {
    "braindecode": ("mne-lsl + braindecode eager", "mne-lsl", "mne_lsl_loop.py", False),
    "mne-lsl-onnx": ("mne-lsl + plain ONNX", "mne-lsl", "mne_lsl_loop.py", True),
    "ezmsg": ("ezmsg + plain ONNX", "ezmsg", "ezmsg_graph.py", True),
}


def environment(folder: Path, name: str) -> Path | None:
    """The interpreter of a peer's environment, made where it is not there; None where it cannot be made."""
    python = folder / name / "bin" / "python"
    ready = folder / name / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder / name)], check=True)
        command = [str(python), "-m", "pip", "install", "--quiet", *ENVIRONMENTS[name]]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            print(f"{name} cannot be installed: {last}", flush=True)
            return None
        ready.touch()
    return python


def plain_onnx(bundle: Path, out: Path) -> Path:
    """The bundle's network as torch exports it, nothing folded."""
    from mindwire_models.bundle import load_bundle, load_module
    from mindwire_models.graphs.plain_graph import plain_graph

    out.write_bytes(plain_graph(load_module(load_bundle(bundle)).eval()))
    return out


def measure_peer(name: str, python: Path, run: LatencyRun, plain: Path) -> tuple[dict, np.ndarray]:
    """One peer from its start until the outlet has ended."""
    title, _, script, takes_onnx = PEERS[name]
    contract = run.contract
    seconds = run.seconds + contract.window_samples / contract.sfreq + 2
    with Processes() as processes:
        stream, got_at, sent_at = f"peer-{name}", processes.folder / "peer.npz", processes.folder / "sent.npz"
        pusher = processes.role(
            "push", stream, ",".join(contract.channels), contract.sfreq, run.chunk, seconds, sent_at
        )
        read_line(pusher)
        words = [python, HERE / script, "--name", stream, "--bundle", run.model, "--hop", run.hop, "--out", got_at]
        peer = subprocess.Popen(
            [*map(str, words), *(["--onnx", str(plain)] if takes_onnx else [])], stdout=subprocess.PIPE, text=True
        )
        try:
            versions = json.loads(read_line(peer))
            time.sleep(seconds - run.seconds + 2)
            meter = CpuMeter(*with_children(peer.pid))
            time.sleep(run.seconds * 0.7)
            cpu = meter.percent()
            pusher.wait(seconds + 60)
            peer.wait(60)
        finally:
            peer.kill()
            peer.wait()
            peer.stdout.close()
        sent, got = np.load(sent_at), np.load(got_at)
    index = np.rint((got["times"] - sent["epoch"]) * sent["sfreq"]).astype(int)
    index = np.clip(index, 0, len(sent["pushed"]) - 1)
    ages = (got["received"] - sent["pushed"][index])[round(2 / run.period) :] * 1e3
    expected = (len(sent["pushed"]) - contract.window_samples) // run.hop + 1
    figures = {
        **summarise(ages),
        "cpu_percent": round(cpu, 1),
        "received": len(got["times"]),
        "expected": int(expected),
    }
    return {"title": title, "versions": versions, **figures}, ages


def main() -> None:
    from mindwire_models.zoo import zoo_bundle_path

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=zoo_bundle_path())
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--chunks", default="1,10")
    parser.add_argument("--hop", type=int, default=10)
    parser.add_argument("--only", default=",".join(PEERS))
    parser.add_argument("--environments", type=Path, help="keep the peers' environments here")
    parser.add_argument("--out", type=Path, default=Path("peers.svg"))
    options = parser.parse_args()
    check_report(options.out.parent, (options.out.name, options.out.with_suffix(".json").name))
    report: dict = {"machine": machine(), "hop": options.hop, "cases": []}
    curves: dict[str, np.ndarray] = {}
    keep = nullcontext(str(options.environments)) if options.environments else tempfile.TemporaryDirectory()
    with keep as folder, tempfile.TemporaryDirectory() as temporary:
        Path(folder).mkdir(parents=True, exist_ok=True)
        plain = plain_onnx(options.model, Path(temporary) / "plain.onnx")
        pythons = {name: environment(Path(folder), PEERS[name][1]) for name in options.only.split(",")}
        for chunk in map(int, options.chunks.split(",")):
            seconds = options.seconds
            ours = LatencyRun(options.model, chunk=chunk, hop=options.hop, seconds=seconds, floor_seconds=seconds / 2)
            with Processes() as processes:
                whole = ours.end_to_end(processes)
            rows = [
                {
                    "title": "Mindwire",
                    **whole["websocket"],
                    "cpu_percent": whole["cpu_percent"]["one stream"],
                    "received": whole["received"],
                    "expected": whole["expected"],
                }
            ]
            curves[f"Mindwire, chunk {chunk}"] = ours.samples["Mindwire"]
            for name, python in pythons.items():
                if python is None:
                    continue
                try:
                    row, ages = measure_peer(name, python, ours, plain)
                except Exception as error:  # noqa: BLE001 - a peer that fails is reported and left out
                    print(f"{PEERS[name][0]} failed: {error}", flush=True)
                    continue
                rows.append(row)
                curves[f"{row['title']}, chunk {chunk}"] = ages
            report["cases"].append({"chunk": chunk, "rows": rows})
            print(f"\noutlet pushes {chunk} samples together, hop {options.hop}; milliseconds")
            print(f"{'':<30}{'p50':>8}{'p99':>8}{'p99.9':>8}{'max':>8}{'CPU %':>8}  received")
            for row in rows:
                cells = "".join(f"{row[q]:8.2f}" for q in ("p50", "p99", "p99.9", "max", "cpu_percent"))
                print(f"{row['title']:<30}{cells}  {row['received']} of {row['expected']}  {row.get('versions', '')}")
    last = f", chunk {options.chunks.split(',')[-1]}"
    shown = {name.removesuffix(last): ages for name, ages in curves.items() if name.endswith(last)}
    title = f"Sample pushed to prediction received, hop {options.hop}{last}"
    replace_file(options.out, standalone(distributions(shown, title), title))
    replace_file(options.out.with_suffix(".json"), json.dumps(report, indent=1) + "\n")
    print(f"Saved {options.out} and {options.out.with_suffix('.json')}")


if __name__ == "__main__":
    main()
