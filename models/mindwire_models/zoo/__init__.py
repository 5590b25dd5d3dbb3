"""Bundles that come with Mindwire, so that the first prediction needs no file of the user's.

They are for demonstration: trained on simulated EEG, they know nothing of real brains. The script that
made them is ``benchmarks/train_zoo.py``.
"""

from __future__ import annotations

from pathlib import Path

from mindwire_models.bundle import CARD, Bundle
from mindwire_models.errors import BundleError

DEFAULT = "simulated-4class"


def notice(bundle: Bundle) -> str:
    """What users of a bundle must be told: one sentence for a bundle made for demonstration, else nothing.

    Parameters
    ----------
    bundle : Bundle
        From the zoo or anywhere; a copy of a zoo bundle keeps its card, and with it this.
    """
    card = bundle.path / CARD
    if card.is_file() and "For demonstration only" in card.read_text(encoding="utf-8"):
        return "This model was trained on simulated EEG and knows nothing of real brains; never use it on a person."
    return ""


def zoo_bundle_path(name: str = DEFAULT) -> Path:
    """Where a bundle of the zoo lies.

    Parameters
    ----------
    name : str

    Returns
    -------
    Path
        The bundle's folder.

    Raises
    ------
    BundleError
        There is no such bundle; the message lists those there are.
    """
    folder = Path(__file__).parent
    known = sorted(path.parent.name for path in folder.glob("*/SHA256SUMS"))
    if name not in known:
        msg = f"The zoo has no bundle {name!r}; it has {', '.join(known) or 'none'}."
        raise BundleError(msg)
    return folder / name
