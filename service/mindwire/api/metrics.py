"""Prometheus metrics, read from the streams' status at the moment of the scrape; the hot path counts nothing twice.

The text is written here, because prometheus-client takes 45 ms of processor time for the 8,000 lines of 75 streams, in the
process that decodes them, and this takes 11 ms for 11,000.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Literal

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest

from mindwire import __version__
from mindwire.api import audit
from mindwire.api.streams import Streams
from mindwire.live.latency import BUCKETS_MS, Histogram
from mindwire.sinks.hub import PredictionHub
from mindwire.status import StreamState, StreamStatus
from mindwire.types import INVALID, Reason

Sample = tuple[tuple[str, ...], float]  # values of the labels, and the metric's own

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
    "hung": "1 while the live loop of the stream hangs.",
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
_ADAPTATION = {
    "ready": "1 once the alignment is estimated.",
    "frozen": "1 while the alignment does not adapt.",
    "drift": "Riemannian distance of the alignment from where it first was ready.",
    "alarm": "1 once two minutes of rest were not learnt from.",
}
_DECODER_ADAPTATION = {
    "steps": "Steps of adaptation of the decoder.",
    "drift": "Divergence of the decoder's statistics from the bundle's.",
}
_SWAPS = ("swapped", "refused", "dropped", "rolled_back")
_VERDICTS: tuple[Literal["ok", "suspect", "bad"], ...] = ("ok", "suspect", "bad")
_EFFECTS = {reason: "invalid" if reason & INVALID else "suspect" for reason in Reason if reason}
_BOUNDS = [*(repr(bound / 1000) for bound in BUCKETS_MS), "+Inf"]


def exposition(streams: Streams, others: Iterable[str] = ()) -> bytes:
    """Return the metrics of streams, of the process, and blocks of whatever else there is, in the Prometheus text format."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return "".join([generate_latest(registry).decode(), *_stream_blocks(streams), *others]).encode()


def service_blocks() -> Iterator[str]:
    """Yield the metrics of the service as a whole."""
    yield block("gauge", "build_info", "Version of the software.", ("version",), [((__version__,), 1)])
    counts = [((reason,), n) for reason, n in audit.refusals.items()]
    yield block("counter", "refusals", "Requests and connections refused.", ("reason",), counts)
    counts = [((what,), n) for what, n in audit.changes.items()]
    yield block("counter", "changes", "Requests that have changed something.", ("what",), counts)


def block(
    kind: Literal["counter", "gauge"], name: str, text: str, labels: Sequence[str], samples: Iterable[Sample]
) -> str:
    """Return the lines of one metric; ``_total`` is appended to a counter's name."""
    name = f"mindwire_{name}{'_total' if kind == 'counter' else ''}"
    lines = [_head(name, kind, text)]
    lines += [f"{name}{{{_labels(labels, values)}}} {float(value)!r}\n" for values, value in samples]
    return "".join(lines)


def _stream_blocks(streams: Streams) -> Iterator[str]:
    seen = [stream.status() for stream in streams.values()]
    for name, text in _COUNTERS.items():
        yield _of_streams("counter", name, text, {s.name: getattr(s.counters, name) for s in seen})
    for name, text in _GAUGES.items():
        yield _of_streams("gauge", name, text, {s.name: getattr(s, name) for s in seen})
    states = [((s.name, state.value), state is s.state) for s in seen for state in StreamState]
    yield block("gauge", "state", "1 for the stream's current state.", ("stream", "state"), states)
    models = [((s.name, m.name, m.sha256, m.engine, m.device), 1) for s in seen for m in (s.model,)]
    yield block("gauge", "model_info", "The model in use.", ("stream", "model", "sha256", "engine", "device"), models)
    hops = {s.name: s.hop_samples / s.sfreq for s in seen}
    yield _of_streams("gauge", "hop_seconds", "Seconds of signal between two predictions.", hops)
    yield from _counted_blocks(seen)
    yield from _state_blocks(seen)
    # those of another process, which does not answer, have another hub
    here = {name: one for name, one in streams.items() if isinstance(one.hub, PredictionHub)}
    clients = [((name, "predictions"), one.hub.n_clients) for name, one in here.items()]
    clients += [((name, "signal"), one.hub.n_viewers) for name, one in here.items()]
    yield block("gauge", "websocket_clients", "Connected websocket clients.", ("stream", "feed"), clients)
    for name, text in _SENT.items():
        counts = {stream: getattr(one.hub, name) for stream, one in here.items()}
        yield _of_streams("counter", f"websocket_{name}", text, counts)
    stages = [((name, stage), one) for name, stream in here.items() for stage, one in stream.latency.stages.items()]
    yield _histogram("latency_seconds", "Time a prediction spent per stage.", ("stream", "stage"), stages)
    text = "Age of the newest sample of a prediction when it was published."
    yield _histogram("data_age_seconds", text, ("stream",), [((name,), one.latency.age) for name, one in here.items()])


def _counted_blocks(seen: Sequence[StreamStatus]) -> Iterator[str]:
    reasons = [
        ((s.name, label, effect), s.counters.reasons.get(label, 0))
        for label, effect in ((reason.labels[0], effect) for reason, effect in _EFFECTS.items())
        for s in seen
    ]
    text = "Predictions by each reason against them; suspect ones are valid."
    yield block("counter", "prediction_reasons", text, ("stream", "reason", "effect"), reasons)
    events = [((s.name, kind), n) for s in seen for kind, n in s.counters.events.items()]
    yield block("counter", "events", "Events reported.", ("stream", "kind"), events)
    swaps = [((s.name, key), n) for s in seen for key, n in (dict.fromkeys(_SWAPS, 0) | {**s.counters.swaps}).items()]
    yield block("counter", "model_swaps", "Steps of model swaps by result.", ("stream", "result"), swaps)
    controls = [(s.name, s.control) for s in seen if s.control is not None]
    decisions = [((name, label), n) for name, control in controls for label, n in control.decisions.items()]
    yield block("counter", "decisions", "Decisions of the control policy.", ("stream", "class"), decisions)
    since = {name: control.last.age_s for name, control in controls if control.last is not None}
    yield _of_streams("gauge", "seconds_since_decision", "Seconds since the last decision.", since)
    paused = {name: control.paused for name, control in controls}
    yield _of_streams("gauge", "control_paused", "1 while the control policy is paused.", paused)


def _state_blocks(seen: Sequence[StreamStatus]) -> Iterator[str]:
    recorded = {s.name: s.recording is not None for s in seen if s.to_record}
    text = "1 while a recording is written, 0 while it is not although it should be."
    yield _of_streams("gauge", "recording", text, recorded)
    for prefix, about in (("adaptation", _ADAPTATION), ("decoder_adaptation", _DECODER_ADAPTATION)):
        states = {s.name: getattr(s, prefix) for s in seen}
        for name, text in about.items():
            values = {stream: getattr(state, name, None) for stream, state in states.items()}
            yield _of_streams("gauge", f"{prefix}_{name}", text, values)
    verdicts = {s.name: Counter(channel.verdict for channel in s.quality) for s in seen}
    channels = [((stream, each), counts[each]) for stream, counts in verdicts.items() for each in _VERDICTS]
    yield block("gauge", "channels", "Channels of the signal by quality.", ("stream", "verdict"), channels)


def _of_streams(
    kind: Literal["counter", "gauge"], name: str, text: str, values: Mapping[str, float | bool | None]
) -> str:
    """Return the lines of a metric with one value per stream, of those that have it."""
    return block(kind, name, text, ("stream",), [((s,), value) for s, value in values.items() if value is not None])


def _histogram(
    name: str, text: str, labels: Sequence[str], samples: Iterable[tuple[tuple[str, ...], Histogram]]
) -> str:
    name = f"mindwire_{name}"
    lines = [_head(name, "histogram", text)]
    for values, histogram in samples:
        named = _labels(labels, values)
        counts = list(accumulate(tuple(histogram.counts)))
        lines += [
            f'{name}_bucket{{{named},le="{bound}"}} {count}.0\n' for bound, count in zip(_BOUNDS, counts, strict=True)
        ]
        lines.append(
            f"{name}_count{{{named}}} {counts[-1]}.0\n{name}_sum{{{named}}} {float(histogram.total_ms) / 1000!r}\n"
        )
    return "".join(lines)


def _head(name: str, kind: str, text: str) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _labels(names: Sequence[str], values: Sequence[Any]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))


def _escaped(value: str) -> str:
    """Return the value of a label as the text format has it."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
