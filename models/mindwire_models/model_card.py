"""Model card of a bundle: purpose, demands and origin of the model, for people."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from mindwire_models.contract import Alignment, Contract


def describe_decoder(config: Mapping[str, Any]) -> str:
    """Return what ``config.json`` says of the decoder, in words."""
    match config.get("decoder"):
        case "external":
            return f"{config.get('source')}, from outside Mindwire, as an ONNX graph"
        case "tangent_space":
            return "Tangent space of covariances and logistic regression (Barachant et al. 2012)"
    what = f"AttentionBaseNet (Wimpff et al. 2023, arXiv 2310.11198), attention mode `{config.get('attention_mode')}`"
    return f"{what}, mean of {config['members']} networks" if config.get("decoder") == "ensemble" else what


def model_card(name: str, contract: Contract, provenance: str, config: Mapping[str, Any]) -> str:
    """Return the model card. Of a bundle's files, only this one holds a date."""
    library = "onnx" if config.get("decoder") == "external" else "braindecode"
    normalised: str = contract.normalisation.kind
    if isinstance(contract.normalisation, Alignment):
        scale = "summed over the window" if contract.normalisation.scale == "window_sum" else "averaged per sample"
        normalised += f" alignment, covariance {scale}"
    return f"""---
library_name: {library}
tags:
- eeg
- motor-imagery
- mindwire
---

# {name}

{describe_decoder(config)},
as a Mindwire bundle. Run it with `mindwire serve --model FOLDER`.

| demands | |
|---|---|
| channels | {" ".join(contract.channels)} |
| sampling rate | {contract.sfreq:g} Hz |
| unit | {contract.unit} |
| reference | {contract.reference or "not stated"} |
| causal filters | {", ".join(contract.filters.describe()) or "none"} |
| normalisation | {normalised} |
| window, hop | {contract.window_samples}, {contract.hop_samples} samples |
| classes | {", ".join(contract.classes)} |

## Where it comes from

{provenance}

Exported {dt.datetime.now(tz=dt.UTC).date().isoformat()}.
"""
