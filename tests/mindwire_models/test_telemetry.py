"""ONNX Runtime, which reports its use unless told otherwise, keeps no identifier of the machine for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_SESSION = """
from mindwire_models.zoo import zoo_bundle_path
import onnxruntime
onnxruntime.InferenceSession(str(zoo_bundle_path() / "model.onnx"))
"""


def test_telemetry_is_off(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", _SESSION], env=environment, check=True, timeout=60)
    assert list(tmp_path.rglob("*")) == []
