"""Metrics of all workers as one exposition; imported at the first scrape, so that no start waits for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mindwire.api.metrics import registry
from mindwire.serve.gateway.worker import Worker

_OF_PROCESS = "process_"


class WorkerCollector(Collector):
    """Metrics about the worker processes, with the number of each as label.

    Parameters
    ----------
    workers : sequence of Worker
    """

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        """Yield which of them run, and how often each was started again."""
        up = GaugeMetricFamily("mindwire_worker_up", "1 while the worker process runs.", labels=["worker"])
        restarts = CounterMetricFamily(
            "mindwire_worker_restarts", "Times the worker process was started again.", labels=["worker"]
        )
        for worker in self._workers:
            up.add_metric([str(worker.number)], float(worker.up))
            restarts.add_metric([str(worker.number)], worker.restarts)
        yield from (up, restarts)


def exposition(workers: Sequence[Worker], answers: Mapping[int, bytes]) -> bytes:
    """Return the metrics of the gateway and of all workers.

    Parameters
    ----------
    workers : sequence of Worker
    answers : mapping of int to bytes
        Exposition of each worker that answers, by its number; of the streams of the others the last known is shown.

    Returns
    -------
    bytes
        In the Prometheus text format: one block per metric, ``process_…`` of a worker as ``mindwire_worker_process_…``.
    """
    rest = {
        name: stream
        for worker in workers
        if worker.number not in answers
        for name, stream in worker.streams.items()
        if stream.described
    }
    blocks: dict[str, list[str]] = {}
    _add(generate_latest(registry(rest, WorkerCollector(workers))).decode(), blocks, None)
    for number, answer in sorted(answers.items()):
        _add(answer.decode(), blocks, number)
    return "".join(line for block in blocks.values() for line in block).encode()


def _add(text: str, blocks: dict[str, list[str]], worker: int | None) -> None:
    """Add each metric's block of lines; what comes first gives the description."""
    for block in text.split("# HELP ")[1:]:
        name = block.partition(" ")[0]
        if worker is not None and name.startswith("python_"):
            continue
        lines = f"# HELP {block}".splitlines(keepends=True)
        if worker is not None and name.startswith(_OF_PROCESS):
            described = [line.replace(f" {_OF_PROCESS}", f" mindwire_worker_{_OF_PROCESS}", 1) for line in lines[:2]]
            name = f"mindwire_worker_{name}"
            values = [line.split(" ", 1) for line in lines[2:]]
            lines = described + [f'mindwire_worker_{metric}{{worker="{worker}"}} {value}' for metric, value in values]
        if name in blocks:
            blocks[name] += [line for line in lines if not line.startswith("#")]
        else:
            blocks[name] = lines
