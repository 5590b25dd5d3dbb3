"""The demonstration: a simulated person and the service that decodes it, in one process, on loopback only."""

from __future__ import annotations

import os
from collections.abc import Callable

import pylsl

from service.config import Settings
from service.serving import serve
from service.sources.simulator import Simulator
from service.sources.simulator_outlets import SimulatorOutlets, running

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
level = -2
"""


def keep_lsl_on_loopback() -> None:
    """Confine LSL to this machine and this process; before the first LSL call, unless the user configured LSL."""
    if "LSLAPICFG" not in os.environ:
        pylsl.set_config_content(_LSL_ON_LOOPBACK.format(process=os.getpid()))


def source_id() -> str:
    """How the demonstration's stream is found: this process's and no other."""
    return f"mindwire-demo-{os.getpid()}"


def run_demo(settings: Settings, seed: int, announce: Callable[[str], None]) -> None:
    """Simulate a person and serve predictions of it, until told to stop.

    Parameters
    ----------
    settings : Settings
        Their stream is found by :func:`source_id`.
    seed : int
        Makes the person.
    announce : callable
        Takes the lines that a person at the terminal should see.

    Raises
    ------
    MindwireError
        As :func:`service.serving.serve`.
    """
    keep_lsl_on_loopback()
    person = SimulatorOutlets(Simulator(seed, name="Mindwire-Demo"), source_id=source_id())
    with running([person]):
        serve(settings, announce=announce)
