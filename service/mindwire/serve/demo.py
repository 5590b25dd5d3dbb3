"""The demonstration: a simulated participant in a process of its own, and the service that decodes it, on loopback only."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection

from mindwire.config import Settings
from mindwire.errors import ServiceError
from mindwire.live.stream import Stream
from mindwire.sources.loopback import lsl_on_loopback
from mindwire.status import Sink
from mindwire_models.interrupts import children_without_interrupts

STREAM = "demo"
_START_S = 30.0


@contextmanager
def _lsl_on_loopback() -> Iterator[None]:
    """Confine LSL to this machine and this demonstration, unless the user configured LSL.

    It would otherwise multicast off this machine, and find, or be found by, another demonstration.
    """
    if "LSLAPICFG" in os.environ:
        yield
        return
    with lsl_on_loopback(f"mindwire-demo-{os.getpid()}"):  # the participant's process inherits it
        yield


def source_id() -> str:
    """Return the ``source_id`` of this process's simulated participant."""
    return f"mindwire-demo-{os.getpid()}"


def run_demo(
    settings: Settings,
    seed: int,
    *,
    announce: Callable[[str], None],
    view: Callable[[Mapping[str, Stream]], AbstractContextManager[Sink]],
) -> None:
    """Simulate a participant and serve predictions, until a signal stops the service.

    Parameters
    ----------
    settings : Settings
        Their stream is found by :func:`source_id`.
    seed : int
        Of the participant.
    announce : callable
        Takes lines for the terminal.
    view : callable
        Given the streams, returns a context whose sink shows their predictions.

    Raises
    ------
    MindwireError
        As :func:`mindwire.serve.service.serve`, or the simulated participant did not start.
    """

    @contextmanager
    def alongside(streams: Mapping[str, Stream]) -> Iterator[None]:
        stream = streams[STREAM]
        with view(streams) as sink:
            stream.reporter.add_sink(sink)
            yield

    with _lsl_on_loopback(), simulated_person(seed, source_id()):
        from mindwire.serve.service import serve

        serve(settings, announce=announce, alongside=alongside)


@contextmanager
def simulated_person(seed: int, identity: str) -> Iterator[int]:
    """Run a process with the simulator's outlets while the context lasts; yield its process id.

    Parameters
    ----------
    seed : int
        Of the participant.
    identity : str
        ``source_id`` of the EEG outlet; the cues' is that with ``-markers``.

    Raises
    ------
    ServiceError
        The process did not start.
    """
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_simulate, args=(seed, identity, theirs), name="simulated-person", daemon=True)
    with children_without_interrupts():
        process.start()
    theirs.close()
    try:
        if not (ours.poll(_START_S) and _received(ours)):
            msg = "The simulator's process ended before it began; run 'mindwire simulate' to see why."
            raise ServiceError(msg)
        yield process.pid or 0
    finally:
        ours.close()
        process.join(2.0)
        if process.is_alive():
            process.kill()
            process.join()


def _received(pipe: Connection) -> bool:
    try:
        pipe.recv()
    except (EOFError, OSError):
        return False
    return True


def _simulate(seed: int, identity: str, pipe: Connection) -> None:
    """Run the participant's process; it ends when the other end of the pipe is closed, also by a crash."""
    from mindwire.sources.simulator import Simulator
    from mindwire.sources.simulator_outlets import SimulatorOutlets, drive

    stop = threading.Event()

    def wait_for_the_end() -> None:
        while _received(pipe):
            pass
        stop.set()

    person = SimulatorOutlets(Simulator(seed, name="Mindwire-Demo"), source_id=identity)
    threading.Thread(target=wait_for_the_end, daemon=True).start()
    try:
        pipe.send("ready")
    except OSError:  # the demonstration has ended meanwhile
        return
    drive([person], stop)
