"""Streams that search at the same time, over real LSL: those that are absent harm no other."""

from __future__ import annotations

from contextlib import ExitStack

from mindwire.live.loop import LiveLoop
from mindwire.live.supervisor import Supervisor
from mindwire.sources import lsl_discovery
from mindwire.sources.lsl_discovery import Selector
from mindwire.status import StreamState
from tests.support.lsl_cap import Cap
from tests.support.streaming import eventually, make_stream, unique

PRESENT, ABSENT = 4, 8


def test_absent_streams_keep_no_other_from_being_found_and_all_share_one_search(monkeypatch):
    asked = []
    resolver = lsl_discovery.pylsl.ContinuousResolver
    monkeypatch.setattr(
        lsl_discovery.pylsl, "ContinuousResolver", lambda pred=None: asked.append(pred) or resolver(pred=pred)
    )
    loop, name = LiveLoop(), unique("cap")
    selectors = [Selector(name=unique("none")) for _ in range(ABSENT)]
    selectors += [Selector(source_id=f"{name}-{index}") for index in range(PRESENT - 1)]
    selectors += [Selector(predicate=f"starts-with(name,'{name}') and source_id='{name}-{PRESENT - 1}'")]
    streams = [make_stream(selector, name=f"stream-{index}", loop=loop)[0] for index, selector in enumerate(selectors)]
    absent, present = streams[:ABSENT], streams[ABSENT:]
    supervisor = Supervisor(streams, on_refused=lambda *_: None)

    def live() -> bool:
        return all(stream.state is StreamState.LIVE for stream in present)

    with ExitStack() as stack:
        caps = [stack.enter_context(Cap(name, source_id=f"{name}-{index}")) for index in range(PRESENT)]
        supervisor.start()
        try:
            eventually(live, 30, "the streams that are there are live")
            eventually(lambda: all("No stream matches" in stream.reason for stream in absent), 30)
            assert all(f"{name}-0" in stream.reason for stream in absent)
            caps[0].kill()
            eventually(lambda: present[0].state is StreamState.SEARCHING, 30)
            caps[0].start()
            eventually(live, 30, "the one that came back is live")
            assert present[0].counters.reconnects == 1
        finally:
            assert supervisor.stop(10)
    # one question about streams that can be read, one with the predicate, one about all
    assert len(set(asked)) == 3
