"""Metrics of all workers as one exposition; imported at the first scrape, so that no start waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from mindwire.api.metrics import exposition, family
from mindwire.api.streams import Streams
from mindwire.serve.gateway.worker import Worker


def merged(workers: Sequence[Worker], answers: Sequence[bytes | None]) -> bytes:
    """Return the metrics of the gateway and of all workers.

    Parameters
    ----------
    workers : sequence of Worker
    answers : sequence of bytes or None
        Exposition of each worker; of the streams of one that does not answer, the last known is shown.

    Returns
    -------
    bytes
        In the Prometheus text format: one block per metric, ``process_…`` of a worker as ``mindwire_worker_process_…``.
    """
    lost = {
        name: one
        for worker, answer in zip(workers, answers, strict=True)
        if answer is None
        for name, one in worker.streams.items()
    }
    blocks: dict[str, list[str]] = {}
    up = [(str(worker.number), worker.address is not None) for worker in workers]
    restarts = [(str(worker.number), worker.restarts) for worker in workers]
    text = "Times the worker process was started again."
    others = [
        family(GaugeMetricFamily, "worker_up", "1 while the worker process runs.", up, ("worker",)),
        family(CounterMetricFamily, "worker_restarts", text, restarts, ("worker",)),
    ]
    _add(exposition(cast("Streams", lost), others), blocks)
    for worker, answer in zip(workers, answers, strict=True):
        if answer is not None:
            _add(answer, blocks, worker.number)
    return "".join(line for block in blocks.values() for line in block).encode()


def _add(text: bytes, blocks: dict[str, list[str]], worker: int | None = None) -> None:
    """Add each metric's block of lines; what comes first gives the description."""
    for block in text.decode().split("# HELP ")[1:]:
        name = block.partition(" ")[0]
        lines = f"# HELP {block}".splitlines(keepends=True)
        if worker is not None and name.startswith("python_"):
            continue
        if worker is not None and name.startswith("process_"):
            described = [line.replace(name, f"mindwire_worker_{name}", 1) for line in lines[:2]]
            values = [line.split(" ", 1) for line in lines[2:]]
            lines = described + [f'mindwire_worker_{metric}{{worker="{worker}"}} {value}' for metric, value in values]
            name = f"mindwire_worker_{name}"
        blocks.setdefault(name, lines[:2]).extend(lines[2:])
