"""The demonstration: a simulated person in a process of its own, and the service that decodes it, on loopback only."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from mindwire.config import Settings
from mindwire.errors import ServiceError
from mindwire.live.stream import Stream
from mindwire.status import Sink
from mindwire_models.interrupts import children_without_interrupts

STREAM = "demo"
_START_S = 30.0
# LSL would otherwise multicast off this machine, and find, or be found by, another person's demonstration.
_LSL_ON_LOOPBACK = """[ports]
IPv6 = disable
PortRange = 256
[multicast]
ResolveScope = machine
ListenAddress = 127.0.0.1
Interfaces = 127.0.0.1
[lab]
KnownPeers = {{127.0.0.1}}
SessionID = mindwire-demo-{process}
[log]
level = -3
"""


@contextmanager
def lsl_on_loopback() -> Iterator[None]:
    """Confine LSL to this machine and this demonstration; before the first LSL call, unless the user configured LSL."""
    if "LSLAPICFG" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="mindwire-demo-") as folder:
        config = Path(folder) / "lsl_api.cfg"
        config.write_text(_LSL_ON_LOOPBACK.format(process=os.getpid()))
        os.environ["LSLAPICFG"] = str(config)  # the simulated person's process inherits it
        try:
            yield
        finally:
            del os.environ["LSLAPICFG"]


def source_id() -> str:
    """How the demonstration's stream is found: this process's and no other."""
    return f"mindwire-demo-{os.getpid()}"


def run_demo(
    settings: Settings,
    seed: int,
    *,
    announce: Callable[[str], None],
    view: Callable[[Mapping[str, Stream]], AbstractContextManager[Sink]],
) -> None:
    """Simulate a person and serve predictions of it, until told to stop.

    Parameters
    ----------
    settings : Settings
        Their stream is found by :func:`source_id`.
    seed : int
        Makes the person.
    announce : callable
        Takes the lines that a person at the terminal should see.
    view : callable
        Given the streams, returns a context that shows what a sink is told.

    Raises
    ------
    MindwireError
        As :func:`mindwire.serve.service.serve`, or the simulated person did not appear.
    """

    @contextmanager
    def alongside(streams: Mapping[str, Stream]) -> Iterator[None]:
        stream = streams[STREAM]
        with view(streams) as sink:
            stream.add_sink(sink)
            yield

    with lsl_on_loopback(), simulated_person(seed, source_id()):
        from mindwire.serve.service import serve

        serve(settings, announce=announce, alongside=alongside)


@contextmanager
def simulated_person(seed: int, identity: str) -> Iterator[int]:
    """A process with the simulator's outlets while the context lasts; yields its process id.

    Parameters
    ----------
    seed : int
        Makes the person.
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
            msg = "The simulated person's process ended before it began; run 'mindwire simulate' to see why."
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
    """The simulated person's process: ends when the other end of the pipe is closed, however that came about."""
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
