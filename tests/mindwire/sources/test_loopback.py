"""LSL confined to one session of this machine leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mindwire.sources.loopback import lsl_on_loopback


@pytest.mark.parametrize("before", [None, "mine.cfg"])
def test_the_configuration_holds_while_the_context_lasts(monkeypatch, before):
    monkeypatch.delenv("LSLAPICFG")
    if before:
        monkeypatch.setenv("LSLAPICFG", before)
    with lsl_on_loopback("session-1", ports=64):
        path = Path(os.environ["LSLAPICFG"])
        text = path.read_text()
    assert "SessionID = session-1" in text
    assert "PortRange = 64" in text
    assert "KnownPeers = {127.0.0.1}" in text
    assert not path.exists()
    assert os.environ.get("LSLAPICFG") == before
