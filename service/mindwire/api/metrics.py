"""Prometheus metrics, read from the streams' status at the moment of the scrape; the hot path counts nothing twice."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from mindwire.api.streams import DescribedStream, Streams
from mindwire.sinks.hub import BUCKETS_MS, PredictionHub
from mindwire.status import StreamState, StreamStatus

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
    "drift_ppm": "Drift of the source's clock in parts per million.",
    "clock_offset_s": "Seconds to add to the source's clock for ours.",
    "effective_rate": "Measured sampling rate in hertz.",
    "last_prediction_age_s": "Seconds since the last prediction.",
    "loop_load": "Share of its time in which the live loop of the stream works; above 0.8 predictions come late.",
}


class StreamCollector(Collector):
    """Turns the streams' status into metrics.

    Parameters
    ----------
    streams : mapping of str to StreamLike
    """

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def collect(self) -> Iterator[Metric]:
        """All metrics of all streams."""
        seen = [(stream, stream.status()) for stream in self._streams.values()]
        yield from _counters(seen)
        yield from _gauges(seen)
        yield from _hubs(seen)


def registry(streams: Streams, *others: Collector) -> CollectorRegistry:
    """A registry of the service's own, with the streams, the process, and whatever else there is."""
    own = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=own)
    PlatformCollector(registry=own)
    for collector in (StreamCollector(streams), *others):
        own.register(collector)
    return own


_Seen = list[tuple[DescribedStream, StreamStatus]]


def _counters(seen: _Seen) -> Iterator[Metric]:
    for name, text in _COUNTERS.items():
        family = CounterMetricFamily(f"mindwire_{name}", text, labels=["stream"])
        for _, status in seen:
            family.add_metric([status.name], getattr(status.counters, name))
        yield family


def _gauges(seen: _Seen) -> Iterator[Metric]:
    state = GaugeMetricFamily("mindwire_state", "1 for the stream's current state.", labels=["stream", "state"])
    ready = GaugeMetricFamily("mindwire_ready", "1 while predictions are fresh.", labels=["stream"])
    model = GaugeMetricFamily(
        "mindwire_model_info", "The model in use.", labels=["stream", "model", "sha256", "engine", "device"]
    )
    for stream, status in seen:
        for each in StreamState:
            state.add_metric([status.name, each.value], float(each is status.state))
        ready.add_metric([status.name], float(stream.ready))
        used = status.model
        model.add_metric([status.name, used.name, used.sha256, used.engine, used.device], 1.0)
    yield from (state, ready, model)
    for name, text in _GAUGES.items():
        family = GaugeMetricFamily(f"mindwire_{name}", text, labels=["stream"])
        for _, status in seen:
            value = getattr(status, name)
            if value is not None:
                family.add_metric([status.name], value)
        yield family


def _hubs(seen: _Seen) -> Iterator[Metric]:
    clients = GaugeMetricFamily("mindwire_websocket_clients", "Connected websocket clients.", labels=["stream", "feed"])
    sent = CounterMetricFamily("mindwire_websocket_sent", "Messages handed to websocket clients.", labels=["stream"])
    dropped = CounterMetricFamily(
        "mindwire_websocket_dropped", "Messages that slow websocket clients missed.", labels=["stream"]
    )
    stages = HistogramMetricFamily(
        "mindwire_latency_seconds", "Time a prediction spent per stage.", labels=["stream", "stage"]
    )
    for stream, status in seen:
        hub = getattr(stream, "hub", None)
        if not isinstance(hub, PredictionHub):  # another process has it, and does not answer
            continue
        clients.add_metric([status.name, "predictions"], hub.n_clients)
        clients.add_metric([status.name, "signal"], hub.n_viewers)
        sent.add_metric([status.name], hub.sent)
        dropped.add_metric([status.name], hub.dropped)
        for stage, histogram in hub.latency.items():
            total = 0
            buckets = []
            for bound, count in zip((*BUCKETS_MS, None), tuple(histogram.counts), strict=True):
                total += count
                buckets.append(("+Inf" if bound is None else str(bound / 1000), float(total)))
            stages.add_metric([status.name, stage], buckets, histogram.total_ms / 1000)
    yield from (clients, sent, dropped, stages)
