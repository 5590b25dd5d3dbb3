"""Prometheus metrics, read from the streams' status at the moment of the scrape; the hot path counts nothing twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from mindwire.api.streams import Streams
from mindwire.sinks.hub import BUCKETS_MS, PredictionHub
from mindwire.status import StreamState

_COUNTERS = {
    "samples": "Samples received from the source.",
    "predictions": "Predictions published.",
    "valid": "Predictions published that may be believed.",
    "skipped": "Windows that fell due but were not decoded, to stay fresh.",
    "gaps": "Gaps in the signal.",
    "reconnects": "Times the source was lost and found again.",
    "restarts": "Times the stream's thread was restarted.",
}
_GAUGES = {
    "ready": "1 while predictions are fresh.",
    "drift_ppm": "Drift of the source's clock in parts per million.",
    "clock_offset_s": "Seconds to add to the source's clock for ours.",
    "effective_rate": "Measured sampling rate in hertz.",
    "last_prediction_age_s": "Seconds since the last prediction.",
    "loop_load": "Share of its time in which the live loop of the stream works; above 0.8 predictions come late.",
}
_SENT = {
    "sent": "Messages handed to websocket clients.",
    "dropped": "Messages that slow websocket clients missed.",
}
_MODEL = ("name", "sha256", "engine", "device")


class StreamCollector(Collector):
    """Turns the streams' status into metrics."""

    def __init__(self, streams: Streams, others: Iterable[Metric]) -> None:
        self._streams = streams
        self._others = others

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics of all streams."""
        seen = [stream.status() for stream in self._streams.values()]
        for name, text in _COUNTERS.items():
            yield family(CounterMetricFamily, name, text, [(s.name, getattr(s.counters, name)) for s in seen])
        for name, text in _GAUGES.items():
            known = [(s.name, value) for s in seen if (value := getattr(s, name)) is not None]
            yield family(GaugeMetricFamily, name, text, known)
        states = [(s.name, state.value, state is s.state) for s in seen for state in StreamState]
        yield family(GaugeMetricFamily, "state", "1 for the stream's current state.", states, ("stream", "state"))
        models = [(s.name, *(getattr(s.model, field) for field in _MODEL), 1) for s in seen]
        yield family(GaugeMetricFamily, "model_info", "The model in use.", models, ("stream", "model", *_MODEL[1:]))
        controls = [(s.name, s.control) for s in seen if s.control is not None]
        decisions = [(name, label, n) for name, control in controls for label, n in control.decisions.items()]
        text = "Decisions of the control policy."
        yield family(CounterMetricFamily, "decisions", text, decisions, ("stream", "class"))
        since = [(name, control.last.age_s) for name, control in controls if control.last is not None]
        yield family(GaugeMetricFamily, "seconds_since_decision", "Seconds since the last decision.", since)
        # those of another process, which does not answer, have another hub
        hubs = {name: one.hub for name, one in self._streams.items() if isinstance(one.hub, PredictionHub)}
        clients = [(name, "predictions", hub.n_clients) for name, hub in hubs.items()]
        clients += [(name, "signal", hub.n_viewers) for name, hub in hubs.items()]
        text = "Connected websocket clients."
        yield family(GaugeMetricFamily, "websocket_clients", text, clients, ("stream", "feed"))
        for name, text in _SENT.items():
            counts = [(stream, getattr(hub, name)) for stream, hub in hubs.items()]
            yield family(CounterMetricFamily, f"websocket_{name}", text, counts)
        text = "Time a prediction spent per stage."
        stages = HistogramMetricFamily("mindwire_latency_seconds", text, labels=["stream", "stage"])
        bounds = [*(str(bound / 1000) for bound in BUCKETS_MS), "+Inf"]
        for name, hub in hubs.items():
            for stage, histogram in hub.latency.items():
                buckets = list(zip(bounds, map(float, accumulate(tuple(histogram.counts))), strict=True))
                stages.add_metric([name, stage], buckets, histogram.total_ms / 1000)
        yield stages
        yield from self._others


def family(
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily],
    name: str,
    text: str,
    samples: Iterable[tuple[Any, ...]],
    labels: Sequence[str] = ("stream",),
) -> Metric:
    """Return a metric; each sample is the values of its labels and its own."""
    metric = kind(f"mindwire_{name}", text, labels=labels)
    for *named, value in samples:
        metric.add_metric(named, float(value))
    return metric


def exposition(streams: Streams, others: Iterable[Metric] = ()) -> bytes:
    """Return the metrics of streams, of the process, and of whatever else there is, in the Prometheus text format."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(StreamCollector(streams, others))
    return generate_latest(registry)
