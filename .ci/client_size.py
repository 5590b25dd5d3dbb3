"""Print what an environment with the client alone holds and how long the client takes to import; run by ``.ci/release``."""

import resource
import subprocess
import sys
from pathlib import Path

MAX_BYTES = 3_000_000
ROUNDS = 10
STATEMENTS = {
    "python": "pass",
    "mindwire_client": "import mindwire_client",
    "mindwire_client and its first connect": "import mindwire_client; mindwire_client.connect('127.0.0.1:1')",
    "websockets and msgspec": "import websockets.asyncio.client, msgspec",
}


def processor_time(python: Path, statement: str) -> float:
    """Return the seconds of processor time of an interpreter that runs a statement."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([python, "-c", statement], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(environment: Path) -> None:
    """Measure in turn; the least of the rounds is that without other load."""
    size = sum(path.stat().st_size for path in environment.glob("lib/*/site-packages/**/*") if path.is_file())
    print(f"client with what it depends on: {size / 1e6:.2f} MB")
    assert size < MAX_BYTES, "the client should need under 3 MB"

    python = environment / "bin" / "python"
    rounds = [[processor_time(python, statement) for statement in STATEMENTS.values()] for _ in range(ROUNDS)]
    for name, seconds in zip(STATEMENTS, map(min, zip(*rounds, strict=True)), strict=True):
        print(f"processor time to import: {seconds:.3f} s, {name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
