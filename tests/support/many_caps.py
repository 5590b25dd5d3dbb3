"""Many simulated outlets in one process of its own: 3 channels at 100 Hz each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


class ManyCaps:
    """Outlets with these names; on the network from the beginning of the context to its end."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def __enter__(self) -> ManyCaps:
        self._process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(self._names)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self._process.stdout.readline() == "begun\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def main() -> None:
    import pylsl

    from tests.support.lsl_cap import TABLE, CapSpec, _outlet, table_of

    names = json.loads(sys.argv[1])
    outlets = [_outlet(CapSpec(name, source_id=name)) for name in names]
    tables = [table_of(3, seed) for seed in range(len(names))]
    print("begun", flush=True)
    begin, sent = pylsl.local_clock(), 0
    while True:
        due = int((pylsl.local_clock() - begin) * 100)
        for index in range(sent + 5, due + 1, 5):
            for outlet, table in zip(outlets, tables, strict=True):
                rows = [table[(index + row) % TABLE].tolist() for row in range(5)]
                outlet.push_chunk(rows, begin + (index - 1) / 100)
            sent = index
        time.sleep(0.02)


if __name__ == "__main__":
    main()
