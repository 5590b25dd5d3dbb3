"""The bundles that recordings of live runs were made with: beside the recording, where it says, or among others given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mindwire.errors import BundleError
from mindwire.inference.decoder import Decoder
from mindwire.inference.load import Device, Engine, load_decoder
from mindwire.offline.recorded_run import RecordedRun
from mindwire.sessions.document import MODELS
from mindwire.sources.own_input import own_inputs
from mindwire.sources.recording import Recording
from mindwire_models.bundle import Bundle, load_bundle
from mindwire_models.zoo import zoo_bundle_path


def bundle_path(given: Path | None, recordings: Sequence[Recording], default: Path | None) -> tuple[Path | None, str]:
    """The bundle that recordings of live runs were made with, unless another is given, or the default where they say nothing.

    The sentence tells people which bundle was found; it is empty where none was looked for.

    Raises
    ------
    BundleError
        The bundle of the recordings is no longer where it was, or has changed, or they were made with several.
    """
    if given is not None:
        return given, ""
    inputs = [own for recording in recordings for own in own_inputs(recording.streams)]
    made_with = {own.model_sha256: own for own in inputs if own.model_sha256}
    if not made_with:
        return default, ""
    if len(made_with) > 1:
        names = ", ".join(f"{own.model_name} ({own.model_sha256[:12]})" for own in made_with.values())
        msg = f"The recordings were made with several bundles: {names}; say which one with --model BUNDLE."
        raise BundleError(msg)
    [own] = made_with.values()
    kept = [place for recording in recordings for place in kept_bundles(recording.path, own.model_sha256)]
    return find_bundle(own.model_name, own.model_sha256, own.model_path, kept)


def load_models(
    run: RecordedRun, places: Sequence[Path], engine: Engine = "auto", device: Device = "auto"
) -> tuple[list[Bundle], list[Decoder]]:
    """Load the bundles of all models that a run used, in their order, and decoders for them; errors as of :func:`find_bundle`."""
    found = [find_bundle(*model, places)[0] for model in run.used]
    bundles = [load_bundle(path) for path in found]
    return bundles, [load_decoder(bundle, engine, device, adapt=run.options.adapt) for bundle in bundles]


def kept_bundles(recording: Path, sha256: str) -> list[Path]:
    """Return the copies of a bundle in the session that a recording is in."""
    return sorted((recording.parent / MODELS).glob(f"*-{sha256[:8]}"))


def find_bundle(name: str, sha256: str, path: Path | None, places: Sequence[Path] = ()) -> tuple[Path, str]:
    """The bundle that a recording was made with, if it is still what it was at ``path``, and a sentence on it for people.

    ``places`` are further bundles, among which it may be.

    Raises
    ------
    BundleError
        It is not there any more, or another is there.
    """
    refused: dict[str, None] = {}  # reasons, in order
    for place in (*places, path, zoo_bundle_path()):
        if place is None or not place.is_dir():
            continue
        try:
            bundle = load_bundle(place)
        except BundleError as error:
            refused[str(error)] = None
            continue
        if bundle.sha256 == sha256:
            return place, f"With {name} ({sha256[:12]}) from {place}, which the recording was made with."
    where = f"which is no longer at {path}, or has changed" if path else "and does not say where that is"
    msg = (
        f"The recording was made with the bundle {name} ({sha256[:12]}), {where}; say where it is with --model BUNDLE."
    )
    raise BundleError(" ".join([msg, *refused]))
