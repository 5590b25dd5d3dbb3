"""Pictures of a model on recordings: spectra and patterns of its filters, gains of its attention."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from mindwire.errors import UsageError
from mindwire.evaluation.pseudo_online import RunSettings
from mindwire.evaluation.scores import AlignmentMode, contract_for
from mindwire.offline.trials import trials_from_markers
from mindwire.outputs import PICTURES, writing
from mindwire.sources.recording import open_recording
from mindwire.training.data import RecordedTrials, TrialSpan, collect_trials
from mindwire_models.bundle import Bundle
from mindwire_models.errors import ContractError, extra

SPECTRA, MAPS, ATTENTION = PICTURES


def draw_views(
    bundle: Bundle, paths: Sequence[Path], classes: Sequence[str], at_s: float, *, settings: RunSettings, folder: Path
) -> list[Path]:
    """Draw a network's spectra, its patterns where channels have positions, and its attention where it has some.

    Patterns and gains are those of the windows that decide the recordings' trials ``at_s`` seconds after the cue.

    Raises
    ------
    MissingExtraError
        PyTorch, matplotlib or mne is not installed.
    UsageError
        The bundle is no single AttentionBaseNet.
    """
    with extra("train", "Views need PyTorch"):
        from mindwire_models.bundle import load_module
        from mindwire_models.graphs.folded_weights import fold
        from mindwire_models.network.attentionbasenet import AttentionBaseNet
        from mindwire_models.views.layers import attention_gains
        from mindwire_models.views.patterns import cross_spectra
        from mindwire_models.views.pictures import draw_attention, draw_patterns, draw_temporal_filters
    network = load_module(bundle)
    if not isinstance(network, AttentionBaseNet):
        msg = f"--views draws the filters of one AttentionBaseNet; {bundle.name} is another decoder, so leave it out."
        raise UsageError(msg)
    with writing(folder, "the pictures"):
        recordings = [open_recording(path) for path in paths]
        trials = [
            trials_from_markers(one.markers(settings.marker_stream), classes, settings.markers, where=str(one.path))
            for one in recordings
        ]

        def collected(mode: AlignmentMode) -> RecordedTrials:
            contract, span = contract_for(bundle.contract, mode), TrialSpan(0.0, at_s, at_s)
            return collect_trials(recordings, trials, contract, span, settings=settings)[0]

        weights, spectra = fold(network), cross_spectra(collected(AlignmentMode.OFF).deciding)
        for name in (MAPS, ATTENTION):
            (folder / name).unlink(missing_ok=True)
        draw_temporal_filters(weights, bundle.contract, folder / SPECTRA)
        written = [folder / SPECTRA]
        with suppress(ContractError):  # channels without positions have no map
            draw_patterns(weights, bundle.contract, spectra, folder / MAPS)
            written.append(folder / MAPS)
        if network.attention_mode is not None:
            data = collected(AlignmentMode.ONLINE)
            gains, labels = attention_gains(network, data.deciding), data.labels[data.decided]
            of_class = {name: labels == bundle.contract.classes.index(name) for name in classes}
            means = {name: gains[chosen].mean(axis=0) for name, chosen in of_class.items() if chosen.any()}
            draw_attention(np.stack([*means.values()]), [*means], folder / ATTENTION)
            written.append(folder / ATTENTION)
        return written
