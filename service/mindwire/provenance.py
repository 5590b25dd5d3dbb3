"""Machine and software that a figure, recording or report was made with."""

from __future__ import annotations

import hashlib
import platform
from contextlib import suppress
from functools import cache
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

from mindwire import __version__
from mindwire.limits import usable_cores

_PACKAGES = ("numpy", "scipy", "onnxruntime", "pylsl", "fastapi", "uvicorn", "uvloop", "websockets", "torch")


@cache
def machine() -> dict[str, Any]:
    """Return machine and software versions."""
    versions = {}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "system": platform.platform(),
        "processor": names[0] if names else platform.processor(),
        "cores": usable_cores(),
        "python": platform.python_version(),
        "mindwire": __version__,
        "versions": versions,
    }


@cache
def source_sha256() -> str:
    """Return the hash over the names and hashes of all Python files of the installed ``mindwire`` and ``mindwire_models``."""
    digest = hashlib.sha256()
    for package in ("mindwire", "mindwire_models"):
        root = Path(str(files(package)))
        for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
            name = f"{package}/{path.relative_to(root).as_posix()}"
            digest.update(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n".encode())
    return digest.hexdigest()
