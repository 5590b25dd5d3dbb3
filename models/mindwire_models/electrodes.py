"""Positions of the electrodes of the 10-10 and 10-5 systems, for scalp maps, interpolation and simulation.

The head is a unit sphere: x to the right ear, y to the nose, z to the vertex. Positions follow the construction of the system
(Oostenveld & Praamstra 2001, https://doi.org/10.1016/S1388-2457(00)00527-7): the midline in steps of 10 % (18°), a
circumference 72° below the vertex, and every other site in quarters of the arc between the two; the 10-5 system halves steps.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mindwire_models.errors import ArgumentError

# Rows of the system: degrees from the vertex towards the nose on the midline, in steps of 9° from the front to the back.
_ROWS = {
    row: 72.0 - 9.0 * step
    for step, rows in enumerate(
        "fp afp af aff f ffc,fft fc,ft fcc,ftt c,t ccp,ttp cp,tp cpp,tpp p ppo po poo o oi".split()
    )
    for row in rows.split(",")
}
# Along the circumference a row ends as far before the ear as it is before the vertex on the midline, but never behind O1 and O2.
_LAST_ROW_END = 162.0  # degrees from the nose
# Below the circumference at the front and the back: degrees from the nose.
_LOWEST = {"nz": 0.0, "n1": -18.0, "n2": 18.0, "iz": 180.0, "i1": -162.0, "i2": 162.0}
# Old names of the 10-20 system (modified combinatorial nomenclature, American Clinical Neurophysiology Society 2006).
RENAMED = {"t3": "t7", "t4": "t8", "t5": "p7", "t6": "p8"}
# Mastoids and earlobes have sites of the system nearby.
_NEAREST = RENAMED | {"m1": "tp9", "m2": "tp10", "a1": "t9", "a2": "t10"}
_LABEL = re.compile(rf"({'|'.join(sorted(_ROWS, key=len, reverse=True))})(?:(z)|(10|[1-9])(h?))")
_CIRCUMFERENCE = 72.0
_BELOW_CIRCUMFERENCE = 90.0


def on_sphere(polar: float, azimuth: float) -> NDArray[np.float64]:
    """Return a point ``(3,)``, ``polar`` degrees from the vertex and ``azimuth`` from the nose, positive to the right."""
    theta, phi = np.radians(polar), np.radians(azimuth)
    return np.array([np.sin(theta) * np.sin(phi), np.sin(theta) * np.cos(phi), np.cos(theta)])


def position(label: str) -> NDArray[np.float64]:
    """Return the position ``(3,)`` of an electrode by its label in any case; T3 to T6, M1, M2, A1 and A2 are known.

    Raises
    ------
    ArgumentError
        The label is neither of the 10-10 nor of the 10-5 system.
    """
    folded = label.strip().casefold()
    if folded in _LOWEST:
        return on_sphere(_BELOW_CIRCUMFERENCE, _LOWEST[folded])
    found = _LABEL.fullmatch(_NEAREST.get(folded, folded))
    if found is None:
        msg = f"Channel {label!r} has no place on the head: expected labels of the 10-10 system such as C3, Cz or FC4."
        raise ArgumentError(msg)
    row, central, column, half = found.groups()
    towards_nose = _ROWS[row]
    row_end = min(90.0 - towards_nose, _LAST_ROW_END)
    midline = on_sphere(abs(towards_nose), 0.0 if towards_nose >= 0 else 180.0)
    if central:
        return midline
    number = int(column)
    side = -1.0 if number % 2 else 1.0
    quarters = (number + 1) // 2 - (0.5 if half else 0.0)
    if quarters > 4:
        below = (quarters - 4) * (_BELOW_CIRCUMFERENCE - _CIRCUMFERENCE)
        return on_sphere(_CIRCUMFERENCE + below, side * row_end)
    end = on_sphere(_CIRCUMFERENCE, side * row_end)
    # The short rows at the front and the back have no inner sites: Fp1 and O1 are their ends.
    fraction = min(quarters, 1.0) if row in {"fp", "o", "oi"} else quarters / 4
    angle = np.arccos(np.clip(midline @ end, -1.0, 1.0))
    return (np.sin((1 - fraction) * angle) * midline + np.sin(fraction * angle) * end) / np.sin(angle)


def positions(labels: Sequence[str]) -> NDArray[np.float64]:
    """Return the positions of several labels, ``(n_labels, 3)``; see :func:`position`."""
    return np.stack([position(label) for label in labels])


def spread(electrodes: NDArray[np.float64], sources: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """Return the gain from each source ``(n_sources, 3)`` to each electrode ``(n_channels, 3)``, ``(n_channels, n_sources)``.

    It is a Gaussian of the angle between them, of a standard deviation in ``degrees``, and one at the site of the source; the
    skull blurs a cortical source to some tens of degrees.
    """
    angles = np.degrees(np.arccos(np.clip(electrodes @ sources.T, -1.0, 1.0)))
    return np.exp(-0.5 * (angles / degrees) ** 2)
