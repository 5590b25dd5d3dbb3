"""Design of the contract's filters with numpy alone: the service starts without loading a signal-processing library.

The formulas and the order of the sections are those of ``scipy.signal`` (``butter`` and ``iirnotch`` with
``output="sos"``); the results agree within rounding.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray


def butterworth(order: int, freq: float, kind: Literal["lowpass", "highpass"], sfreq: float) -> NDArray[np.float64]:
    """Second-order sections of a Butterworth filter, by the bilinear transform.

    Parameters
    ----------
    order : int
        At least 1.
    freq : float
        Frequency in hertz at which 3 dB are lost.
    kind : {"lowpass", "highpass"}
    sfreq : float
        Sampling rate in hertz.

    Returns
    -------
    ndarray of float64, shape (ceil(order / 2), 6)
        Poles nearest the unit circle last; the gain is in the first section.
    """
    warped = 4 * math.tan(math.pi * freq / sfreq)  # at a sampling rate of 2, as the formulas have it
    steps = np.arange(-order + 1, order, 2)
    analog = -np.exp(1j * math.pi * steps / (2 * order))
    if kind == "lowpass":
        poles, zero = warped * analog, -1.0
        gain = warped**order / np.prod(4.0 - poles).real
    else:
        poles, zero = warped / analog, 1.0
        gain = 4.0**order / np.prod(4.0 - poles).real
    digital = (4.0 + poles) / (4.0 - poles)
    upper = sorted(digital[digital.imag > 1e-12], key=abs)
    sections = [[1.0, -2 * zero, 1.0, 1.0, -2 * pole.real, abs(pole) ** 2] for pole in upper]
    if order % 2:
        real = float(digital[np.argmin(np.abs(digital.imag))].real)
        sections.insert(0, [1.0, -2 * zero, 1.0, 1.0, -real, 0.0])
        # an odd filter has one zero less: the section goes without whose poles lie nearer to the origin
        near = [index for index, pole in enumerate(upper, start=1) if abs(pole) < abs(pole - zero)]
        sections[near[-1] if near else 0][:3] = [1.0, -zero, 0.0]
    made = np.array(sections)
    made[0, :3] *= gain
    return made


def notch(freq: float, q: float, sfreq: float) -> NDArray[np.float64]:
    """One second-order section that removes a frequency.

    Parameters
    ----------
    freq : float
        Hertz.
    q : float
        The frequency divided by the width between the points where 3 dB are lost.
    sfreq : float
        Sampling rate in hertz.

    Returns
    -------
    ndarray of float64, shape (1, 6)
    """
    angle = 2 * math.pi * freq / sfreq
    gain = 1 / (1 + math.tan(angle / q / 2))
    middle = -2 * gain * math.cos(angle)
    return np.array([[gain, middle, gain, 1.0, middle, 2 * gain - 1]])
