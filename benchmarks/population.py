"""Accuracy in people for whom nothing was tuned: leave-one-run-out, default options only.

    python benchmarks/population.py ../shared/data/people/* ../shared/data/s1 ../shared/data/a

Each folder is a person and is called as its set: grasp-S05 (files S05R1.edf …), physionet-S002 (S002R04.edf …),
course-s (XDF), s1, a. Further people, days and runs of these sets need nothing but their folder. For each the command
`mindwire cross-validate RUNS` runs as a user would type it, with what the recordings do not say of themselves:
what the markers mean, names of channels, the unit. Undecided trials count as wrong.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

FISTS = ("T1=left_hand", "T2=right_hand")
NUMBERS = ("1=idle", "2=left_hand", "3=right_hand")


@dataclass(frozen=True)
class Set:
    """Recordings of one paradigm: which folders and files they are, and what they do not say of themselves."""

    folder: str
    files: str
    markers: tuple[str, ...]
    title: str = ""
    options: tuple[str, ...] = ()


SETS = (
    Set(
        r"grasp-.+",
        r".+R\d+\.edf",
        ("OVTK_GDF_Right=grasp", "OVTK_GDF_Tongue=rest"),
        options=("--unit", "uV"),
    ),
    # Runs 1 and 2 are rest without cues; T1 and T2 mean another movement in the others.
    Set(r"physionet-.+", r".+R(04|08|12)\.edf", FISTS),
    Set(
        r"course-.+",
        r".+\.xdf",
        NUMBERS,
        options=("--channels", "C3,C4,CP1,CP2,FC1,FC2,CP5,CP6,FC5,FC6,T3,T4,Cz,X1,X2,X3"),
    ),
    Set("s1", r".+-run(04|08)-22ch.+\.xdf", ("rest=rest", "left_hand=left_hand", "right_hand=right_hand"), "hands"),
    Set("s1", r".+-run(06|10)-22ch.+\.xdf", ("rest=rest", "both_hands=both_hands", "feet=feet"), "feet"),
    *(
        Set(
            "a",
            rf"a-{day}-.+\.xdf",
            NUMBERS,
            day,
            ("--channels", "C3,C4,Cz,FC1,FC2,FC5,FC6,CP1,CP2,CP5,CP6,X1,X2,X3,X4,X5"),
        )
        for day in ("day1", "day2")
    ),
)


def decide(runs: list[Path], chosen: Set, decoder: str, more: list[str]) -> dict[str, tuple[int, int]]:
    """Trials right and all trials by decoder, of runs left out in turn."""
    with tempfile.TemporaryDirectory(prefix="mindwire-") as out:
        command = [sys.executable, "-m", "mindwire", "cross-validate", *map(str, runs)]
        command += ["--markers", *chosen.markers, *chosen.options, "--decoder", decoder, "--out", out, *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stderr}")
        report = json.loads((Path(out) / "report.json").read_text())
    print(done.stdout.strip().split("\n\n")[0], file=sys.stderr)
    scores = [(one["decoder"], one["overall"]) for one in report["decoders"]]
    return {name: (overall["n_correct"], overall["n_cued"]) for name, overall in scores}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="PERSON")
    parser.add_argument("--decoder", choices=("both", "network", "riemann"), default="both")
    arguments, more = parser.parse_known_args()  # any option of evaluate, to compare with the defaults
    decoders = [
        name for name in ("network", "baseline") if arguments.decoder in ("both", name.replace("baseline", "riemann"))
    ]
    print(f"| person | runs | {' | '.join(decoders)} | of |")
    print("|---" * (3 + len(decoders)) + "|")
    total = dict.fromkeys([*decoders, "of"], 0)
    for folder in arguments.folders:
        matching = [one for one in SETS if re.fullmatch(one.folder, folder.name)]
        if not matching:
            print(
                f"{folder} belongs to none of the sets {', '.join(dict.fromkeys(one.folder for one in SETS))}.",
                file=sys.stderr,
            )
        for chosen in matching:
            runs = sorted(path for path in folder.iterdir() if re.fullmatch(chosen.files, path.name))
            if len(runs) < 2:
                print(f"{folder}: leave-one-run-out needs two runs, found {len(runs)}.", file=sys.stderr)
                continue
            right = decide(runs, chosen, arguments.decoder, more)
            n_trials = right[decoders[0]][1]
            row = [f"{folder.name} {chosen.title}".strip(), len(runs), *(right[name][0] for name in decoders), n_trials]
            print(f"| {' | '.join(map(str, row))} |", flush=True)
            total["of"] += n_trials
            for name in decoders:
                total[name] += right[name][0]
    print(f"| all | | {' | '.join(str(total[name]) for name in decoders)} | {total['of']} |")


if __name__ == "__main__":
    main()
