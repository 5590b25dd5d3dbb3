"""A stream without a model: its signal, quality, markers, events and recordings, and no probabilities.

It runs the same pipeline as any other, on a contract made for the source. A prediction of it only says that the signal was
processed: it has no probabilities, and is never valid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from mindwire.adaptation import SavedAdaptation
from mindwire.errors import ContractError
from mindwire.live.warm_start import NoDecoder
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.signal.labels import bare_label, eeg_channels
from mindwire.types import Prediction, Reason, SignalInfo, Window
from mindwire_models.contract import Butterworth, Contract, Filters
from mindwire_models.reading import first_fault

_MOST_SFREQ, _SFREQ = 300.0, 250.0  # rates above the first are resampled to the second
_BAND_HZ = (0.5, 40.0)
_WINDOW_S, _HOP_S = 1.0, 0.04
_CLASSES = ("none", "no model")  # a contract has two at least; nothing shows them
_UNUSED = frozenset({"", "-", "_", "x", "none", "unused"})
_NOTHING: NDArray[np.float64] = np.empty(0)
_DECODER = NoDecoder(len(_CLASSES))  # of all streams without a model, so that their windows are one batch


class SignalPipeline(Pipeline):
    """Pipeline of a stream without a model."""

    def complete(
        self, window: Window, row: NDArray[np.float64], latency_ms: Mapping[str, float] | None = None
    ) -> Prediction:
        """Return a prediction without probabilities."""
        del row
        return Prediction(window.seq, window.time, _NOTHING, window.reasons | Reason.NO_MODEL, latency_ms or {})


def signal_contract(info: SignalInfo | None, options: PipelineOptions) -> Contract:
    """Return the contract for a source: its EEG channels in order, its rate or 250 Hz, 0.5 to 40 Hz.

    Without a source it stands for one that is not known yet.

    Raises
    ------
    ContractError
        No EEG has the source's rate, or a label is no name.
    """
    labels: tuple[str, ...] = ("EEG",)
    sfreq = _SFREQ
    if info is not None:
        rate = options.rate_of(info)
        sfreq = rate if rate <= _MOST_SFREQ else _SFREQ
        if options.channels is not None:
            labels = options.channels
        elif info.labels is not None:
            labels = tuple(info.labels[index] for index in eeg_channels(info))
        labels = tuple(label for label in labels if label.strip().casefold() not in _UNUSED) or ("EEG",)
        bare = tuple(map(bare_label, labels))
        # one of each: a name that several channels have is refused by the montage
        labels = tuple({label.casefold(): label for label in reversed(bare)}.values())[::-1]
    low, high = _BAND_HZ
    try:
        return Contract(
            channels=labels,
            sfreq=sfreq,
            filters=Filters(
                highpass=Butterworth(order=2, freq=min(low, sfreq / 50)),
                lowpass=Butterworth(order=4, freq=min(high, 0.4 * sfreq)),
            ),
            window_samples=max(1, round(_WINDOW_S * sfreq)),
            hop_samples=max(1, round(_HOP_S * sfreq)),
            classes=_CLASSES,
        )
    except ValidationError as error:
        msg = f"The signal cannot be used as its description is ({first_fault(error)[1]}); name its channels with 'channels'."
        raise ContractError(msg) from error


def signal_pipeline(options: PipelineOptions) -> Callable[[SignalInfo, SavedAdaptation | None], Pipeline]:
    """Return what makes the pipeline of a stream without a model; raises as :class:`Pipeline`."""

    def make(info: SignalInfo, learnt: SavedAdaptation | None) -> Pipeline:
        del learnt
        return SignalPipeline(signal_contract(info, options), info, _DECODER, options)

    return make


def no_decoder() -> NoDecoder:
    """Return the decoder of streams without a model."""
    return _DECODER
