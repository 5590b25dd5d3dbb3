"""The folder of models: bundles that streams can be given while the service runs, each in a folder that is its id.

The folder is read whenever it is asked about; a bundle is verified again only after one of its files has changed.
"""

from __future__ import annotations

import builtins
import re
import secrets
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from mindwire.api.model_routes import NO_FOLDER, PolicySummary, StoredModel
from mindwire.config import stream_id
from mindwire.control.policy import ControlPolicy, choose_policy
from mindwire.errors import BundleError, ContractError, ModelConflictError, PolicyError, UnknownModelError, UsageError
from mindwire_models import zoo
from mindwire_models.archive import read_archive
from mindwire_models.atomic import replace_folder
from mindwire_models.bundle import BUNDLE, CARD, FILES, SUMS, Bundle, load_bundle
from mindwire_models.reading import parse_json_object
from mindwire_models.text import printable

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_CARD: Final = 64 * 1024  # of a model card, in bytes, as it is listed
_MAX_NAME: Final = 80
# Of a contract, what is long and says little to people.
_LONG: Final[Any] = {"sos": True, "normalisation": {"warm_start", "mean", "std"}}
_LEFT_OVER: Final = re.compile(r"\..+\.[0-9a-f]{8}\.new")  # names of mindwire_models.atomic
_LEFT_OVER_S: Final = 3600.0
_Fingerprint = tuple[tuple[str, int, int, int], ...]


class ModelStore:
    """Bundles in a folder, which is made if it is not there; None for a service without one.

    All methods may be called from any thread; several processes may share the folder.

    Raises
    ------
    UsageError
        The folder is itself a bundle, is a file, or cannot be made.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._known: dict[str, tuple[_Fingerprint, StoredModel]] = {}
        self._lock, self._changes = threading.Lock(), threading.Lock()
        if folder is None:
            return
        if (folder / SUMS).exists():
            msg = f"--models takes a folder of bundles, found the bundle {folder}; give the folder that it lies in."
            raise UsageError(msg)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"The folder of --models, {folder}, cannot be made ({error.strerror}); choose another place."
            raise UsageError(msg) from error
        for left in folder.glob(".*.new"):  # by a service that was killed while it unpacked
            with suppress(OSError):
                if _LEFT_OVER.fullmatch(left.name) and time.time() - left.stat().st_mtime > _LEFT_OVER_S:
                    shutil.rmtree(left)

    def path(self, reference: str) -> Path:
        """Return the folder of the model with an id.

        Raises
        ------
        UnknownModelError
            There is none.
        BundleError
            There is one, but it cannot be used.
        """
        found = {model.id: model for model in self.list()}
        model = found.get(reference)
        if model is None or self.folder is None:
            known = ", ".join(found) or "none"
            msg = NO_FOLDER if self.folder is None else f"There is no model {reference[:80]!r}; there are: {known}."
            raise UnknownModelError(msg)
        if model.error is not None:
            msg = f"The model {reference!r} cannot be used: {model.error}"
            raise BundleError(msg)
        return self.folder / reference

    def list(self) -> builtins.list[StoredModel]:
        """Return the bundles of the folder as it is now, sorted by id; those that cannot be used have an ``error``."""
        if self.folder is None:
            return []
        with self._lock:
            found: dict[str, tuple[_Fingerprint, StoredModel]] = {}
            for folder in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
                if folder.name.startswith(".") or not any((folder / name).exists() for name in (SUMS, BUNDLE)):
                    continue
                fingerprint = _fingerprint(folder)
                before = self._known.get(folder.name)
                same = before is not None and before[0] == fingerprint
                found[folder.name] = before if before is not None and same else (fingerprint, _description(folder))
            self._known = found
            return [model for _, model in found.values()]

    def add(self, archive: IO[bytes], reference: str | None = None) -> tuple[StoredModel, bool]:
        """Unpack an archive, verify the bundle, and keep it under an id; nothing is overwritten.

        Parameters
        ----------
        archive : file
            ZIP archive; see :func:`mindwire_models.archive.read_archive`.
        reference : str or None
            The id; by default the name of the archive's folder, or else the model's.

        Returns
        -------
        model : StoredModel
        new : bool
            False if the same bundle was there before, and nothing has been done.

        Raises
        ------
        BundleError, ContractError, PolicyError
            The archive is refused, or its bundle.
        ModelConflictError
            Another model has the id, or there is no folder.
        """
        if self.folder is None:
            raise ModelConflictError(NO_FOLDER)
        folder, files = read_archive(archive)
        reference = reference or stream_id(folder) or stream_id(_name_in(files)) or "model"
        if not _ID.fullmatch(reference):
            msg = (
                "Expected an id of letters, digits, '.', '_' and '-', 64 at most, that begins with one of the first two, "
                f"found '{printable(reference, 80)}'."
            )
            raise BundleError(msg)
        target = self.folder / reference

        def verify(new: Path) -> None:
            try:
                _load(new)
            except (BundleError, ContractError, PolicyError) as error:
                raise type(error)(_without_path(error, new)) from error
            self._refuse_other(reference)

        with self._changes:
            if target.is_dir() and all(_has(target / name, data) for name, data in files.items()):
                return self._listed(reference), False
            self._refuse_other(reference)
            replace_folder(target, files, verify)
        return self._listed(reference), True

    def _refuse_other(self, reference: str) -> None:
        """Refuse an id that the folder has, in capital letters or not."""
        assert self.folder is not None  # noqa: S101 - as the callers know
        taken = next(
            (path.name for path in self.folder.iterdir() if path.name.casefold() == reference.casefold()), None
        )
        if taken is not None:
            msg = f"There is another model {taken!r}, which is not overwritten; choose another id, or delete that one."
            raise ModelConflictError(msg)

    def _listed(self, reference: str) -> StoredModel:
        self.path(reference)
        return self._known[reference][1]

    def delete(self, reference: str, users: Sequence[str]) -> None:
        """Remove a bundle that no stream uses.

        Raises
        ------
        UnknownModelError
            There is none with this id.
        ModelConflictError
            ``users`` names streams that use it, or its folder holds more than a bundle.
        """
        with self._changes:
            if self.folder is None or reference not in {model.id for model in self.list()}:
                self.path(reference)  # refuses it
                return
            if users:
                msg = f"The model {reference!r} is in use by {', '.join(users)}; give them another first."
                raise ModelConflictError(msg)
            folder = self.folder / reference
            if folder.is_symlink():
                folder.unlink()
                return
            foreign = sorted(path.name for path in folder.iterdir() if path.name not in (*FILES, SUMS))
            if foreign:
                msg = f"The folder of {reference!r} holds {foreign[0]!r}, which is no part of a bundle; delete it by hand."
                raise ModelConflictError(msg)
            shutil.rmtree(folder.rename(folder.with_name(f".{reference}.{secrets.token_hex(4)}.new")))


def _fingerprint(folder: Path) -> _Fingerprint:
    """Return what changes when a file of a bundle does."""
    found = []
    for name in (*FILES, SUMS):
        with suppress(OSError):
            about = (folder / name).stat()
            found.append((name, about.st_ino, about.st_size, about.st_mtime_ns))
    return tuple(found)


def _load(folder: Path) -> tuple[Bundle, ControlPolicy | None]:
    bundle = load_bundle(folder)
    return bundle, choose_policy(bundle)


def _description(folder: Path) -> StoredModel:
    name = printable(folder.name, _MAX_NAME)
    try:
        if not _ID.fullmatch(folder.name):
            msg = "The folder's name may hold only letters, digits, '.', '_' and '-', 64 at most; rename it."
            raise BundleError(msg)  # noqa: TRY301 - reported as the others are
        bundle, policy = _load(folder)
    except (BundleError, ContractError, PolicyError) as error:
        return StoredModel(id=name, name=name, error=_without_path(error, folder))
    return StoredModel(
        id=name,
        name=bundle.name,
        sha256=bundle.sha256,
        classes=list(bundle.contract.classes),
        notice=zoo.notice(bundle),
        contract=bundle.contract.model_dump(mode="json", exclude=_LONG),
        policy=None if policy is None else _summary(policy),
        lineage=bundle.training,
        card=bundle.read(CARD)[:_MAX_CARD].decode(errors="replace"),
    )


def _summary(policy: ControlPolicy) -> PolicySummary:
    tuning = policy.tuning
    if tuning is None:
        return PolicySummary(hash=policy.hash)
    return PolicySummary(
        hash=policy.hash, budget_per_minute=tuning.budget_per_minute, proven_per_minute=tuning.proven_per_minute
    )


def _name_in(files: Mapping[str, bytes]) -> str:
    """Return the name that a bundle gives itself; empty where it is none, which is refused later."""
    try:
        return str(parse_json_object(files.get(BUNDLE, b""), BUNDLE, "a description", BundleError).get("name", ""))
    except BundleError:
        return ""


def _has(file: Path, content: bytes) -> bool:
    return file.is_file() and file.stat().st_size == len(content) and file.read_bytes() == content


def _without_path(error: Exception, folder: Path) -> str:
    """Return the sentence of an error without the place of the folder, which clients need not know."""
    return str(error).replace(f"{folder}/", "").replace(str(folder), "the bundle").replace(str(folder.resolve()), "")
