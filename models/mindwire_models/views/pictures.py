"""Pictures of a network: what its temporal filters pass, where its spatial filters look, what its attention weighs."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mindwire_models.atomic import replace_file
from mindwire_models.contract import Contract
from mindwire_models.errors import ContractError, MissingExtraError
from mindwire_models.views.patterns import composed_gains, contract_gain, effects, patterns

if TYPE_CHECKING:
    from mindwire_models.graphs.folded_weights import FoldedWeights

_COLUMNS = 8
_N_FREQUENCIES = 257
# Gains that differ by less than this everywhere are drawn as one.
_SAME_GAIN = 0.05
_MOST_MAPS = 16
# Names of the 10-20 system that the 10-10 system renamed.
_ALIASES = {"t3": "t7", "t4": "t8", "t5": "p7", "t6": "p8"}


def draw_temporal_filters(weights: FoldedWeights, contract: Contract, path: Path) -> None:
    """Write the spectra of the temporal filters, composed with the contract's, as a picture.

    Filters that let the contract's band pass as it is, as those of a network that training started at the
    tangent-space classifier do, share one panel; each of the others has its own.

    Parameters
    ----------
    weights : FoldedWeights
        The filters carry the BatchNorms' scales; each is drawn relative to its own peak.
    contract : Contract
        Gives the sampling rate and the filters that the signal passes first.
    path : Path
        Of the picture; its ending gives the format.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    frequencies = np.linspace(0, _highest(contract), _N_FREQUENCIES)
    band = contract_gain(contract, frequencies)
    band = band / max(float(band.max()), float(np.finfo(float).tiny))
    gains = composed_gains(weights, contract, frequencies)
    same = np.abs(gains - band).max(axis=1) < _SAME_GAIN
    # With a spatial expansion several rows share a temporal filter; it is drawn once.
    own = np.flatnonzero(~same)
    own = own[np.sort(np.unique(gains[own].round(6), axis=0, return_index=True)[1])]
    panels = [(gains[same], f"{_numbers(same)}")] if same.any() else []
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


def _numbers(chosen: NDArray[np.bool_]) -> str:
    """Which filters, in few words."""
    count = int(chosen.sum())
    return f"{int(chosen.argmax()) + 1}: whole band" if count == 1 else f"{count} of {len(chosen)}: whole band"


def draw_spatial_filters(weights: FoldedWeights, contract: Contract, path: Path) -> None:
    """Write the weights of the spatial filters as scalp maps, one per filter, as a picture.

    Parameters
    ----------
    weights : FoldedWeights
    contract : Contract
        Gives the channels' labels.
    path : Path
        Of the picture; its ending gives the format.

    Raises
    ------
    MissingExtraError
        matplotlib or mne is not installed.
    ContractError
        Fewer than four channels have labels of the 10-05 system, so there is no map to draw.
    """
    titles = [str(index + 1) for index in range(weights.width)]
    title = "Spatial filters: weight of each electrode (no pattern: that takes a recording), relative to the largest"
    _draw_maps(weights.spatial, titles, contract, title, path)


def draw_patterns(
    weights: FoldedWeights,
    contract: Contract,
    spectra: NDArray[np.complexfloating],
    path: Path,
) -> None:
    """Write the patterns of the filters that weigh most as scalp maps, as a picture.

    Parameters
    ----------
    weights : FoldedWeights
    contract : Contract
        Gives the channels' labels and the classes.
    spectra : ndarray of complex, shape (n_frequencies, n_chans, n_chans)
        Of the conditioned signal before alignment; see :func:`mindwire_models.views.patterns.cross_spectra`.
    path : Path
        Of the picture; its ending gives the format.

    Raises
    ------
    MissingExtraError
        matplotlib or mne is not installed.
    ContractError
        Fewer than four channels have labels of the 10-05 system, so there is no map to draw.
    """
    shares = effects(weights)
    order = np.argsort(-np.abs(shares).max(axis=0), kind="stable")[:_MOST_MAPS]
    strongest = np.abs(shares).argmax(axis=0)
    signs = ["+" if shares[strongest[index], index] > 0 else "\N{MINUS SIGN}" for index in order]
    titles = [
        f"{index + 1}: {contract.classes[strongest[index]].replace('_', ' ')} {sign}"
        for index, sign in zip(order.tolist(), signs, strict=True)
    ]
    title = (
        f"Patterns (Haufe et al. 2014) of the {len(order)} of {weights.width} filters that weigh most: covariance of each "
        "electrode with the filter's output\n+ or \N{MINUS SIGN}: more power speaks for or against the class"
    )
    rows = patterns(weights, contract, spectra)[order]
    # What counts is a power, so that the sign of a pattern says nothing: its largest value is drawn as positive.
    rows *= np.sign(np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, None], axis=1))
    _draw_maps(rows, titles, contract, title, path)


def _draw_maps(rows: NDArray[np.float64], titles: Sequence[str], contract: Contract, title: str, path: Path) -> None:
    try:
        import mne
    except ModuleNotFoundError as error:
        msg = "Scalp maps need mne; install it with: pip install '.[train]' in Mindwire's folder."
        raise MissingExtraError(msg) from error

    known, positions = _positions(contract)
    figure, axes = _grid(len(rows), title)
    for axis, row, name in zip(axes, rows[:, known], titles, strict=False):
        scaled = row / max(float(np.abs(row).max()), float(np.finfo(float).tiny))
        mne.viz.plot_topomap(scaled, positions, axes=axis, show=False, vlim=(-1, 1), contours=4, sensors="k.")
        axis.set_title(name, fontsize=8)
    _save(figure, path)


def draw_attention(gains: NDArray[np.float64], classes: Sequence[str], path: Path) -> None:
    """Write how much the attention lets pass of each channel, one line per class, as a picture.

    Parameters
    ----------
    gains : ndarray of float64, shape (n_classes, n_channels)
        Means over the trials of each class.
    classes : sequence of str
    path : Path
        Of the picture; its ending gives the format.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    figure = _figure((9, 3.2), "Attention: gain of each of the network's channels, output relative to input")
    axis = figure.add_subplot()
    for name, row in zip(classes, gains, strict=True):
        axis.plot(
            np.arange(1, len(row) + 1), row, marker="o", markersize=3, linewidth=1.2, label=name.replace("_", " ")
        )
    axis.set(xlabel="channel after the expansion", ylabel="gain", ylim=(0, None))
    axis.legend(frameon=False, fontsize=8)
    _save(figure, path)


def _highest(contract: Contract) -> float:
    """The highest frequency worth drawing: a little above the low-pass."""
    lowpass = contract.filters.lowpass
    return min(contract.sfreq / 2, 1.5 * lowpass.freq if lowpass else math.inf)


def _positions(contract: Contract) -> tuple[list[int], NDArray[np.float64]]:
    """Indices of the channels with a known place, and the places seen from above, nose up, in metres."""
    import mne

    places = mne.channels.make_standard_montage("colin27_1005").get_positions()["ch_pos"]
    by_name = {name.casefold(): np.asarray(place) for name, place in places.items()}
    names = [_ALIASES.get(label.casefold(), label.casefold()) for label in contract.channels]
    known = [index for index, name in enumerate(names) if name in by_name]
    if len(known) < 4:
        msg = (
            f"Scalp maps need at least four channels with labels of the 10-05 system, found {len(known)} among "
            f"{', '.join(contract.channels)}."
        )
        raise ContractError(msg)
    space = np.stack([by_name[names[index]] for index in known])
    space = space - np.array([0.0, 0.0, 0.04])  # about the centre of the head
    # Azimuthal equidistant: distance from the vertex along the head becomes distance from the middle of the map.
    radius = np.linalg.norm(space, axis=1)
    angle = np.arccos(np.clip(space[:, 2] / radius, -1, 1))
    flat = space[:, :2] / np.maximum(np.linalg.norm(space[:, :2], axis=1, keepdims=True), 1e-9)
    return known, flat * angle[:, None] / (math.pi / 2) * 0.095


def _figure(size: tuple[float, float], title: str) -> Any:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        msg = "Pictures need matplotlib; install it with: pip install '.[train]' in Mindwire's folder."
        raise MissingExtraError(msg) from error

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
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
