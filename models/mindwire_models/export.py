"""From a network in PyTorch to a bundle: weights, a checked ONNX graph, the contract and the model card."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Literal

from mindwire_models.bundle import Bundle, write_bundle
from mindwire_models.bundle_checks import GRAPH, STEM, STREAMING, GraphKind, contradictions
from mindwire_models.contract import Contract
from mindwire_models.errors import ExportError, extra
from mindwire_models.graphs.streaming_plan import plan_streaming
from mindwire_models.model_card import model_card
from mindwire_models.training_record import TrainingRecord

with extra("torch", "Export needs PyTorch"):
    from safetensors.torch import save

    from mindwire_models.graphs.folded_weights import fold
    from mindwire_models.graphs.folding import folded_graph
    from mindwire_models.graphs.graph_check import Network, check_graph, check_streaming
    from mindwire_models.graphs.plain_graph import plain_graph
    from mindwire_models.graphs.riemann_graph import tangent_space_graph
    from mindwire_models.graphs.streaming_graph import stem_graph, step_graph
    from mindwire_models.network.attentionbasenet import AttentionBaseNet
    from mindwire_models.network.riemann import TangentSpaceNetwork

GraphCheck = Literal["compare", "skip"]


def export_bundle(
    network: Network,
    contract: Contract,
    out: Path | str,
    *,
    name: str,
    provenance: str,
    graph: GraphKind = "folded",
    training: TrainingRecord | None = None,
    policy: bytes | None = None,
    check: GraphCheck = "compare",
) -> Bundle:
    """Write a network as a bundle, after checking that its graph computes what the network computes.

    Parameters
    ----------
    network : AttentionBaseNet, Ensemble or TangentSpaceNetwork
        Left as it is; exported in evaluation mode.
    out : Path or str
        The bundle's folder; an existing bundle there is replaced.
    provenance : str
        Where the weights come from, for the model card: data, training, licence.
    graph : {"folded", "plain"}
        ``folded`` is the exact fast graph; ``plain`` is PyTorch's own export, to compare.
    contract, name, training, policy
        As of a :class:`~mindwire_models.bundle.Bundle`.
    check : {"compare", "skip"}
        ``skip`` leaves the check out, which takes ten seconds of a processor, for a bundle that is not kept.

    Raises
    ------
    ExportError
        Network and contract contradict each other, or the graph differs from the network.
    BundleError
        The bundle could not be written.
    MissingExtraError
        The package onnx is not installed.
    """
    network = copy.deepcopy(network).cpu().eval()
    # Arguments that follow from others are written out: a bundle states each number itself.
    sizes = {"n_times": network.n_times, "n_chans": network.n_chans, "n_outputs": network.n_outputs}
    config = network.get_config() | sizes
    for demanded, found in contradictions(config, contract):
        msg = (
            f"The contract demands {demanded}, but the network was built for {found}; "
            "choose the contract that belongs to these weights."
        )
        raise ExportError(msg)
    data = build_graph(network, contract, graph)
    if check == "compare":
        check_graph(data, network, graph, contract.temperature)
    graphs = {GRAPH: data}
    if graph == "folded" and isinstance(network, AttentionBaseNet):
        graphs |= _streaming_graphs(network, contract.hop_samples, check)
    weights = save({key: value.contiguous() for key, value in network.state_dict().items()}, {"format": "pt"})
    return write_bundle(
        out,
        name=name,
        contract=contract,
        config=config,
        weights=weights,
        graph=graph,
        graphs=graphs,
        card=model_card(name, contract, provenance, config),
        training=training,
        policy=policy,
    )


def build_graph(network: Network, contract: Contract, graph: GraphKind) -> bytes:
    """Return the content of ``model.onnx``, without a check; the same for the same weights, whenever it is made.

    The network is on the CPU, in evaluation mode. Only a single network has a plain graph.

    Raises
    ------
    ExportError
        The graph is to be plain, but there are several networks or a tangent space.
    """
    if graph == "plain":
        if isinstance(network, AttentionBaseNet):
            return plain_graph(network)
        msg = "Only a single AttentionBaseNet has a plain graph; leave out --plain."
        raise ExportError(msg)
    if isinstance(network, TangentSpaceNetwork):
        return tangent_space_graph(network, contract.temperature)
    return folded_graph(network, contract.temperature)


def _streaming_graphs(network: AttentionBaseNet, hop: int, check: GraphCheck) -> dict[str, bytes]:
    """Build and check the graphs that compute each sample once; empty where the network does not allow it."""
    weights = fold(network)
    plans = [plan for samples in (hop, 1) if (plan := plan_streaming(weights.geometry, samples))]
    if not plans:
        return {}
    stem, step = stem_graph(weights), step_graph(weights)
    for plan in plans if check == "compare" else ():
        check_streaming(stem, step, network, plan)
    return {STEM: stem, STREAMING: step}
