"""Decoders made elsewhere: from a graph in ONNX, of whatever origin, to a bundle that holds nothing but this graph.

A bundle of this kind has no network in PyTorch: ``config.json`` names the decoder ``external``, there is no
``model.safetensors``, and ``model.onnx`` is a plain graph, before which the service applies the contract's alignment.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindwire_models.bundle import Bundle, check_target, write_bundle
from mindwire_models.bundle_checks import GRAPH, contradictions
from mindwire_models.contract import Contract
from mindwire_models.errors import BundleError, ExportError
from mindwire_models.graphs.external_check import Output, Trial, output_kind
from mindwire_models.graphs.foreign_graph import ForeignGraph, read_foreign
from mindwire_models.model_card import model_card
from mindwire_models.reading import MIB, read_regular

_MAX_BYTES = 128 * MIB
_ADVISED_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class ExternalDecoder:
    """Decoder from outside, as a graph, with what is known of it.

    Parameters
    ----------
    graph : bytes
        ONNX model of one input ``(batch, n_channels, n_times)`` and one output ``(batch, n_classes)``, of any names, float32,
        float64 or float16.
    output : {"logits", "probabilities"} or None
        None: found out by running it.
    source : str
        Kind and name for people, as in "braindecode EEGNet" or "ONNX file net.onnx".
    provenance : str
        Origin of the weights, for the model card.
    reference : callable or None
        The source's own outputs, of the same kind as the graph's, for windows ``(batch, n_channels, n_times)`` in float32;
        None where there is nothing but the graph.
    n_chans, n_times, n_outputs : int or None
        Channels, samples and classes; None where the source leaves them open.
    sfreq : float or None
        Sampling rate in hertz that the source states.
    """

    graph: bytes = field(repr=False)
    output: Output | None
    source: str
    provenance: str
    reference: Callable[[NDArray[np.float32]], NDArray[np.floating[Any]]] | None = None
    n_chans: int | None = None
    n_times: int | None = None
    n_outputs: int | None = None
    sfreq: float | None = None


def read_onnx_file(path: Path, output: Output | None = None) -> ExternalDecoder:
    """Read an ONNX file as a decoder; nothing of it is run.

    Raises
    ------
    BundleError, ExportError, MissingExtraError
        As of :func:`~mindwire_models.graphs.foreign_graph.read_foreign`, or the file cannot be read.
    """
    data = read_regular(path, _MAX_BYTES, BundleError)
    source = f"ONNX file {path.name}"
    graph = read_foreign(data, source)
    return ExternalDecoder(
        data,
        output,
        source,
        f"The ONNX file `{path.name}`.",
        n_chans=graph.n_chans,
        n_times=graph.n_times,
        n_outputs=graph.n_outputs,
    )


def export_external(
    decoder: ExternalDecoder,
    contract: Contract,
    out: Path | str,
    *,
    name: str,
    provenance: str | None = None,
    policy: bytes | None = None,
    warn: Callable[[str], object] | None = None,
) -> Bundle:
    """Write a decoder from outside as a bundle, after checks of its graph; the same graph always gives the same bundle.

    Parameters
    ----------
    decoder : ExternalDecoder
    contract, name, policy
        As of a :class:`~mindwire_models.bundle.Bundle`.
    out : Path or str
        The bundle's folder; an existing bundle there is replaced.
    provenance : str or None
        Origin of the weights, for the model card; None takes the decoder's own.
    warn : callable or None
        Takes a sentence on what is suspicious but no reason to refuse.

    Raises
    ------
    ExportError
        Decoder and contract contradict each other, or the graph has other inputs or outputs, does not always give the
        same, gives numbers that are not finite, differs from its source, or is too slow for the contract's hop.
    BundleError
        The graph is damaged, keeps tensors elsewhere or needs operators that are not standard, or the bundle could not be
        written.
    MissingExtraError
        The package onnx or ONNX Runtime is not installed.
    """
    out, warn = Path(out), warn or (lambda _: None)
    check_target(out, name)
    foreign = read_foreign(decoder.graph, decoder.source)
    _refuse_sizes(decoder, foreign, contract)
    sizes = (contract.n_channels, contract.window_samples, len(contract.classes))
    graph, trial, one_by_one = _tried(foreign, contract, decoder.source)
    seconds = _timed(trial, contract, decoder.source, warn)
    kind = _output_kind(decoder, trial, warn)
    if kind == "probabilities":
        graph = foreign.rewrite(*sizes, probabilities=True, one_by_one=one_by_one)
        trial = Trial(graph, contract, decoder.source)
    trial.compare_batches()
    apart = None if decoder.reference is None else trial.compare(decoder.reference, kind)
    config: dict[str, Any] = {
        "decoder": "external",
        "source": decoder.source,
        **dict(zip(("n_chans", "n_times", "n_outputs"), sizes, strict=True)),
    }
    if decoder.sfreq is not None:
        config["sfreq"] = decoder.sfreq
    notes = [
        provenance or decoder.provenance,
        f"A window took {1e3 * seconds:.2g} ms of a processor where it was exported.",
    ]
    if kind == "probabilities":
        notes.append("Its outputs are probabilities, whose logarithms the bundle's graph gives as logits.")
    if apart is not None:
        notes.append(f"Its probabilities differ from those of its source by at most {apart:.1g} on random windows.")
    return write_bundle(
        out,
        name=name,
        contract=contract,
        config=config,
        weights=None,
        graph="plain",
        graphs={GRAPH: graph},
        card=model_card(name, contract, "\n\n".join(notes), config),
        policy=policy,
    )


def _tried(foreign: ForeignGraph, contract: Contract, source: str) -> tuple[bytes, Trial, bool]:
    """Return a graph as a bundle has it, its trial, and true if it takes no several windows, but each alone."""
    sizes = (contract.n_channels, contract.window_samples, len(contract.classes))
    graph = foreign.rewrite(*sizes)
    trial = Trial(graph, contract, source)
    if not trial.takes_batches():
        with suppress(ExportError):
            alone = foreign.rewrite(*sizes, one_by_one=True)
            trial_alone = Trial(alone, contract, source)
            if trial_alone.takes_batches():
                return alone, trial_alone, True
    return graph, trial, False


def _output_kind(decoder: ExternalDecoder, trial: Trial, warn: Callable[[str], object]) -> Output:
    """Return what a graph gives, after the checks of :meth:`Trial.outputs`."""
    outputs = trial.outputs()
    kind = output_kind(outputs, decoder.output, decoder.source)
    if decoder.output == "logits" and output_kind(outputs, None, decoder.source) == "probabilities":
        warn(f"{decoder.source}: its outputs look like probabilities, but are taken as logits, as stated.")
    return kind


def _refuse_sizes(decoder: ExternalDecoder, foreign: ForeignGraph, contract: Contract) -> None:
    """Refuse a decoder whose sizes or rate are not the contract's, by what it states and by what its graph declares."""
    for stated in (decoder, foreign):
        sizes = {key: getattr(stated, key) for key in ("n_chans", "n_times", "n_outputs")}
        stated_sizes = {key: size for key, size in sizes.items() if size is not None}
        demanded_sizes = {
            "n_chans": contract.n_channels,
            "n_times": contract.window_samples,
            "n_outputs": len(contract.classes),
        }
        for demanded, found in contradictions(demanded_sizes | stated_sizes | {"sfreq": decoder.sfreq}, contract):
            msg = (
                f"{decoder.source}: the contract demands {demanded}, but the decoder was made for {found}; "
                f"choose the contract that belongs to it{_transposed(foreign, contract)}."
            )
            raise ExportError(msg)


def _transposed(foreign: ForeignGraph, contract: Contract) -> str:
    turned = (foreign.n_times, foreign.n_chans) == (contract.n_channels, contract.window_samples)
    return ", or export it with the channels before the samples" if turned else ""


def _timed(trial: Trial, contract: Contract, source: str, warn: Callable[[str], object]) -> float:
    """Return the seconds per window; refuse a graph that takes longer than a hop, warn of one that takes much of it."""
    seconds, hop = trial.seconds(), contract.hop_samples / contract.sfreq
    found = f"{source}: a window takes {1e3 * seconds:.3g} ms of this machine's processor, and a new one is due every {1e3 * hop:.3g} ms"
    if seconds > hop:
        msg = f"{found}; give a longer hop with --hop (at least {round(2 * seconds * contract.sfreq) + 1} samples), or a smaller network."
        raise ExportError(msg)
    if seconds > _ADVISED_SHARE * hop:
        warn(f"{found}, which leaves little for anything else; a longer hop (--hop) is safer.")
    return seconds
