"""Results published for BCI Competition IV 2a.

Their Table 1, within-subject: mean accuracy over the nine people, and its standard deviation over five seeds.

References
----------
Wimpff, Gizzi, Zerfowski & Yang 2024, "EEG motor imagery decoding: a framework for comparative analysis with channel
attention mechanisms", arXiv 2310.11198 v2, Table 1 (CC BY 4.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

SOURCE = (
    "Wimpff et al. 2024, arXiv 2310.11198 v2, Table 1, within-subject; mean of nine people ± deviation of five seeds"
)
N_PEOPLE = 9


@dataclass(frozen=True, slots=True)
class Published:
    """A row of their table.

    Parameters
    ----------
    network : str
        Name in the paper.
    accuracy, deviation : float
        Percent; mean and standard deviation over five seeds.
    mode : str or None
        Attention mode of the network.
    arguments : mapping
        Further arguments of the network.
    """

    network: str
    accuracy: float
    deviation: float
    mode: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def network_arguments(self) -> dict[str, Any]:
        """Arguments that build the network of this row."""
        return {"attention_mode": self.mode, **self.arguments}


# Two of their variants, GCT with a mean and SE with a norm, are not implemented here. Their numbers of parameters
# agree with the networks here except for ECA (6 fewer in the paper) and CAT (1,040 more).
ROWS: tuple[Published, ...] = (
    Published("BaseNet", 75.63, 0.75),
    Published("BaseNet + SE", 76.9, 0.61, "se", {"reduction_rate": 4}),
    Published("BaseNet + GSoP", 76.28, 1.05, "gsop", {"reduction_rate": 4}),
    Published("BaseNet + FCA", 76.33, 0.82, "fca", {"reduction_rate": 4, "freq_idx": 0}),
    Published("BaseNet + EncNet", 76.37, 0.76, "encnet", {"n_codewords": 4}),
    Published("BaseNet + ECANet", 76.86, 0.63, "eca", {"kernel_size": 9}),
    Published("BaseNet + GE-θ−", 75.57, 0.35, "ge"),
    Published("BaseNet + GE-θ", 75.69, 0.84, "ge", {"extra_params": True}),
    Published("BaseNet + GE-θ+", 74.95, 0.87, "ge", {"extra_params": True, "use_mlp": True, "reduction_rate": 4}),
    Published("BaseNet + GCT", 75.96, 1.04, "gct"),
    Published("BaseNet + SRM", 75.65, 0.41, "srm"),
    Published("BaseNet + SRMcross", 76.19, 0.64, "srm", {"use_mlp": True, "reduction_rate": 4}),
    Published("BaseNet + CBAM", 76.75, 0.65, "cbam", {"kernel_size": 15, "reduction_rate": 8}),
    Published("BaseNet + CAT", 76.88, 1.05, "cat", {"kernel_size": 3, "reduction_rate": 4}),
    Published("BaseNet + CATLite", 76.91, 0.9, "catlite", {"reduction_rate": 4}),
)


def published(mode: str | None) -> Published:
    """Return the first row of an attention mode, its simplest variant.

    Parameters
    ----------
    mode : str or None
        One of :data:`mindwire_models.network.attention.ATTENTION_MODES`, or None.

    Returns
    -------
    Published
    """
    return next(row for row in ROWS if row.mode == mode)


def row_of(network_arguments: Mapping[str, Any]) -> Published | None:
    """Return the row trained with these arguments, or None if the paper has none."""
    from mindwire_models.network.attention import AttentionOptions

    defaults = {f.name: f.default for f in fields(AttentionOptions) if f.default is not MISSING}
    wanted = {"attention_mode": None, **defaults, **network_arguments}
    return next((row for row in ROWS if {**defaults, **row.network_arguments} == wanted), None)
