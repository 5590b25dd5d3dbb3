"""Record of a bundle's training: its recordings, and how to read their signal and markers, for later commands."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_Seconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]


class _Model(BaseModel):
    # Entries of later versions are ignored.
    model_config = ConfigDict(frozen=True, extra="ignore")


class TrainedRecording(_Model):
    """Recording that was trained on: the name of its file and the hash of its bytes."""

    file: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class TrainedSource(_Model):
    """Recordings' signal: the source's ``labels`` and ``units``, and the ``channels``, by position, and ``unit`` that were given."""

    n_channels: Annotated[int, Field(ge=1)]
    labels: tuple[str, ...] | None = None
    units: tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    unit: str | None = None


class TrainedParent(_Model):
    """Model that another was fine-tuned from."""

    name: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class TrainingRecord(_Model):
    """Section ``training`` of ``bundle.json``; times are in seconds since the cue.

    Parameters
    ----------
    recordings : tuple of TrainedRecording
        Those of the models that it was fine-tuned from too.
    markers : dict
        Marker label to class.
    marker_stream : str or None
        The marker stream that was named.
    offset_s, length_s, decided_at_s : float
        Part of a trial that counted, and when it was decided.
    slide_s : float
        Time that windows reach beyond a trial's ends.
    ended_by : str
        Origin of the end of a trial, for people.
    parents : tuple of TrainedParent
        Models that it was fine-tuned from, the newest first.
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
    parents: tuple[TrainedParent, ...] = ()
