"""The bundle that a recording of a live run was made with."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mindwire.errors import BundleError
from mindwire.sources.own_input import own_inputs
from mindwire.sources.recording import Recording
from mindwire_models.bundle import load_bundle
from mindwire_models.zoo import zoo_bundle_path


def bundle_path(given: Path | None, recordings: Sequence[Recording], default: Path | None) -> tuple[Path | None, str]:
    """The bundle for recordings of live runs: the one they were made with, unless another is given.

    Parameters
    ----------
    given : Path or None
        What the user says.
    recordings : sequence of Recording
    default : Path or None
        Where the recordings say nothing.

    Returns
    -------
    path : Path or None
    sentence : str
        Which bundle was found, for people; empty where none was looked for.

    Raises
    ------
    BundleError
        The bundle of the recordings is no longer where it was, or has changed, or they were made with several.
    """
    if given is not None:
        return given, ""
    made_with = {own.model_sha256: own for recording in recordings for own in own_inputs(recording.streams)}
    if not made_with:
        return default, ""
    if len(made_with) > 1:
        names = ", ".join(f"{own.model_name} ({own.model_sha256[:12]})" for own in made_with.values())
        msg = f"The recordings were made with several bundles: {names}; say which one with --model BUNDLE."
        raise BundleError(msg)
    [own] = made_with.values()
    return find_bundle(own.model_name, own.model_sha256, own.model_path)


def find_bundle(name: str, sha256: str, path: Path | None) -> tuple[Path, str]:
    """The bundle that a recording was made with, if it is still what it was.

    Parameters
    ----------
    name, sha256 : str
    path : Path or None
        Where it was.

    Returns
    -------
    path : Path
    sentence : str
        Which it is, for people.

    Raises
    ------
    BundleError
        It is not there any more, or another is there.
    """
    for place in (path, zoo_bundle_path()):
        with suppress(BundleError):
            if place is not None and load_bundle(place).sha256 == sha256:
                return place, f"With {name} ({sha256[:12]}) from {place}, which the recording was made with."
    where = f"which is no longer at {path}, or has changed" if path else "and does not say where that is"
    msg = (
        f"The recording was made with the bundle {name} ({sha256[:12]}), {where}; say where it is with --model BUNDLE."
    )
    raise BundleError(msg)
