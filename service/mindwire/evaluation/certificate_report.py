"""Certificate of a recording or a session as a JSON file and a page, optionally signed, and the check of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from mindwire.errors import MindwireError, UsageError
from mindwire.evaluation.certificate import RunCertificate, Search, bundles_in, certify_recording
from mindwire.evaluation.certificate_page import certificate_page
from mindwire.evaluation.page import write_files
from mindwire.evaluation.pseudo_online import Progress, file_sha256
from mindwire.evaluation.signing import is_signed, key_name, named_key, read_public, sign, signature_path
from mindwire.offline.recorded_run import run_names, without_model
from mindwire.provenance import machine, source_sha256
from mindwire.sessions.document import MODELS, SESSION, Run, read_session
from mindwire.sources.recording import open_recording
from mindwire_models.bundle import load_bundle
from mindwire_models.parallel import Parallel, run_parallel
from mindwire_models.text import counted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class Certificate:
    """Findings on a recording or a session; ``faults`` are those of the session as a whole.

    ``software`` is what derived everything again; ``session`` whose session it is, with the hash of ``session.json``.
    """

    title: str
    created: str
    runs: Sequence[RunCertificate]
    tolerance: float
    faults: Sequence[str] = ()
    session: Mapping[str, Any] | None = None
    software: Mapping[str, Any] = field(default_factory=lambda: machine() | {"sha256": source_sha256()})

    @property
    def confirmed(self) -> bool:
        """True if everything that the recordings allow to confirm is confirmed, and nothing contradicts it."""
        return bool(self.runs) and not self.faults and all(run.confirmed for run in self.runs)

    def of_runs(self, part: Literal["faults", "lacking"]) -> list[str]:
        """Return the sentences of all runs, each with its run where there are several."""
        single = len(self.runs) == 1
        return [text if single else f"{run.label}: {text}" for run in self.runs for text in getattr(run, part)]

    @property
    def verdict(self) -> str:
        """Return the verdict, one sentence."""
        findings = [*self.faults, *self.of_runs("faults")]
        if not self.confirmed:
            more = f" ({counted(len(findings) - 1, 'finding')} more)" if len(findings) > 1 else ""
            return f"NOT confirmed: {findings[0] if findings else 'there is no run.'}{more}"
        predictions, decisions, unchecked = (
            sum((getattr(run, part) or {}).get(key, 0) for run in self.runs)
            for part, key in (("predictions", "confirmed"), ("decisions", "confirmed"), ("predictions", "unchecked"))
        )
        worst = max(run.predictions["largest_difference"] for run in self.runs)
        same = all(run.predictions["equal"] == run.predictions["valid"] for run in self.runs)
        exact = "bit for bit" if same else f"within {worst:.1g} in probability"
        some = f"; {counted(unchecked, 'prediction')} more cannot be checked" if unchecked else ""
        return (
            f"Confirmed: {counted(predictions, 'prediction')} and {counted(decisions, 'decision')} of "
            f"{counted(len(self.runs), 'run')} follow from the recorded EEG, {exact}{some}."
        )


def certify(
    path: Path, search: Search, progress: Progress | None = None, *, parallel: Parallel | None = None
) -> Certificate:
    """Return the certificate of a recording, or of a session's folder with all its runs that have predictions.

    Recordings of a session can be worked on in ``parallel``; progress then counts them.

    Raises
    ------
    UsageError
        There is neither.
    RecordingError
        The folder is no session, or its description is damaged.
    """
    created = datetime.now(UTC).isoformat(timespec="seconds")
    if not path.is_dir():
        if not path.exists():
            msg = f"{path}: there is no such recording or session; check the path."
            raise UsageError(msg)
        runs = certify_recording(path, search, progress)
        return Certificate(path.name, created, runs, search.tolerance, _damaged(search.named))
    document = read_session(path)
    search = replace(search, named=(*search.named, *bundles_in(path / MODELS)))
    faults, runs = list(_damaged(search.named)), list[RunCertificate]()
    entries = {run.file: run for run in document.runs}
    names = sorted({*entries, *(file.name for file in path.glob("run-*.xdf"))})
    present = [path / name for name in names if (path / name).is_file()]
    faults += [f"{SESSION} names {name}, which is not there." for name in names if path / name not in present]
    where = parallel or Parallel()
    by_recording: dict[int, list[RunCertificate]] = {}
    for number, found in run_parallel(_certify_each, (search, progress if where.here else None), present, where):
        if isinstance(found, MindwireError):
            raise found
        by_recording[number] = found
        if progress is not None and not where.here:
            progress(len(by_recording), len(present))
    for number, file in enumerate(present):
        runs += [] if _is_undecoded(file) else by_recording[number]
        faults += _contradictions(entries.get(file.name), file.name, by_recording[number])
    about = {"participant": document.participant, "date": document.date, "sha256": file_sha256(path / SESSION)}
    title = f"{document.participant} {document.date}"
    return Certificate(title, created, runs, search.tolerance, tuple(faults), about)


def _certify_each(how: tuple[Search, Progress | None], path: Path) -> list[RunCertificate]:
    search, progress = how
    return certify_recording(path, search, progress)


def _is_undecoded(path: Path) -> bool:
    """Return true for a recording without predictions, made before there was a model: it takes nothing from a session's certificate."""
    with suppress(MindwireError):
        recording = open_recording(path)
        return not run_names(recording) and bool(without_model(recording))
    return False


def _damaged(bundles: Sequence[Path]) -> tuple[str, ...]:
    """Return a sentence for each bundle that is none or was changed."""
    faults = []
    for path in bundles:
        try:
            load_bundle(path)
        except MindwireError as error:
            faults.append(str(error))
    return tuple(faults)


def _contradictions(entry: Run | None, name: str, runs: Sequence[RunCertificate]) -> list[str]:
    """Return in what ``session.json`` contradicts a recording, a sentence each."""
    if entry is None:
        return [f"{name} is not in {SESSION}."]
    faults = [f"{name} is still being recorded, or was not finished."] if entry.status == "recording" else []
    if entry.sha256 not in (None, runs[0].sha256):
        faults.append(f"{name} was changed after {SESSION} was written: its hash is another.")
    models = {model.sha256 for run in runs for model in run.models}
    policies = {str(policy["hash"]) for run in runs for policy in run.policies if policy["hash"]}
    for kind, noted, recorded in (
        ("model", {model.sha256 for model in entry.models}, models),
        ("control policy", {policy.hash for policy in entry.control if policy.hash}, policies),
    ):
        if recorded and noted != recorded:
            listed = [", ".join(sorted(one[:12] for one in some)) or "none" for some in (noted, recorded)]
            faults.append(f"{SESSION} names another {kind} of {name} than the recording: {listed[0]}, not {listed[1]}.")
    return faults


def write_certificate(found: Certificate, folder: Path, key: Ed25519PrivateKey | None = None) -> list[Path]:
    """Write ``report.json`` and ``report.html`` and, with a key, the signature of the JSON file; return their paths.

    A RecordingError says that the folder cannot be written.
    """
    signer = None if key is None else key_name(key.public_key())
    page = certificate_page(found, signer)
    document = {
        "kind": "mindwire-certificate",
        "version": 1,
        "mindwire": found.software["mindwire"],
        "verdict": found.verdict,
        "confirmed": found.confirmed,
        "signature": signer and {"algorithm": "Ed25519", "public_key": signer, "file": "report.json.sig"},
        "page": {"file": "report.html", "sha256": hashlib.sha256(page.encode()).hexdigest()},
        "certificate": msgspec.to_builtins(found),
    }
    signature_path(folder / "report.json").unlink(missing_ok=True)  # of an earlier report
    written = list(write_files(folder, json.dumps(document, indent=1) + "\n", page))
    return written if key is None else [*written, sign(written[0], key)]


class _Page(msgspec.Struct):
    file: str
    sha256: str


class _Signature(msgspec.Struct):
    public_key: str


class _Runs(msgspec.Struct):
    runs: list[_Page]


class _Report(msgspec.Struct):
    """Parts of a report that are checked."""

    kind: Literal["mindwire-certificate"]
    verdict: str
    page: _Page
    certificate: _Runs
    signature: _Signature | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """Findings on a report: what was ``changed`` since it was written, and ``notes``; a sentence each."""

    changed: Sequence[str]
    notes: Sequence[str]


def check_certificate(report: Path, recording: Path | None = None, public_key: Path | None = None) -> Checked:
    """Check the page, the signature and, if given, a recording or session against a report.

    Raises
    ------
    UsageError
        There is no report, or no public key.
    """
    file = report / "report.json" if report.is_dir() else report.with_suffix(".json")
    try:
        data = file.read_bytes()
    except OSError as error:
        msg = f"{report}: the report cannot be read ({error.strerror}); name report.json, or the folder that it is in."
        raise UsageError(msg) from error
    try:
        document = msgspec.json.decode(data, type=_Report)
    except (msgspec.DecodeError, ValueError):
        document = None
    changed, notes = _check_signature(file, data, document, public_key)
    if document is None:
        return Checked([*changed, f"{file.name} is no certificate, or was changed."], notes)
    page = file.with_name(Path(document.page.file).name)
    if not page.is_file():
        changed.append(f"{page.name} is missing.")
    elif file_sha256(page) != document.page.sha256:
        changed.append(f"{page.name} was changed: its hash is not the one that {file.name} holds.")
    if recording is not None:
        known = {run.sha256 for run in document.certificate.runs}
        for path in sorted(recording.glob("run-*.xdf")) if recording.is_dir() else [recording]:
            if file_sha256(path) in known:
                notes.append(f"{path.name} is the recording that was certified.")
            else:
                changed.append(f"{path.name} is no recording that was certified, or was changed since.")
    return Checked(changed, notes if changed else [*notes, f"The report says: {document.verdict}"])


def _check_signature(
    file: Path, data: bytes, document: _Report | None, public_key: Path | None
) -> tuple[list[str], list[str]]:
    """Return what the signature says was changed, and notes on it."""
    path = signature_path(file)
    signature = path.read_bytes() if path.is_file() else None
    stated = document.signature if document is not None else None
    if signature is None:
        if public_key is not None or stated is not None:
            return [f"{path.name} is missing, so the signature cannot be checked."], []
        return [], [f"The report is not signed: {file.name} itself could be changed without a trace."]
    if public_key is None and stated is None:
        return [f"{file.name} was changed: it does not name the key of its signature {path.name}."], []
    key = read_public(public_key) if public_key is not None else named_key(stated.public_key if stated else "")
    if key is None or not is_signed(data, signature, key):
        return [f"{file.name} or {path.name} was changed after it was signed, or signed with another key."], []
    if public_key is None:
        note = "give the signer's public key with --public-key to confirm that it is the signer's"
        return [], [f"{file.name} is as it was signed with the key {key_name(key)[:16]}… that it names; {note}."]
    return [], [f"{file.name} is as it was signed with the key of {public_key.name} ({key_name(key)[:16]}…)."]
