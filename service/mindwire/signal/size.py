"""By how many powers of a thousand a signal is off the size of EEG, as signals in a mistaken unit are."""

from __future__ import annotations

import math

_USUAL_MICROVOLT = 10.0
# Parts of that below and above which no EEG is, second after second.
_ODD = 1e-2, 200.0
_SECONDS = 3


class SizeWatch:
    """Watches the size of one signal, second by second."""

    def __init__(self) -> None:
        self._found: list[int] = []
        self.reset()

    def reset(self) -> None:
        """Forget the past seconds."""
        self._power, self._seconds = 0, 0

    def take(self, microvolts: float) -> None:
        """Take the size of one second of signal; 0 says nothing."""
        ratio = microvolts / _USUAL_MICROVOLT
        usual = ratio <= 0 or _ODD[0] <= ratio <= _ODD[1]
        power = 0 if usual else 3 * round(math.log10(ratio) / 3)
        self._seconds = self._seconds + 1 if power == self._power else 1
        self._power = power
        if power and self._seconds == _SECONDS:
            self._found.append(power)

    def drain(self) -> list[int]:
        """Powers of ten, multiples of 3, by which the signal was found to be off since the last call."""
        if not self._found:  # as a rule
            return []
        found, self._found = self._found, []
        return found
