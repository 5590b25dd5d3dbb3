"""Pictures of a network: spectra of its temporal filters, maps of its spatial filters, gains of its attention.

The ending of a picture's path gives its format. All raise a MissingExtraError where matplotlib or mne is not installed, and
maps a ContractError where fewer than four channels have labels of the 10-05 system.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mindwire_models.atomic import replace_file
from mindwire_models.contract import Contract
from mindwire_models.electrodes import position
from mindwire_models.errors import ArgumentError, ContractError, extra
from mindwire_models.views.patterns import composed_gains, contract_gain, effects, patterns

if TYPE_CHECKING:
    from mindwire_models.graphs.folded_weights import FoldedWeights

_COLUMNS = 8
_N_FREQUENCIES = 257
# Gains that differ by less than this everywhere are drawn as one.
_SAME_GAIN = 0.05
_MOST_MAPS = 16
_HEAD_RADIUS = 0.095  # metres, as MNE-Python draws it


def draw_temporal_filters(weights: FoldedWeights, contract: Contract, path: Path) -> None:
    """Draw the spectra of the temporal filters, composed with the contract's, each relative to its own peak.

    Filters that pass the contract's band unchanged, as in a network whose training started at the tangent-space classifier,
    share one panel; each of the others has its own.
    """
    lowpass = contract.filters.lowpass
    highest = min(contract.sfreq / 2, 1.5 * lowpass.freq if lowpass else math.inf)
    frequencies = np.linspace(0, highest, _N_FREQUENCIES)
    band = contract_gain(contract, frequencies)
    band = band / max(float(band.max()), float(np.finfo(float).tiny))
    gains = composed_gains(weights, contract, frequencies)
    same = np.abs(gains - band).max(axis=1) < _SAME_GAIN
    # With a spatial expansion several rows share a temporal filter; it is drawn once.
    own = np.flatnonzero(~same)
    own = own[np.sort(np.unique(gains[own].round(6), axis=0, return_index=True)[1])]
    which = f"{same.argmax() + 1}" if same.sum() == 1 else f"{same.sum()} of {len(same)}"
    panels = [(gains[same], f"{which}: whole band")] if same.any() else []
    panels += [(gains[[index]], f"{index + 1}: {frequencies[gains[index].argmax()]:.0f} Hz") for index in own.tolist()]
    figure, axes = _grid(
        len(panels), "Temporal filters after the contract's filters: gain relative to its peak over frequency in hertz"
    )
    for axis, (curves, title) in zip(axes, panels, strict=False):
        axis.plot(frequencies, curves.T, color="#0b6e99", linewidth=1.2, alpha=1.0 if len(curves) == 1 else 0.4)
        axis.fill_between(frequencies, curves.max(axis=0), color="#0b6e99", alpha=0.15)
        axis.set(xlim=(0, frequencies[-1]), ylim=(0, 1.05), yticks=[])
        axis.tick_params(labelsize=7)
        axis.set_title(title, fontsize=8)
    _save(figure, path)


def draw_spatial_filters(weights: FoldedWeights, contract: Contract, path: Path) -> None:
    """Draw the weights of the spatial filters as scalp maps, one per filter."""
    titles = [str(index + 1) for index in range(len(weights.spatial))]
    title = "Spatial filters: weight of each electrode (no pattern: that takes a recording), relative to the largest"
    _draw_maps(weights.spatial, titles, contract, title, path)


def draw_patterns(weights: FoldedWeights, contract: Contract, spectra: NDArray[np.complexfloating], path: Path) -> None:
    """Draw the patterns of the filters with the largest effects as scalp maps; ``spectra`` as :func:`patterns` takes them."""
    shares = effects(weights)
    order = np.argsort(-np.abs(shares).max(axis=0), kind="stable")[:_MOST_MAPS]
    titles = []
    for index in order.tolist():
        strongest = np.abs(shares[:, index]).argmax()
        sign = "+" if shares[strongest, index] > 0 else "\N{MINUS SIGN}"
        titles.append(f"{index + 1}: {contract.classes[strongest].replace('_', ' ')} {sign}")
    title = (
        f"Patterns (Haufe et al. 2014) of the {len(order)} of {len(weights.spatial)} filters that weigh most: covariance of each "
        "electrode with the filter's output\n+ or \N{MINUS SIGN}: more power speaks for or against the class"
    )
    rows = patterns(weights, contract, spectra)[order]
    # Only the power counts, so that the sign of a pattern is arbitrary: its largest value is drawn as positive.
    rows *= np.sign(np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, None], axis=1))
    _draw_maps(rows, titles, contract, title, path)


def _draw_maps(rows: NDArray[np.float64], titles: Sequence[str], contract: Contract, title: str, path: Path) -> None:
    with extra("train", "Scalp maps need mne"):
        import mne

    known, positions = _positions(contract)
    figure, axes = _grid(len(rows), title)
    for axis, row, name in zip(axes, rows[:, known], titles, strict=False):
        scaled = row / max(float(np.abs(row).max()), float(np.finfo(float).tiny))
        mne.viz.plot_topomap(scaled, positions, axes=axis, show=False, vlim=(-1, 1), contours=4, sensors="k.")
        axis.set_title(name, fontsize=8)
    _save(figure, path)


def draw_attention(gains: NDArray[np.float64], classes: Sequence[str], path: Path) -> None:
    """Draw the mean gains of the attention, ``(n_classes, n_channels)``, one line per class."""
    figure = _figure((9, 3.2), "Attention: gain of each of the network's channels, output relative to input")
    axis = figure.add_subplot()
    for name, row in zip(classes, gains, strict=True):
        axis.plot(
            np.arange(1, len(row) + 1), row, marker="o", markersize=3, linewidth=1.2, label=name.replace("_", " ")
        )
    axis.set(xlabel="channel after the expansion", ylabel="gain", ylim=(0, None))
    axis.legend(frameon=False, fontsize=8)
    _save(figure, path)


def _positions(contract: Contract) -> tuple[list[int], NDArray[np.float64]]:
    """Indices of the channels with a known position, and the positions seen from above, nose up, in metres."""
    known, points = [], []
    for index, label in enumerate(contract.channels):
        with suppress(ArgumentError):
            points.append(position(label))
            known.append(index)
    if len(known) < 4:
        msg = (
            f"Scalp maps need at least four channels with labels of the 10-05 system, found {len(known)} among "
            f"{', '.join(contract.channels)}."
        )
        raise ContractError(msg)
    # Azimuthal equidistant: distance from the vertex along the head becomes distance from the centre of the map.
    x, y, z = np.array(points).T
    scale = np.arccos(np.clip(z, -1, 1)) / np.maximum(np.hypot(x, y), 1e-9) * _HEAD_RADIUS / (math.pi / 2)
    return known, np.stack([x * scale, y * scale], axis=1)


def _figure(size: tuple[float, float], title: str) -> Any:
    with extra("train", "Pictures need matplotlib"):
        from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=10)
    return figure


def _grid(count: int, title: str) -> tuple[Any, list[Any]]:
    columns = min(_COLUMNS, max(count, 4))
    rows = -(-count // columns)
    lines = [line for part in title.splitlines() for line in textwrap.wrap(part, 18 * columns)]
    figure = _figure((1.5 * columns, 1.45 * rows + 0.2 + 0.2 * len(lines)), "\n".join(lines))
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture, kind = io.BytesIO(), path.suffix.removeprefix(".")
    about = {"Software": "Mindwire"} if kind == "png" else None
    figure.savefig(picture, dpi=120, format=kind, metadata=about)
    replace_file(path, picture.getvalue())
