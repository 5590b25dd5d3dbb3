"""Metrics of all workers as one exposition; imported at the first scrape, so that no start waits for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

from mindwire.api.metrics import block, exposition
from mindwire.api.streams import Streams
from mindwire.serve.gateway.worker import Worker


def merged(workers: Sequence[Worker], answers: Sequence[bytes | None], others: Iterable[str] = ()) -> bytes:
    """Return the metrics of the gateway and of all workers.

    Parameters
    ----------
    workers : sequence of Worker
    answers : sequence of bytes or None
        Exposition of each worker; of the streams of one that does not answer, the last known is shown.
    others : iterable of str
        Blocks of the service as a whole.

    Returns
    -------
    bytes
        In the Prometheus text format: one block per metric, ``process_…`` of a worker as ``mindwire_worker_process_…``.
        Of a worker's own metrics only these are shown, and those of its streams.
    """
    lost = {
        name: one
        for worker, answer in zip(workers, answers, strict=True)
        if answer is None
        for name, one in worker.streams.items()
    }
    blocks: dict[str, list[str]] = {}
    up = [((str(worker.number),), worker.address is not None) for worker in workers]
    restarts = [((str(worker.number),), worker.restarts) for worker in workers]
    text = "Times the worker process was started again."
    own = [
        block("gauge", "worker_up", "1 while the worker process runs.", ("worker",), up),
        block("counter", "worker_restarts", text, ("worker",), restarts),
    ]
    _add(exposition(cast("Streams", lost), [*own, *others]), blocks)
    for worker, answer in zip(workers, answers, strict=True):
        if answer is not None:
            _add(answer, blocks, worker.number)
    return "".join(line for block in blocks.values() for line in block).encode()


def _add(text: bytes, blocks: dict[str, list[str]], worker: int | None = None) -> None:
    """Add each metric's block of lines; what comes first gives the description."""
    for one in text.decode().split("# HELP ")[1:]:
        name = one.partition(" ")[0]
        lines = f"# HELP {one}".splitlines(keepends=True)
        head, values = lines[:2], lines[2:]
        if worker is not None and name.startswith("process_"):
            head = [line.replace(name, f"mindwire_worker_{name}", 1) for line in head]
            pairs = [line.split(" ", 1) for line in values]
            values = [f'mindwire_worker_{metric}{{worker="{worker}"}} {value}' for metric, value in pairs]
            name = f"mindwire_worker_{name}"
        elif worker is not None:
            values = [line for line in values if '{stream="' in line]
            if not values:
                continue
        blocks.setdefault(name, head).extend(values)
