"""Training of another person's or laboratory's network on, instead of from scratch: the start, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mindwire.errors import UsageError
from mindwire.evaluation.known_recordings import trained_on
from mindwire.training.fit import Candidate
from mindwire_models.bundle import Bundle, load_network
from mindwire_models.bundle_checks import KIND_NAMES, decoder_of
from mindwire_models.contract import Alignment, Contract
from mindwire_models.errors import extra
from mindwire_models.text import printable
from mindwire_models.training_record import TrainedParent, TrainedRecording, TrainingRecord

if TYPE_CHECKING:
    from mindwire_models.network.attentionbasenet import AttentionBaseNet


def starting_contract(bundle: Bundle, classes: Sequence[str]) -> Contract:
    """Return the contract of a network that is trained on for some of a bundle's classes, which stay in the bundle's order.

    Temperature and axis of rest are left out, for they are of the person that the bundle was trained for.

    Raises
    ------
    UsageError
        The bundle is no AttentionBaseNet, or lacks a class.
    """
    kind = decoder_of(bundle.config, bundle.path)
    if kind != "attentionbasenet":
        msg = f"{bundle.path}: --from trains an AttentionBaseNet on, found {KIND_NAMES[kind]}; name another bundle, or train without --from."
        raise UsageError(msg)
    contract = bundle.contract
    unknown = [name for name in classes if name not in contract.classes]
    if unknown:
        msg = f"{bundle.path}: expected some of its classes {', '.join(contract.classes)}, found {printable(', '.join(unknown))}; name its classes with --markers or --classes, or train without --from."
        raise UsageError(msg)
    normalisation = contract.normalisation
    if isinstance(normalisation, Alignment):
        normalisation = normalisation.model_copy(update={"rest_axis": None})
    kept = tuple(name for name in contract.classes if name in classes)
    return contract.model_copy(update={"classes": kept, "temperature": 1.0, "normalisation": normalisation})


def check_unknown(bundle: Bundle, paths: Sequence[Path], hashes: Mapping[Path, str]) -> None:
    """Refuse, with a UsageError, recordings that the bundle was trained on: held out, they would still be known."""
    found = trained_on(bundle, paths, hashes)
    if found:
        names = printable(", ".join(path.name for path in found))
        msg = f"{names}: {bundle.name} was trained on {'this recording' if len(found) == 1 else 'these recordings'}, so that holding out proves nothing; name others, or leave validation out with --folds 0."
        raise UsageError(msg)


def starting_candidate(bundle: Bundle, classes: Sequence[str]) -> Candidate:
    """Return a bundle's network with the outputs of some of its classes, and the recipe to train it on with."""
    with extra("train", "Training needs PyTorch"):
        from mindwire_models.training.fit import TRANSFER
    return Candidate(TRANSFER, start=starting_network(bundle, classes))


def starting_network(bundle: Bundle, classes: Sequence[str]) -> AttentionBaseNet:
    """Return a bundle's network with the outputs of some of its classes."""
    network = load_network(bundle)
    network.keep_outputs([bundle.contract.classes.index(name) for name in classes])
    return network


def with_lineage(record: TrainingRecord, start: Bundle) -> TrainingRecord:
    """Return the record of a training with the bundle that it began from as parent, and that bundle's recordings and parents."""
    before = start.training
    earlier: tuple[TrainedRecording, ...] = () if before is None else before.recordings
    recordings = {one.sha256: one for one in (*earlier, *record.recordings)}
    parents = (TrainedParent(name=start.name, sha256=start.sha256), *(() if before is None else before.parents))
    return record.model_copy(update={"recordings": tuple(recordings.values()), "parents": parents})
