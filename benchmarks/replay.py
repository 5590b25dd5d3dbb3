"""``mindwire replay`` of a long recording: how many times faster than real time, in how much memory, and how equal.

    python benchmarks/replay.py [RECORDING.xdf …] [--model BUNDLE] [--hours 1] [--hop 10] [--rounds 5] [--json FILE]

Without recordings noise of the bundle's channels is used. The recordings are repeated until they make one of the length asked for, in an XDF file as LabRecorder writes it:
chunks of half a second, a stamp on every second sample. Measured is the whole command, from the start of its
process to its end, reading the file and writing the table of predictions included; beside the time that passed stands
the processor's, which a busy machine stretches less. In turn with it a loop decodes some windows of the same recording
one by one with the network in eager PyTorch; what the loop would take for all windows is compared. At last the table is held against the live decoder's, hop by hop. Linux only.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import numpy as np

from mindwire.bench.processes import compile_packages
from mindwire.inference.decoder import probabilities
from mindwire.inference.load import load_decoder
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.sources.xdf import XdfRecording
from mindwire.sources.xdf_chunks import BOUNDARY_UUID, MAGIC, Tag
from mindwire.types import Window
from mindwire_models.bundle import Bundle, load_bundle
from mindwire_models.contract import Contract
from mindwire_models.zoo import zoo_bundle_path

_CHUNK_SECONDS = 0.5
_OFFSET_EVERY, _BOUNDARY_EVERY = 10, 20  # chunks
_EAGER_WINDOWS = 200
_POLL_SECONDS = 0.02


def write_chunk(file: IO[bytes], tag: Tag, content: bytes, stream_id: int | None = None) -> None:
    """One chunk of an XDF file."""
    body = struct.pack("<H", tag) + (b"" if stream_id is None else struct.pack("<I", stream_id)) + content
    file.write(b"\x04" + struct.pack("<I", len(body)) + body)


def sample_content(values: np.ndarray, times: np.ndarray) -> bytes:
    """Samples of one chunk, every second one with a stamp."""
    raw = values.view(np.uint8).reshape(len(values), -1)
    parts = [b"\x04" + struct.pack("<I", len(values))]
    for index, row in enumerate(raw):
        parts += [b"\x00"] if index % 2 else [b"\x08", struct.pack("<d", times[index])]
        parts.append(row.tobytes())
    return b"".join(parts)


def write_recording(path: Path, sources: list[Path], hours: float) -> float:
    """The sources' signals one behind the other, again and again; returns its seconds."""
    signals = [XdfRecording(source).signal() for source in sources]
    info = signals[0].info
    header = next(s.header for s in XdfRecording(sources[0]).streams if not s.is_markers)
    dtype = {"float32": "<f4", "double64": "<f8"}[info.dtype]
    runs = [np.concatenate([chunk.samples for chunk in signal.chunks()]).astype(dtype) for signal in signals]
    return write_signal(path, header, runs, info.sfreq, hours)


def write_noise(path: Path, contract: Contract, hours: float) -> float:
    """Write noise of a contract's channels and return its duration in seconds."""
    import pylsl

    info = pylsl.StreamInfo("Noise", "EEG", contract.n_channels, contract.sfreq, "float32", "noise")
    channels = info.desc().append_child("channels")
    for label in contract.channels:
        channel = channels.append_child("channel")
        channel.append_child_value("label", label)
        channel.append_child_value("unit", contract.unit)
    rng = np.random.default_rng(0)
    noise = (rng.standard_normal((round(300 * contract.sfreq), contract.n_channels)) * 20).astype("<f4")
    return write_signal(path, info.as_xml(), [noise], contract.sfreq, hours)


def write_signal(path: Path, header: str, runs: list[np.ndarray], sfreq: float, hours: float) -> float:
    """Write runs of samples in turn until the file is long enough, and return its duration in seconds."""
    samples, size, written = round(hours * 3600 * sfreq), round(_CHUNK_SECONDS * sfreq), 0
    with path.open("wb") as file:
        file.write(MAGIC)
        write_chunk(file, Tag.FILE_HEADER, b"<?xml version='1.0'?><info><version>1.0</version></info>")
        write_chunk(file, Tag.STREAM_HEADER, header.encode(), 1)
        pieces = (run[at : at + size] for run in itertools.cycle(runs) for at in range(0, len(run), size))
        for number, piece in enumerate(pieces):
            values = np.ascontiguousarray(piece[: samples - written])
            times = 1000.0 + (written + np.arange(len(values))) / sfreq
            write_chunk(file, Tag.SAMPLES, sample_content(values, times), 1)
            written += len(values)
            if number % _OFFSET_EVERY == 0:
                write_chunk(file, Tag.CLOCK_OFFSET, struct.pack("<dd", times[-1], 0.0), 1)
            if number % _BOUNDARY_EVERY == 0:
                write_chunk(file, Tag.BOUNDARY, BOUNDARY_UUID)
            if written == samples:
                break
        write_chunk(file, Tag.STREAM_FOOTER, f"<info><sample_count>{written}</sample_count></info>".encode(), 1)
    return written / sfreq


def run_command(recording: Path, model: Path, hop: int, out: Path) -> dict[str, float]:
    """The whole command: seconds it took and of the processor, its peak of resident memory, what it says itself."""
    command = [str(Path(sys.executable).with_name("mindwire")), "replay", str(recording)]
    command += ["--model", str(model), "--hop", str(hop), "--out", str(out)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        peak = 0
        while process.poll() is None:
            # Not the usage of an ended child: that contains what its parent held when it was started.
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM"):
                    peak = max(peak, int(line.split()[1]))
            time.sleep(_POLL_SECONDS)
        wall = time.perf_counter() - begin
        said = process.stdout.read() if process.stdout else ""
    if process.returncode:
        sys.exit(f"The command failed: {said}")
    inside = float(said.partition(" s in ")[2].partition(" s,")[0])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": wall, "cpu_seconds": cpu, "inside_seconds": inside, "peak_mb": peak / 1024}


def live(bundle: Bundle, recording: Path, hop: int) -> tuple[list[Window], np.ndarray]:
    """Some windows of the recording, and all probabilities as the live decoder gives them, hop by hop."""
    signal = XdfRecording(recording).signal()
    pipeline = Pipeline(bundle.contract, signal.info, load_decoder(bundle), PipelineOptions(hop_samples=hop))
    windows: list[Window] = []
    found = []
    for chunk in signal.chunks():
        for window in pipeline.advance(chunk):
            if len(windows) < _EAGER_WINDOWS:
                windows.append(window)
            logits = pipeline.decoder.decode([pipeline.session], [window])
            found.append(probabilities(logits, bundle.contract.temperature)[0])
    found += [prediction.probabilities for prediction in pipeline.finish()]
    return windows, np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", nargs="*", type=Path)
    parser.add_argument("--model", type=Path, default=zoo_bundle_path())
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--hop", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    import torch

    from mindwire_models.bundle import load_module

    torch.set_num_threads(1)
    compile_packages()
    bundle = load_bundle(options.model)
    network = load_module(bundle)
    with tempfile.TemporaryDirectory() as folder:
        recording, table = Path(folder) / "recording.xdf", Path(folder) / "predictions.csv"
        if options.recordings:
            duration = write_recording(recording, options.recordings, options.hours)
        else:
            duration = write_noise(recording, bundle.contract, options.hours)
        windows, expected = live(bundle, recording, options.hop)
        rounds = []
        for _ in range(options.rounds):
            found = run_command(recording, options.model, options.hop, table)
            begin, begin_cpu = time.perf_counter(), time.thread_time()
            with torch.inference_mode():
                for window in windows:
                    network(torch.from_numpy((window.samples @ window.alignment.T).T[None]))
            share = len(expected) / len(windows)
            found["eager_seconds"] = (time.perf_counter() - begin) * share
            found["eager_cpu_seconds"] = (time.thread_time() - begin_cpu) * share
            rounds.append(found)
            print({name: round(value, 2) for name, value in found.items()}, flush=True)
        with table.open(newline="") as file:
            rows = list(csv.reader(file))
    difference = float(np.abs(np.array([row[3:-2] for row in rows[1:]], dtype=float) - expected).max())
    report = {
        "model": bundle.name,
        "recorded_seconds": duration,
        "predictions": len(expected),
        "seconds": statistics.median(r["seconds"] for r in rounds),
        "best_seconds": min(r["seconds"] for r in rounds),
        "real_time": duration / statistics.median(r["seconds"] for r in rounds),
        "best_real_time": duration / min(r["seconds"] for r in rounds),
        "cpu_seconds": min(r["cpu_seconds"] for r in rounds),
        "eager_ratio": statistics.median(r["eager_seconds"] / r["seconds"] for r in rounds),
        "eager_cpu_ratio": statistics.median(r["eager_cpu_seconds"] / r["cpu_seconds"] for r in rounds),
        "peak_mb": max(r["peak_mb"] for r in rounds),
        "largest_difference": difference,
    }
    for name, value in report.items():
        print(f"{name:20} {value:.3g}" if isinstance(value, float) else f"{name:20} {value}")
    if options.json:
        options.json.write_text(json.dumps({**report, "rounds": rounds}, indent=2) + "\n")


if __name__ == "__main__":
    main()
