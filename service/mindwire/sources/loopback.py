"""LSL confined to this machine and one session, for demonstrations, benchmarks and tests; imports no liblsl."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CONFIG = """[ports]
IPv6 = disable
PortRange = {ports}
[multicast]
ResolveScope = machine
ListenAddress = 127.0.0.1
Interfaces = 127.0.0.1
[lab]
KnownPeers = {{127.0.0.1}}
SessionID = {session}
[log]
level = -3
"""


@contextmanager
def lsl_on_loopback(session: str, *, ports: int = 256) -> Iterator[None]:
    """Confine the LSL of this process, unless it is in use already, and of those started meanwhile.

    Streams of other sessions are not found; outlets may take this number of ports.
    """
    before = os.environ.get("LSLAPICFG")
    with tempfile.TemporaryDirectory(prefix="mindwire-lsl-") as folder:
        config = Path(folder) / "lsl_api.cfg"
        config.write_text(_CONFIG.format(session=session, ports=ports), encoding="utf-8")
        os.environ["LSLAPICFG"] = str(config)
        try:
            yield
        finally:
            del os.environ["LSLAPICFG"]
            if before is not None:
                os.environ["LSLAPICFG"] = before
