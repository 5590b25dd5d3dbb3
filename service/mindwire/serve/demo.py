"""The demonstration: a simulated participant who steers, in a process of its own, and the service that decodes, on loopback only."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection

from mindwire.config import Settings
from mindwire.errors import ServiceError
from mindwire.live.stream import Stream
from mindwire.sources.loopback import lsl_on_loopback
from mindwire.status import Sink
from mindwire_models.interrupts import children_without_interrupts

STREAM = "demo"
_START_S = 30.0


def source_id() -> str:
    """Return the ``source_id`` of this process's simulated participant."""
    return f"mindwire-demo-{os.getpid()}"


def run_demo(
    settings: Settings,
    seed: int,
    *,
    announce: Callable[[str], None],
    view: Callable[[Stream], AbstractContextManager[Sink]],
) -> None:
    """Simulate a participant and serve predictions, until a signal stops the service.

    The stream of the settings is found by :func:`source_id`; the sink of the context ``view`` shows its predictions.

    Raises
    ------
    MindwireError
        As :func:`mindwire.serve.service.serve`, or the simulated participant did not start.
    """

    @contextmanager
    def alongside(streams: Mapping[str, Stream]) -> Iterator[None]:
        stream = streams[STREAM]
        with view(stream) as sink:
            stream.reporter.add_sink(sink)
            yield

    with ExitStack() as stack:
        if "LSLAPICFG" not in os.environ:  # else demonstrations would find each other, and multicast off this machine
            stack.enter_context(lsl_on_loopback(source_id()))  # which the participant's process inherits
        stack.enter_context(_simulated_person(seed))
        from mindwire.serve.service import serve

        serve(settings, announce=announce, alongside=alongside)


@contextmanager
def _simulated_person(seed: int) -> Iterator[None]:
    """Run a process with the simulator's outlets while the context lasts."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_simulate, args=(seed, source_id(), theirs), name="simulated-person", daemon=True)
    with children_without_interrupts():
        process.start()
    theirs.close()
    try:
        try:
            begun = ours.poll(_START_S) and ours.recv()
        except EOFError:
            begun = False
        if not begun:
            msg = "The simulator's process ended before it began; run 'mindwire simulate' to see why."
            raise ServiceError(msg)
        yield
    finally:
        process.kill()
        process.join()


def _simulate(seed: int, identity: str, pipe: Connection) -> None:
    """Run the participant's process; it ends with its parent, also by a crash."""
    from mindwire.sources.simulator import Simulator
    from mindwire.sources.simulator_outlets import DecisionInlet, SimulatorOutlets, drive
    from mindwire.sources.steering import SteeringParticipant

    steering = SteeringParticipant(seed)
    simulator = Simulator(seed, name="Mindwire-Demo", intention=steering)
    person = SimulatorOutlets(simulator, source_id=identity, steering=(steering, DecisionInlet(STREAM)))
    stop = threading.Event()
    threading.Thread(target=_set_at_the_parents_end, args=(stop,), daemon=True).start()
    with suppress(OSError):  # the demonstration has ended meanwhile
        pipe.send("begun")
    drive([person], stop)


def _set_at_the_parents_end(stop: threading.Event) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    stop.set()
