"""What a session begins with: what an earlier one kept, or a minute at rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mindwire.adaptation import SavedAdaptation
from mindwire.errors import RecordingError, UsageError
from mindwire.inference.decoder import Decoder, Learner, StatelessSession
from mindwire.options import PipelineOptions
from mindwire.pipeline import Pipeline
from mindwire.types import Window
from mindwire_models.bundle import Bundle
from mindwire_models.contract import Alignment, Contract

if TYPE_CHECKING:
    from mindwire.sources.recording import Selector


class NoDecoder:
    """Stands where a pipeline has its decoder when only the signal is of interest."""

    engine = device = reason = ""

    def __init__(self, n_classes: int) -> None:
        self._n_classes = n_classes

    def session(self) -> StatelessSession:
        """Return an empty session."""
        return StatelessSession()

    def decode(self, sessions: Sequence[StatelessSession], windows: Sequence[Window]) -> NDArray[np.float32]:
        """Return logits of zero."""
        del sessions
        return np.zeros((len(windows), self._n_classes), dtype=np.float32)


def beginning(
    bundle: Bundle, decoder: Decoder, options: PipelineOptions, kept: Path | None, warm_start: Path | None
) -> SavedAdaptation | None:
    """What a session begins with; what was kept goes before a warm start.

    Parameters
    ----------
    bundle : Bundle
    decoder : Decoder
        The session's.
    options : PipelineOptions
        How recordings are read.
    kept : Path or None
        A file that an earlier session wrote, or will be written by this one.
    warm_start : Path or None
        A recording at rest, or such a file; only its alignment counts.

    Returns
    -------
    SavedAdaptation or None
        None when there is neither.

    Raises
    ------
    ContractError
        What was kept is damaged, or of another kind of signal or another model.
    RecordingError
        The recording cannot be read or has too little good signal.
    UsageError
        The model aligns nothing.
    """
    session = decoder.session()
    if kept is not None and kept.exists():
        saved = SavedAdaptation.read(kept)
        saved.check(bundle.contract)
        if not isinstance(session, Learner):
            return saved.alignment_alone
        if saved.network:
            session.restore(saved.network)  # refuses what is not of this model, before a signal is there
        return saved
    return None if warm_start is None else warm_start_from(warm_start, bundle.contract, options)


def warm_start_from(
    path: Path, contract: Contract, options: PipelineOptions | None = None, stream: Selector | None = None
) -> SavedAdaptation:
    """The alignment of a recording, or of what a session kept.

    Parameters
    ----------
    path : Path
    contract : Contract
    options : PipelineOptions or None
        How the recording is read.
    stream : Selector or None
        Which signal of the recording; None takes the only one of type EEG.

    Returns
    -------
    SavedAdaptation
        Of the alignment alone.

    Raises
    ------
    ContractError, RecordingError, UsageError
        As :func:`beginning`.
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
    # A warm start of the bundle would be mixed with what the person is like now.
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
    """Whether a file looks like one that a session kept, and not like a recording."""
    try:
        with path.open("rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError:  # a folder, as some recordings are, or nothing, which the reader of recordings will tell
        return False
