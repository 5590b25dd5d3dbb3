"""Decisions from LSL alone, for programs that know nothing of Mindwire (``pip install pylsl``).

python lsl_decisions.py STREAM [--steps N]
"""

from __future__ import annotations

import argparse

import pylsl


def classes_of(info: pylsl.StreamInfo) -> list[str]:
    """Return the classes of an outlet of decisions; the code of a decision is its place among them, from 1."""
    found, one = [], info.desc().child("classes").child("class")
    while not one.empty():
        found.append(one.child_value())
        one = one.next_sibling("class")
    return found


def main() -> None:
    """Print each decision with its code, and how old its newest sample is."""
    parser = argparse.ArgumentParser(description="Decisions from LSL.")
    parser.add_argument("stream")
    parser.add_argument("--steps", type=int, default=0)
    arguments = parser.parse_args()
    name = f"Mindwire-{arguments.stream}-Decisions"
    while not (found := pylsl.resolve_byprop("name", name, timeout=5.0)):
        print(f"No outlet {name} yet.", flush=True)
    # Time stamps on this computer's clock; the outlet is found again by its source_id after a restart of the service.
    inlet = pylsl.StreamInlet(found[0], processing_flags=pylsl.proc_clocksync, recover=True)
    classes = classes_of(inlet.info())
    print("classes:", *classes, flush=True)
    n = 0
    while not n or n != arguments.steps:
        row, time = inlet.pull_sample(timeout=1.0)
        if row is None:
            continue
        (label,) = row
        n += 1
        print(f"{label} {classes.index(label) + 1} {1e3 * (pylsl.local_clock() - time):.0f} ms", flush=True)


if __name__ == "__main__":
    main()
