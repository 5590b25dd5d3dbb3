"""The bundle that comes with Mindwire, for demonstration: trained on simulated EEG by ``benchmarks/train_zoo.py``."""

from __future__ import annotations

from pathlib import Path

from mindwire_models.bundle import CARD, Bundle


def notice(bundle: Bundle) -> str:
    """Return the warning that belongs to a bundle made for demonstration, by its card; else nothing."""
    if b"For demonstration only" in bundle.read(CARD):
        return "This model was trained on simulated EEG and knows nothing of real brains; never use it on a person."
    return ""


def zoo_bundle_path() -> Path:
    """Return the folder of the bundle."""
    return Path(__file__).parent / "simulated-4class"
