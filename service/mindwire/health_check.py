"""Health check of the image: asks the service, wherever it was set to listen.

Run as a program in the container. It imports next to nothing, for it runs every few seconds.
"""

import os
import ssl
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

_TIMEOUT_S = 4.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here


def url(arguments: Sequence[str], environ: Mapping[str, str]) -> str:
    """Return the URL of a service's liveness from its command line, its environment and its settings file, in this order."""
    config = _option(arguments, "--config") or environ.get("MINDWIRE_CONFIG")
    kept = tomllib.loads(Path(config).read_text(encoding="utf-8")) if config else {}
    host, port = (
        _option(arguments, f"--{name}") or environ.get(f"MINDWIRE_{name.upper()}") or str(kept.get(name, default))
        for name, default in (("host", "127.0.0.1"), ("port", 8000))
    )
    host = _EVERYWHERE.get(host, host)
    tls = _option(arguments, "--tls-cert") or environ.get("MINDWIRE_TLS_CERT") or kept.get("tls_cert")
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}/health/live"


def _option(arguments: Sequence[str], name: str) -> str | None:
    """Return the last value given for an option."""
    found = None
    for argument, following in zip(arguments, [*arguments[1:], None], strict=True):
        key, equals, value = argument.partition("=")
        if key == name:
            found = value if equals else following
    return found


def main() -> int:
    """Ask the container's first process; 0 when it is well."""
    arguments = Path("/proc/1/cmdline").read_bytes().decode(errors="replace").split("\0")
    try:
        # The certificate is for the names that clients use, not for this machine's own address.
        context = ssl._create_unverified_context()  # noqa: S323, SLF001
        with urllib.request.urlopen(url(arguments, os.environ), timeout=_TIMEOUT_S, context=context):  # noqa: S310 - http(s)
            return 0
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - docker inspect shows it
        return 1


if __name__ == "__main__":
    sys.exit(main())
