"""Start-up, memory and replay: what is measured once and by itself."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from mindwire.bench.processes import Processes, compile_packages, memory_mib
from mindwire.inference.load import load_decoder
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.types import Chunk, SignalInfo
from mindwire_models.bundle import load_bundle

_BARE = "import onnxruntime, fastapi, pylsl"
_REPLAY_CHUNK_S = 10.0


def start_up(model: Path, *, rounds: int) -> dict[str, float]:
    """From the start of a process until the service listens, beside the import of what it stands on.

    Parameters
    ----------
    model : Path
    rounds : int
        Each is taken in turn so often; medians are told.

    Returns
    -------
    dict
        Seconds, their ratio, and the service's resident memory while it waits for its stream.
    """
    compile_packages()
    ours, bare, memory = [], [], []
    for _ in range(rounds):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-P", "-c", _BARE], check=True)
        bare.append(time.perf_counter() - begin)
        with Processes.temporary() as processes:
            begin = time.perf_counter()
            service, _ = processes.serve("--model", model, "--stream", "name=nobody")
            ours.append(time.perf_counter() - begin)
            time.sleep(1.0)
            memory.append(memory_mib(service.pid))
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    return {
        "listening_s": statistics.median(ours),
        "bare_imports_s": statistics.median(bare),
        "ratio": statistics.median(ratios),
        "waiting_memory_mib": statistics.median(memory),
    }


def replay_speed(model: Path, *, hop: int, minutes: float) -> dict[str, float]:
    """How many times faster than real time a signal in memory goes through pipeline and decoder.

    Parameters
    ----------
    model : Path
    hop : int
    minutes : float
        Length of the signal.

    Returns
    -------
    dict
    """
    bundle = load_bundle(model)
    law = bundle.contract
    info = SignalInfo("bench", "EEG", law.sfreq, law.n_channels, law.channels, (law.unit,) * law.n_channels)
    n = int(_REPLAY_CHUNK_S * law.sfreq)
    samples = (np.random.default_rng(0).standard_normal((n, law.n_channels)) * 20).astype(np.float32)
    pipeline = Pipeline(law, info, load_decoder(bundle), PipelineOptions(hop_samples=hop))
    begin, count = time.perf_counter(), 0
    chunks = max(1, round(minutes * 60 / _REPLAY_CHUNK_S))
    for index in range(chunks):
        count += len(pipeline.process(Chunk(samples, (np.arange(n) + index * n) / law.sfreq)))
    spent = time.perf_counter() - begin
    return {"times_real_time": chunks * _REPLAY_CHUNK_S / spent, "windows_per_second": count / spent, "seconds": spent}
