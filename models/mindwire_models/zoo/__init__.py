"""Bundles that come with Mindwire, for demonstration: trained on simulated EEG by ``benchmarks/train_zoo.py``."""

from __future__ import annotations

from pathlib import Path

from mindwire_models.bundle import CARD, Bundle
from mindwire_models.errors import BundleError

DEFAULT = "simulated-4class"


def notice(bundle: Bundle) -> str:
    """Return the warning that belongs to a bundle made for demonstration, by its card; else nothing."""
    card = bundle.path / CARD
    if card.is_file() and "For demonstration only" in card.read_text(encoding="utf-8"):
        return "This model was trained on simulated EEG and knows nothing of real brains; never use it on a person."
    return ""


def zoo_bundle_path(name: str = DEFAULT) -> Path:
    """Return the folder of a bundle of the zoo; refuse an unknown name with a BundleError."""
    folder = Path(__file__).parent
    known = sorted(path.parent.name for path in folder.glob("*/SHA256SUMS"))
    if name not in known:
        msg = f"The zoo has no bundle {name!r}; it has {', '.join(known) or 'none'}."
        raise BundleError(msg)
    return folder / name
