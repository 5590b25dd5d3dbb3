"""Recordings identified by the hash of their bytes: named twice, or used in training."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mindwire.errors import UsageError
from mindwire.evaluation.pseudo_online import file_sha256
from mindwire_models.bundle import CARD, Bundle
from mindwire_models.text import printable

_HASH = re.compile(r"\b[0-9a-f]{64}\b")


def check_distinct(paths: Sequence[Path]) -> dict[Path, str]:
    """Refuse, with a UsageError, a recording that is named twice, as itself or as a copy; return the hash of each."""
    known: dict[str, Path] = {}
    hashes: dict[Path, str] = {}
    for path in paths:
        hashes[path] = file_sha256(path)
        same = known.setdefault(hashes[path], path)
        if same is not path:
            named = "is named twice" if str(path) == str(same) else f"is the same recording as {same}"
            msg = f"{path} {named}, and would count twice; name each recording once."
            raise UsageError(msg)
    return hashes


def trained_on(bundle: Bundle, paths: Sequence[Path], hashes: Mapping[Path, str] | None = None) -> list[Path]:
    """Those of some recordings that a bundle was trained on, by the hashes that it and its model card hold.

    ``hashes`` are those of the recordings, where they are known.
    """
    known = set(_HASH.findall(bundle.read(CARD).decode(errors="replace")))
    if bundle.training is not None:
        known |= {recording.sha256 for recording in bundle.training.recordings}
    return [path for path in paths if (file_sha256(path) if hashes is None else hashes[path]) in known]


def check_not_trained_on(bundle: Bundle, paths: Sequence[Path], *, allowed: bool) -> str:
    """Refuse, with a UsageError, recordings that a bundle was trained on, unless they are ``allowed``; return the report's warning."""
    found = trained_on(bundle, paths)
    if not found:
        return ""
    names = printable(", ".join(path.name for path in found))
    if not allowed:
        msg = (
            f"{names}: {bundle.name} was trained on {'this recording' if len(found) == 1 else 'these recordings'}, so it "
            "says nothing of how well the model decides others; name recordings that it was not trained on, or add "
            "--allow-training-data, and the report is marked."
        )
        raise UsageError(msg)
    return (
        f"TRAINING DATA: {bundle.name} was trained on {len(found)} of {len(paths)} "
        f"{'recording' if len(paths) == 1 else 'recordings'} ({names}); these figures do not tell how well it decides others."
    )
