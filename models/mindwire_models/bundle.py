"""The bundle: a folder with everything a model needs to run, verified before anything in it is used.

Loading needs neither torch nor a runtime and executes nothing: hashes are compared first, then documents, then weights,
contract and graphs with each other. Writing is atomic: a reader sees the old bundle or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ValidationError

from mindwire_models.atomic import replace_folder
from mindwire_models.bundle_checks import (
    CONFIG,
    GRAPH,
    KIND_NAMES,
    RECORDING,
    STEM,
    STREAMING,
    WEIGHTS,
    GraphKind,
    check_parts,
    decoder_of,
)
from mindwire_models.contract import Contract, Name
from mindwire_models.errors import BundleError, extra
from mindwire_models.graphs.streaming_plan import StemGeometry
from mindwire_models.reading import MIB, first_fault, parse_json_object, read_regular
from mindwire_models.training_record import TrainingRecord

if TYPE_CHECKING:
    from mindwire_models.network.attentionbasenet import AttentionBaseNet
    from mindwire_models.network.ensemble import Ensemble
    from mindwire_models.network.riemann import TangentSpaceNetwork

BUNDLE_VERSION: Final = 1

BUNDLE, CONTRACT, CARD, SUMS = "bundle.json", "contract.json", "README.md", "SHA256SUMS"
REQUIRED = (BUNDLE, CONFIG, CONTRACT, CARD, GRAPH)
# Both streaming graphs or none. The graph for recordings is of bundles of earlier versions; it is verified and not used.
POLICY_FILE = "control.json"
# The weights are missing from a decoder from outside alone; they are in its graph.
OPTIONAL = (WEIGHTS, STREAMING, STEM, RECORDING, POLICY_FILE)
FILES = (*REQUIRED, *OPTIONAL)

_LIMITS = dict.fromkeys((WEIGHTS, GRAPH, STREAMING, STEM, RECORDING), 128 * MIB) | {POLICY_FILE: MIB}
_DOCUMENT_LIMIT = 16 * MIB
_SUM = re.compile(r"([0-9a-f]{64})  (.+)")


class _Description(BaseModel):
    """Content of ``bundle.json``; entries of later versions are ignored."""

    version: Literal[1] = BUNDLE_VERSION
    name: Name
    graph: GraphKind
    training: TrainingRecord | None = None


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle.

    Parameters
    ----------
    path, name : Path, str
        The folder, and the model's name for people.
    contract : Contract
    config : dict
        The network's constructor arguments as braindecode stores them.
    graph : {"plain", "folded"}
        Kind of ``model.onnx``: ``plain`` maps ``x`` to ``logits``; ``folded`` also takes the alignment and
        also gives probabilities.
    digests, files : mapping of str to str or bytes
        SHA-256 and content of each file, as it was verified.
    sha256 : str
        Identity of the model: a hash over the hashes of everything but the model card and the control policy, so
        it depends neither on dates nor on what is decided from the predictions.
    streaming : StemGeometry or None
        Lengths of the streaming graphs, where the bundle has such as this version of Mindwire can drive.
    training : TrainingRecord or None
        Record of its training; None where it was only exported.
    """

    path: Path
    name: str
    contract: Contract
    config: Mapping[str, Any]
    graph: GraphKind
    digests: Mapping[str, str]
    files: Mapping[str, bytes] = field(repr=False, compare=False)
    sha256: str
    streaming: StemGeometry | None = None
    training: TrainingRecord | None = None

    @property
    def outdated_streaming(self) -> bool:
        """True if there are streaming graphs, but of another version of Mindwire."""
        return self.streaming is None and STREAMING in self.digests

    @property
    def policy(self) -> bytes | None:
        """The control policy as it is stored, None where the bundle has none."""
        return self.files.get(POLICY_FILE)

    def read(self, name: str) -> bytes:
        """Return a file's content as it was verified, whatever has become of the folder since.

        Raises
        ------
        BundleError
            The bundle has no such file.
        """
        if name not in self.files:
            msg = f"{self.path}: the bundle has no {name}; export it again."
            raise BundleError(msg)
        return self.files[name]


def load_bundle(path: Path | str) -> Bundle:
    """Load a bundle from its folder and verify all of it.

    Raises
    ------
    BundleError
        The folder is no bundle, a file is missing, changed, too large or lies outside the folder, a version is
        unknown, or weights, contract and graph contradict each other.
    ContractError
        The contract does not hold together.
    """
    folder = Path(path)
    if not folder.is_dir():
        msg = f"{folder}: expected a bundle's folder, found {'a file' if folder.exists() else 'nothing'} there."
        raise BundleError(msg)
    before = folder.stat().st_ino
    try:
        return _load(folder)
    except BundleError:
        # Unless another bundle has taken this one's place meanwhile, so that files of both were read.
        if not folder.is_dir() or folder.stat().st_ino == before:
            raise
    return load_bundle(folder)


def _load(folder: Path) -> Bundle:
    digests = _read_sums(folder)
    files = {name: _read_verified(folder, name, digest) for name, digest in digests.items()}
    about = parse_json_object(files[BUNDLE], folder / BUNDLE, "a description of the bundle", BundleError)
    if about.get("version") != BUNDLE_VERSION:
        msg = (
            f"{folder / BUNDLE}: expected bundle version {BUNDLE_VERSION}, found {reprlib.repr(about.get('version'))}; "
            "export it again with this version of Mindwire, or update Mindwire."
        )
        raise BundleError(msg)
    try:
        description = _Description.model_validate(about)
    except ValidationError as error:
        place, reason = first_fault(error)
        msg = (
            f"{folder / BUNDLE}: expected a description of the bundle, but {place} is wrong ({reason}); "
            "update Mindwire, or export or train the model again."
        )
        raise BundleError(msg) from error
    contract = Contract.parse(files[CONTRACT], str(folder / CONTRACT))
    config = parse_json_object(files[CONFIG], folder / CONFIG, "the network's arguments", BundleError)
    return Bundle(
        path=folder,
        name=description.name,
        contract=contract,
        config=config,
        graph=description.graph,
        digests=digests,
        files=files,
        sha256=_identity(digests),
        streaming=check_parts(files, config, description.graph, contract, folder),
        training=description.training,
    )


def check_target(out: Path, name: str) -> None:
    """Refuse, with a BundleError, a name no bundle can have, or a place where it would replace something else or not be written."""
    try:
        _Description(name=name, graph="folded")
    except ValidationError as error:
        msg = f"The model's name is wrong ({first_fault(error)[1]}); give another with --name."
        raise BundleError(msg) from error
    above = next((folder for folder in out.absolute().parents if folder.exists()), out)
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        what = "cannot be written to" if above.is_dir() else "is a file"
        msg = f"{out}: nothing can be written there, for {above} {what}; choose another place."
        raise BundleError(msg)
    if not out.exists() and not out.is_symlink():
        return
    found = sorted(path.name for path in out.iterdir()) if out.is_dir() else None
    if found and SUMS in found:
        found = [name for name in found if name not in (*FILES, SUMS)]
    if found is None or found:
        what = f"holds {found[0]}, which is no part of one" if found else "is a file"
        msg = f"{out} exists and is not a Mindwire bundle: it {what}; choose an empty or a new folder."
        raise BundleError(msg)


def write_bundle(
    out: Path | str,
    *,
    name: str,
    contract: Contract,
    config: Mapping[str, Any],
    weights: bytes | None,
    graph: GraphKind,
    graphs: Mapping[str, bytes],
    card: str,
    training: TrainingRecord | None = None,
    policy: bytes | None = None,
) -> Bundle:
    """Write a bundle, whole or not at all, and verify it before it takes its place.

    Parameters
    ----------
    out : Path or str
        The folder; an existing bundle there is replaced, anything else is left alone.
    name, contract, config, graph, training
        As of a :class:`Bundle`.
    weights : bytes or None
        Content of ``model.safetensors``; None for a decoder from outside.
    card : str
        Content of ``README.md``.
    graphs : mapping of str to bytes
        ``model.onnx`` and, where the network allows it, ``streaming.onnx`` with ``stem.onnx``.
    policy : bytes or None
        Content of ``control.json``.

    Raises
    ------
    BundleError
        The folder holds something else, the name is wrong, the disk is full, or the parts contradict each other;
        what was there before is untouched.
    """
    out = Path(out)
    check_target(out, name)
    description = _Description(name=name, graph=graph, training=training)
    untrained = {"training"} if training is None else None
    files: dict[str, bytes] = {
        BUNDLE: _json(description.model_dump(mode="json", exclude=untrained)),
        CONFIG: _json(dict(config)),
        CONTRACT: contract.to_json().encode(),
        CARD: card.encode(),
        **graphs,
    }
    further = {WEIGHTS: weights, POLICY_FILE: policy}
    return _write(out, files | {file: content for file, content in further.items() if content is not None})


def write_policy(bundle: Bundle, policy: bytes | str) -> Bundle:
    """Write a control policy into a bundle's folder, and its hash; the folder is replaced in one step.

    Raises
    ------
    BundleError
        The folder no longer holds this model, or cannot be written; what was there before is untouched.
    """
    if load_bundle(bundle.path).sha256 != bundle.sha256:
        msg = f"{bundle.path}: another model has been written there meanwhile, so the policy is not; repeat it for this one."
        raise BundleError(msg)
    content = policy.encode() if isinstance(policy, str) else policy
    return _write(bundle.path, {**bundle.files, POLICY_FILE: content})


def _write(out: Path, files: Mapping[str, bytes]) -> Bundle:
    """Replace a bundle by files and their hashes."""
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {file}\n" for file, data in sorted(files.items()))
    verified: list[Bundle] = []
    try:
        replace_folder(out, {**files, SUMS: sums.encode()}, verify=lambda folder: verified.append(load_bundle(folder)))
    except OSError as error:
        msg = f"{out}: the bundle could not be written ({error.strerror}); what was there before is unchanged."
        raise BundleError(msg) from error
    return replace(verified[0], path=out)


def load_network(bundle: Bundle) -> AttentionBaseNet:
    """Return the bundle's network as :func:`load_module` does; refuse other decoders with a BundleError."""
    network = load_module(bundle)
    from mindwire_models.network.attentionbasenet import AttentionBaseNet

    if not isinstance(network, AttentionBaseNet):
        kind = KIND_NAMES[decoder_of(bundle.config, bundle.path)]
        msg = f"{bundle.path}: expected an AttentionBaseNet, found {kind}; choose another bundle."
        raise BundleError(msg)
    return network


def load_module(bundle: Bundle) -> AttentionBaseNet | Ensemble | TangentSpaceNetwork:
    """Return the bundle's network or classifier in PyTorch, in evaluation mode.

    A MissingExtraError refuses an installation without PyTorch, a BundleError weights that do not fit the network, and a decoder
    from outside, which has no network.
    """
    decoder = decoder_of(bundle.config, bundle.path)
    if decoder == "external":
        source = reprlib.repr(bundle.config.get("source"))
        msg = f"{bundle.path}: expected a network in PyTorch, found only an ONNX graph, of {source}; choose another bundle."
        raise BundleError(msg)
    with extra("torch", "The network itself needs PyTorch"):
        from safetensors.torch import load
    from mindwire_models.network.attentionbasenet import AttentionBaseNet
    from mindwire_models.network.checkpoints import restore
    from mindwire_models.network.ensemble import Ensemble
    from mindwire_models.network.riemann import TangentSpaceNetwork

    kind: type[AttentionBaseNet | Ensemble | TangentSpaceNetwork] = {
        "attentionbasenet": AttentionBaseNet,
        "ensemble": Ensemble,
        "tangent_space": TangentSpaceNetwork,
    }[decoder]
    return restore(lambda: kind.from_config(bundle.config), load(bundle.read(WEIGHTS)), bundle.path).eval()


def without_network(bundle: Bundle, purpose: str) -> str:
    """Return the sentence that refuses what needs a network in PyTorch for a decoder from outside."""
    source = reprlib.repr(bundle.config.get("source"))
    return (
        f"{bundle.path}: {purpose} needs a network in PyTorch, but this bundle has only an ONNX graph, of {source}; leave it out, "
        "or choose another bundle."
    )


def _identity(digests: Mapping[str, str]) -> str:
    """Return the hash over the hashes of all files but the model card and the control policy, in the order of their names."""
    lines = "".join(
        f"{digest}  {name}\n" for name, digest in sorted(digests.items()) if name not in (CARD, POLICY_FILE)
    )
    return hashlib.sha256(lines.encode()).hexdigest()


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _read_sums(folder: Path) -> dict[str, str]:
    if not os.path.lexists(folder / SUMS):
        msg = f"{folder}: expected a Mindwire bundle, found a folder without {SUMS}; choose a bundle's folder."
        raise BundleError(msg)
    digests: dict[str, str] = {}
    for line in _read_limited(folder, SUMS).decode(errors="replace").splitlines():
        match = _SUM.fullmatch(line)
        if match is None:
            msg = f"{folder / SUMS}: expected lines of a hash, two spaces and a file name, found {line[:80]!r}."
            raise BundleError(msg)
        digest, name = match.groups()
        if name not in FILES:
            msg = f"{folder / SUMS}: expected only {', '.join(FILES)}, found {name[:80]!r}, which is refused."
            raise BundleError(msg)
        digests[name] = digest
    expected = REQUIRED + ((STREAMING, STEM) if {STREAMING, STEM, RECORDING} & digests.keys() else ())
    missing = [name for name in expected if name not in digests]
    if missing:
        msg = f"{folder / SUMS}: no hash for {', '.join(missing)}; export the bundle again."
        raise BundleError(msg)
    return digests


def _read_limited(folder: Path, name: str) -> bytes:
    file = folder / name
    try:
        outside = not Path(os.path.realpath(file, strict=True)).is_relative_to(folder.resolve())
    except OSError as error:
        msg = (
            f"{file}: expected a file of the bundle, but it cannot be read ({error.strerror}); export the bundle again."
        )
        raise BundleError(msg) from error
    if outside:
        msg = f"{file}: the file lies outside the bundle, which is refused; copy it into the folder."
        raise BundleError(msg)
    return read_regular(file, _LIMITS.get(name, _DOCUMENT_LIMIT), BundleError)


def _read_verified(folder: Path, name: str, digest: str) -> bytes:
    data = _read_limited(folder, name)
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        msg = (
            f"{folder / name}: expected SHA-256 {digest[:12]}…, found {found[:12]}…; the file was changed or damaged, "
            "copy or export the bundle again."
        )
        raise BundleError(msg)
    return data
