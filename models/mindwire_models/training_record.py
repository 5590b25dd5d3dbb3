"""What a bundle remembers of its training, so that later commands need not be told again, and what it was trained on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mindwire_models.errors import BundleError

_Seconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]


class _Model(BaseModel):
    # Later versions may say more; what is known of it holds.
    model_config = ConfigDict(frozen=True, extra="ignore")


class TrainedRecording(_Model):
    """A recording that was trained on: its file's name, and the hash of its bytes."""

    file: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class TrainedSource(_Model):
    """How the recordings' signal was to be read, where they did not say it themselves.

    Parameters
    ----------
    n_channels : int
        Of the source.
    labels, units : tuple of str or None
        What the source itself said of its channels.
    channels : tuple of str or None
        Labels by position that the user gave.
    unit : str or None
        Unit that the user gave.
    """

    n_channels: Annotated[int, Field(ge=1)]
    labels: tuple[str, ...] | None = None
    units: tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    unit: str | None = None


class TrainingRecord(_Model):
    """The section ``training`` of ``bundle.json``.

    Parameters
    ----------
    version : int
    recordings : tuple of TrainedRecording
    source : TrainedSource
    markers : dict
        Marker label to class.
    marker_stream : str or None
        The marker stream that was named.
    offset_s, length_s : float
        The part of a trial that counted, in seconds since its cue.
    slide_s : float
        How far windows reach beyond a trial's ends.
    ended_by : str
        How the end of a trial was found, for people.
    decided_at_s : float
        When trials were decided, in seconds since their cue.
    """

    version: Literal[1] = 1
    recordings: tuple[TrainedRecording, ...]
    source: TrainedSource
    markers: dict[str, str] = {}
    marker_stream: str | None = None
    offset_s: _Seconds
    length_s: _Seconds
    slide_s: _Seconds = 0.0
    ended_by: str = ""
    decided_at_s: _Seconds


def read_training(document: Any, where: str) -> TrainingRecord | None:
    """The section of a bundle; None where it has none, as bundles that were only exported.

    Raises
    ------
    BundleError
        It is of another version, or damaged.
    """
    if document is None:
        return None
    try:
        return TrainingRecord.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, ("training", *first["loc"])))
        msg = f"{where}: expected what the bundle remembers of its training, but {place} is wrong ({first['msg']}); update Mindwire, or train again."
        raise BundleError(msg) from error
