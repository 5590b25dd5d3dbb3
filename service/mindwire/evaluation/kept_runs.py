"""Results of single recordings, each in a Parquet file that is written when the recording has ended.

A run that was interrupted reads what is there and goes on with the rest. The file holds the predictions, one row each, and
what else the evaluation needs as JSON in the metadata of the table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import msgspec
import numpy as np

from mindwire import __version__
from mindwire.errors import RecordingError
from mindwire.evaluation.scores import EvaluatedRun, Trace
from mindwire.offline.trials import Trial
from mindwire.types import Marker
from mindwire_models.atomic import open_replacement
from mindwire_models.errors import extra

_METADATA = b"mindwire"


@dataclass(frozen=True, slots=True)
class _About:
    """Fields of an :class:`EvaluatedRun` besides its predictions, and the key."""

    key: str
    sha256: str
    trials: tuple[Trial, ...]
    duration_s: float
    left_out: tuple[str, ...]
    n_outside: int
    problems: tuple[str, ...]
    doubts: tuple[str, ...]
    markers: tuple[Marker, ...]


_OF_RUN = tuple(field.name for field in fields(_About) if field.name != "key")


def run_key(*parts: str) -> str:
    """Return the hash of all that a result depends on, this version of Mindwire included."""
    return hashlib.sha256(json.dumps([__version__, *parts]).encode()).hexdigest()


class KeptRuns:
    """Folder of results; made when the first one is written.

    Raises
    ------
    MissingExtraError
        pyarrow is not installed.
    """

    def __init__(self, folder: Path) -> None:
        with extra("jobs", "--results needs pyarrow"):
            import pyarrow.parquet  # noqa: F401
        if folder.exists() and not folder.is_dir():
            msg = f"--results {folder}: expected a folder, found a file; name another."
            raise RecordingError(msg)
        self._folder = folder

    def _path(self, file: Path, key: str) -> Path:
        return self._folder / f"{file.name}-{key[:16]}.parquet"

    def read(self, file: Path, key: str) -> EvaluatedRun | None:
        """Return the result of a recording; None if there is none, or it is damaged."""
        import pyarrow as pa
        from pyarrow import parquet

        path = self._path(file, key)
        if not path.exists():
            return None
        try:
            table = parquet.read_table(path)
            about = msgspec.convert(json.loads(table.schema.metadata[_METADATA]), _About)
        except (OSError, KeyError, TypeError, ValueError, msgspec.ValidationError, pa.ArrowException):
            return None
        if about.key != key:
            return None
        times, *probabilities, reasons = (column.to_numpy() for column in table.columns)
        of_run = {name: getattr(about, name) for name in _OF_RUN}
        return EvaluatedRun(file=str(file), trace=Trace(times, np.stack(probabilities, axis=1), reasons), **of_run)

    def write(self, run: EvaluatedRun, classes: Sequence[str], key: str) -> None:
        """Keep the result of a recording; probabilities are in columns named by ``classes``."""
        import pyarrow as pa
        from pyarrow import parquet

        about = _About(key, **{name: getattr(run, name) for name in _OF_RUN})
        columns = [run.trace.times, *run.trace.probabilities.T, run.trace.reasons]
        table = pa.table(columns, names=["time", *classes, "reasons"])
        table = table.replace_schema_metadata({_METADATA: json.dumps(msgspec.to_builtins(about))})
        self._folder.mkdir(parents=True, exist_ok=True)
        with open_replacement(self._path(Path(run.file), key)) as file:
            parquet.write_table(table, file)
