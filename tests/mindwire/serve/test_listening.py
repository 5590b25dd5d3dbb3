"""Addresses that are printed can be opened, and streams are called after their sources."""

from __future__ import annotations

import socket
import uuid

import pytest

from mindwire.config import load_settings
from mindwire.serve.listening import address
from mindwire.serve.named_sources import named_after_sources
from mindwire.sources.liblsl import pylsl


@pytest.mark.parametrize(
    ("host", "token", "begin", "end"),
    [
        ("127.0.0.1", None, "http://127.0.0.1:", ""),
        ("::1", None, "http://[::1]:", ""),
        ("192.0.2.7", "a secret/&", "http://192.0.2.7:", "/?token=a%20secret%2F%26"),
    ],
)
def test_an_address_that_can_be_opened(host: str, token: str | None, begin: str, end: str) -> None:
    settings = load_settings({"host": host, "token": token})
    secured = settings.model_copy(update={"tls_cert": "cert", "tls_key": "key"})
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert address(settings, sock) == f"{begin}{sock.getsockname()[1]}{end}"
        assert address(secured, sock) == f"{begin.replace('http', 'https')}{sock.getsockname()[1]}{end}"


def test_a_token_from_the_environment_is_not_printed(monkeypatch) -> None:
    monkeypatch.setenv("MINDWIRE_TOKEN", "long-enough")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert "long-enough" not in address(load_settings({"host": "192.0.2.7"}), sock)


def test_every_interface_is_told_as_one_address_of_this_machine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        found = address(load_settings({"host": "0.0.0.0", "token": "long-enough"}), sock)
    host, _, rest = found.removeprefix("http://").partition(":")
    assert host != "0.0.0.0"
    assert socket.gethostbyname(host)
    assert rest.endswith("/?token=long-enough")


def test_a_stream_is_called_after_the_source_where_the_user_named_none(tmp_path) -> None:
    kind = f"EEG{uuid.uuid4().hex[:8]}"
    outlet = pylsl.StreamOutlet(pylsl.StreamInfo("My Cap/1", kind, 1, 250.0, pylsl.cf_float32, kind))
    streams = [f"type={kind}", f"predicate=type='{kind}'", f"id=mine,type={kind}", "type=Nowhere"]
    named = named_after_sources(load_settings({"stream": streams}))
    # Two cannot have one name: the second keeps what its description gives.
    assert [spec.id for spec in named.stream] == ["My-Cap-1", "eeg", "mine", "Nowhere"]
    kept = load_settings({"stream": streams, "adaptation_state": tmp_path / "state"})
    assert [spec.id for spec in named_after_sources(kept).stream] == [kind, "eeg", "mine", "Nowhere"]
    del outlet
