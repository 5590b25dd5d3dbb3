"""Prove that the default installation replays a recording; run in its environment by ``.ci/default-install``."""

import csv
import importlib.util
import subprocess
import sys
from pathlib import Path

import mindwire
from mindwire.sources.simulator import Simulator

SECONDS = 60


def main(root: Path) -> None:
    """Write a recording with the writer of the tests, replay it with the installed command, check the rows."""
    for name in ("torch", "onnx", "mne", "sklearn", "matplotlib", "ray"):
        assert importlib.util.find_spec(name) is None, f"the default installation should not bring {name}"
    assert Path(sys.prefix) in Path(mindwire.__file__).parents, f"{mindwire.__file__} is not what was installed"

    spec = importlib.util.spec_from_file_location("xdf_writer", root / "tests" / "support" / "xdf_writer.py")
    assert spec is not None
    assert spec.loader is not None
    writer = importlib.util.module_from_spec(spec)
    sys.modules["xdf_writer"] = writer
    spec.loader.exec_module(writer)
    simulator = Simulator(7)
    samples = simulator.read(SECONDS * 250).samples
    cues = [(1000.0 + cue.time, cue.label) for cue in simulator.drain_markers()]
    writer.eeg_file(Path("recording.xdf"), samples, 250.0, simulator.info.labels, markers=cues)

    command = Path(sys.executable).with_name("mindwire")
    subprocess.run([command, "replay", "recording.xdf", "--out", "predictions.csv"], check=True, timeout=120)
    with Path("predictions.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["seq", "time", "valid", "feet", "left_hand", "right_hand", "tongue", "reasons", "decided"], rows[
        0
    ]
    assert len(rows) - 1 == 1 + (SECONDS * 250 - 1000) // 10, f"{len(rows) - 1} predictions"
    print(f"default installation: {len(rows) - 1} predictions of {SECONDS} s replayed without torch")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
