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

# Row of the system: degrees from the vertex towards the nose on the midline, and degrees from the nose
# along the circumference where the row ends.
_ROWS = {
    "fp": (72.0, 18.0),
    "af": (54.0, 36.0),
    "f": (36.0, 54.0),
    "fc": (18.0, 72.0),
    "ft": (18.0, 72.0),
    "c": (0.0, 90.0),
    "t": (0.0, 90.0),
    "cp": (-18.0, 108.0),
    "tp": (-18.0, 108.0),
    "p": (-36.0, 126.0),
    "po": (-54.0, 144.0),
    "o": (-72.0, 162.0),
    "afp": (63.0, 27.0),
    "aff": (45.0, 45.0),
    "ffc": (27.0, 63.0),
    "fft": (27.0, 63.0),
    "fcc": (9.0, 81.0),
    "ftt": (9.0, 81.0),
    "ccp": (-9.0, 99.0),
    "ttp": (-9.0, 99.0),
    "cpp": (-27.0, 117.0),
    "tpp": (-27.0, 117.0),
    "ppo": (-45.0, 135.0),
    "poo": (-63.0, 153.0),
    "oi": (-81.0, 162.0),
}
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
    towards_nose, row_end = _ROWS[row]
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
    """Return the gain from each source to each electrode: a Gaussian of the angle between them.

    Parameters
    ----------
    electrodes : ndarray of float64, shape (n_channels, 3)
    sources : ndarray of float64, shape (n_sources, 3)
    degrees : float
        Standard deviation of the spread; the skull blurs a cortical source to some tens of degrees.

    Returns
    -------
    ndarray of float64, shape (n_channels, n_sources)
        One at the site of the source, falling with the distance.
    """
    angles = np.degrees(np.arccos(np.clip(electrodes @ sources.T, -1.0, 1.0)))
    return np.exp(-0.5 * (angles / degrees) ** 2)
