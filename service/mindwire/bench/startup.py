"""Start-up time and memory of the service."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from mindwire.bench.processes import Processes, compile_packages, memory_mib

_BARE = "import onnxruntime, fastapi, pylsl"


def start_up(model: Path, *, rounds: int) -> dict[str, float]:
    """Measure the time until the service listens, in turn with the import of the libraries it needs, and its waiting memory; medians."""
    compile_packages()
    ours, bare, memory = [], [], []
    for _ in range(rounds):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-P", "-c", _BARE], check=True)
        bare.append(time.perf_counter() - begin)
        with Processes() as processes:
            begin = time.perf_counter()
            service, _ = processes.serve("--model", model, "--stream", "name=absent")
            ours.append(time.perf_counter() - begin)
            time.sleep(1.0)
            memory.append(memory_mib(service.pid))
    return {
        "listening_s": statistics.median(ours),
        "bare_imports_s": statistics.median(bare),
        "ratio": statistics.median(one / other for one, other in zip(ours, bare, strict=True)),
        "waiting_memory_mib": statistics.median(memory),
    }
