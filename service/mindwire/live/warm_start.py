"""Initial adaptation of a session: saved by an earlier one, or learnt from a minute at rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mindwire.adaptation import SavedAdaptation
from mindwire.errors import RecordingError, UsageError
from mindwire.inference.decoder import Decoder, Learner
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.types import Window
from mindwire_models.bundle import Bundle
from mindwire_models.contract import Alignment, Contract

if TYPE_CHECKING:
    from mindwire.sources.recording import Selector


class NoDecoder:
    """Decoder of a pipeline of which only the signal is of interest."""

    engine = device = reason = ""
    session = object

    def __init__(self, n_classes: int) -> None:
        self._n_classes = n_classes

    def decode(self, sessions: Sequence[object], windows: Sequence[Window]) -> NDArray[np.float32]:
        """Return logits of zero."""
        del sessions
        return np.zeros((len(windows), self._n_classes), dtype=np.float32)


def initial_adaptation(
    bundle: Bundle, decoder: Decoder, options: PipelineOptions, kept: Path | None, warm_start: Path | None
) -> SavedAdaptation | None:
    """Return the adaptation to begin a session with; a saved one takes precedence over a warm start.

    Parameters
    ----------
    bundle : Bundle
    decoder : Decoder
        The session's.
    options : PipelineOptions
        How recordings are read.
    kept : Path or None
        File that an earlier session wrote; it need not exist.
    warm_start : Path or None
        A recording at rest, or such a file, of which only the alignment is used.

    Raises
    ------
    ContractError
        The saved adaptation is damaged, or of another kind of signal or another model.
    RecordingError
        The recording cannot be read or has too little good signal.
    UsageError
        The model aligns nothing.
    """
    if kept is None or not kept.exists():
        return None if warm_start is None else warm_start_from(warm_start, bundle.contract, options)
    saved, session = SavedAdaptation.read(kept), decoder.session()
    saved.check(bundle.contract)
    if not isinstance(session, Learner):
        return saved.alignment_alone
    if saved.network:
        session.restore(saved.network)  # refuses another model's, before there is a signal
    return saved


def warm_start_from(
    path: Path, contract: Contract, options: PipelineOptions | None = None, stream: Selector | None = None
) -> SavedAdaptation:
    """Return the alignment of a recording or of a saved adaptation; raises as :func:`initial_adaptation`.

    Parameters
    ----------
    path : Path
    contract : Contract
    options : PipelineOptions or None
        How the recording is read.
    stream : Selector or None
        Signal of the recording; None takes the only one of type EEG.
    """
    spec = contract.normalisation
    if not isinstance(spec, Alignment):
        msg = "--warm-start begins the alignment, but the model aligns nothing; leave it out."
        raise UsageError(msg)
    if _is_saved(path):
        saved = SavedAdaptation.read(path).alignment_alone
        saved.check(contract)
        return saved
    options = replace(options or PipelineOptions(), adapt="alignment", state=None, commands=(), alignment="online")
    from mindwire.sources.recording import open_recording

    signal = open_recording(path).signal(stream)
    # A warm start of the bundle would be mixed into the alignment of this recording.
    fresh = contract.model_copy(update={"normalisation": spec.model_copy(update={"warm_start": None})})
    pipeline = Pipeline(fresh, signal.info, NoDecoder(len(contract.classes)), options)
    for chunk in signal.chunks():
        pipeline.advance(chunk)
    saved = pipeline.saved_adaptation()
    if pipeline.alignment is None or not pipeline.alignment.ready:
        good = pipeline.alignment.state.good_samples if pipeline.alignment else 0
        msg = (
            f"{path}: expected at least {spec.ready_samples / contract.sfreq:g} s of good signal to begin the "
            f"alignment with, found {good / contract.sfreq:.1f} s; record a minute at rest."
        )
        raise RecordingError(msg)
    return saved


def _is_saved(path: Path) -> bool:
    """Return true if a file looks like a saved adaptation, and not like a recording."""
    try:
        with path.open("rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError:  # a folder, as some recordings are, or no file, which the reader of recordings reports
        return False
