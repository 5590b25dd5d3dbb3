"""LSL's own means carry a stream across a router that passes no multicast, as docs/network.md says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "support" / "two_subnets.sh"
ALONE = ["unshare", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child"]


def namespaces() -> bool:
    """True if this user may have networks of its own here."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    tried = subprocess.run([*ALONE, "ip", "link", "add", "one", "type", "veth"], capture_output=True, check=False)
    return tried.returncode == 0


@pytest.mark.skipif(not namespaces(), reason="no network namespaces here")
def test_known_peers_reach_another_subnet_and_multicast_alone_does_not(tmp_path):
    session = "[lab]\nSessionID = subnets\n[log]\nlevel = -3\n"
    (tmp_path / "without.cfg").write_text(session)
    (tmp_path / "peers.cfg").write_text(session.replace("[lab]", "[lab]\nKnownPeers = {10.9.1.2}"))
    configurations = [tmp_path / "without.cfg", tmp_path / "peers.cfg"]
    done = subprocess.run(
        [*ALONE, "bash", SCRIPT, sys.executable, "far-away", *configurations],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["0 []", "1 [[1.0]]"], done.stderr
