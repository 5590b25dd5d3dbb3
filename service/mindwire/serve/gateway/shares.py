"""Shares of the streams for workers: even ones, and apart for nodes that see different sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def share_streams(hops: Mapping[str, int], workers: int) -> list[list[str]]:
    """Share streams among workers: the costly ones first, each where there is least to do.

    ``hops`` are the samples between the predictions of each stream; its cost is proportional to how often it predicts.
    """
    work = [0.0] * workers
    shares: list[set[str]] = [set() for _ in range(workers)]
    for name in sorted(hops, key=lambda name: hops[name]):
        idlest = work.index(min(work))
        work[idlest] += 1 / hops[name]
        shares[idlest].add(name)
    return [[name for name in hops if name in share] for share in shares]


def share_by_node(
    hops: Mapping[str, int], nodes: Mapping[str, str | None], workers: int
) -> list[tuple[str | None, Sequence[str]]]:
    """Share streams among workers, of which each has streams of one node alone.

    Parameters
    ----------
    hops : mapping of str to int
        As of :func:`share_streams`.
    nodes : mapping of str to str or None
        Node that sees the stream's source; None for any.
    workers : int
        Each node has at least one, whatever their number; the rest go where there is most to do.

    Returns
    -------
    list of (str or None, sequence of str)
        Node and streams of each worker.
    """
    groups: dict[str | None, dict[str, int]] = {}
    for name, hop in hops.items():
        groups.setdefault(nodes[name], {})[name] = hop
    if not groups:
        groups[None] = {}
    counts = dict.fromkeys(groups, 1)
    for _ in range(workers - len(groups)):
        busiest = max(groups, key=lambda node: sum(1 / hop for hop in groups[node].values()) / counts[node])
        counts[busiest] += 1
    return [(node, share) for node, group in groups.items() for share in share_streams(group, counts[node])]
