"""Contracts that come with Mindwire, by name."""

from __future__ import annotations

from mindwire_models.contract import Alignment, Butterworth, Contract, Filters
from mindwire_models.errors import ContractError

BCIC2A_CHANNELS = tuple(
    "Fz FC3 FC1 FCz FC2 FC4 C5 C3 C1 Cz C2 C4 C6 CP3 CP1 CPz CP2 CP4 P1 Pz P2 POz".split(),
)

BCIC2A = Contract(
    channels=BCIC2A_CHANNELS,
    sfreq=250.0,
    unit="uV",
    reference="left mastoid, ground right mastoid (BCI Competition IV 2a)",
    filters=Filters(highpass=Butterworth(order=2, freq=0.5), lowpass=Butterworth(order=4, freq=40.0)),
    sos=(
        (0.991153595101663, -1.982307190203326, 0.991153595101663, 1.0, -1.9822289297925284, 0.9823854506141251),
        (0.02287020771629096, 0.04574041543258192, 0.02287020771629096, 1.0, -0.602033202257445, 0.12355934398734861),
        (1.0, 2.0, 1.0, 1.0, -0.8099502989391327, 0.5115897646941701),
    ),
    normalisation=Alignment(kind="euclidean", scale="window_sum", update_samples=250, ready_samples=1250),
    window_samples=1000,
    hop_samples=10,
    classes=("feet", "left_hand", "right_hand", "tongue"),
)

PRESETS = {"bcic2a": BCIC2A}


def preset(name: str) -> Contract:
    """Return the contract of that name; refuse an unknown name with a ContractError."""
    try:
        return PRESETS[name]
    except KeyError:
        msg = f"Preset {name!r} is unknown; known are {', '.join(sorted(PRESETS))}."
        raise ContractError(msg) from None
