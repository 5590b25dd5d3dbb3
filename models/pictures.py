"""Pictures of a network: what its temporal filters pass, where its spatial filters look, what its attention weighs."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.atomic import replace_file
from models.contract import Contract
from models.errors import ContractError, MissingExtraError

if TYPE_CHECKING:
    from models.folded_weights import FoldedWeights

_COLUMNS = 8
_N_FREQUENCIES = 512
# Names of the 10-20 system that the 10-10 system renamed.
_ALIASES = {"t3": "t7", "t4": "t8", "t5": "p7", "t6": "p8"}


def draw_temporal_filters(weights: FoldedWeights, contract: Contract, path: Path) -> None:
    """Write the spectra of the temporal filters, one panel per filter, as a picture.

    Parameters
    ----------
    weights : FoldedWeights
        The filters carry the BatchNorms' scales; each is drawn relative to its own peak.
    contract : Contract
        Gives the sampling rate and the band that the signal is filtered to.
    path : Path
        Of the picture; its ending gives the format.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    # With a spatial expansion several rows share a temporal filter; it is drawn once.
    tiny = np.finfo(float).tiny
    shapes = weights.taps / np.maximum(np.linalg.norm(weights.taps, axis=1, keepdims=True), tiny)
    kept = weights.taps[np.sort(np.unique(shapes.round(12), axis=0, return_index=True)[1])]
    frequencies = np.fft.rfftfreq(_N_FREQUENCIES, 1 / contract.sfreq)
    gains = np.abs(np.fft.rfft(kept, _N_FREQUENCIES, axis=1))
    gains /= np.maximum(gains.max(axis=1, keepdims=True), tiny)
    figure, axes = _grid(len(kept), "Temporal filters: gain relative to its peak over frequency in hertz")
    for index, (axis, gain) in enumerate(zip(axes, gains, strict=False)):
        axis.plot(frequencies, gain, color="#0b6e99", linewidth=1.2)
        axis.fill_between(frequencies, gain, color="#0b6e99", alpha=0.15)
        axis.set(xlim=(0, _highest(contract)), ylim=(0, 1.05), yticks=[])
        axis.tick_params(labelsize=6)
        axis.set_title(f"{index + 1}: {frequencies[gain.argmax()]:.0f} Hz", fontsize=7)
    _save(figure, path)


def draw_spatial_filters(weights: FoldedWeights, contract: Contract, path: Path) -> None:
    """Write the spatial filters as scalp maps, one per filter, as a picture.

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
    try:
        import mne
    except ModuleNotFoundError as error:
        msg = "Scalp maps need mne; install it with: pip install 'mindwire[train]'."
        raise MissingExtraError(msg) from error

    known, positions = _positions(contract)
    figure, axes = _grid(weights.width, "Spatial filters: weight of each electrode, relative to the largest")
    for index, (axis, row) in enumerate(zip(axes, weights.spatial[:, known], strict=False)):
        scaled = row / max(float(np.abs(row).max()), float(np.finfo(float).tiny))
        mne.viz.plot_topomap(scaled, positions, axes=axis, show=False, vlim=(-1, 1), contours=4, sensors="k.")
        axis.set_title(f"{index + 1}", fontsize=7)
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
    figure = _figure((9, 3.2), "Attention: size of each of the network's channels behind it, relative to before")
    axis = figure.add_subplot()
    for name, row in zip(classes, gains, strict=True):
        axis.plot(np.arange(1, len(row) + 1), row, marker="o", markersize=3, linewidth=1.2, label=name)
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
        msg = "Pictures need matplotlib; install it with: pip install 'mindwire[train]'."
        raise MissingExtraError(msg) from error

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    return figure


def _grid(count: int, title: str) -> tuple[Any, list[Any]]:
    rows = -(-count // _COLUMNS)
    figure = _figure((1.5 * _COLUMNS, 1.45 * rows + 0.6), title)
    axes = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture, kind = io.BytesIO(), path.suffix.removeprefix(".")
    about = {"Software": "Mindwire"} if kind == "png" else None
    figure.savefig(picture, dpi=120, format=kind, metadata=about)
    replace_file(path, picture.getvalue())
