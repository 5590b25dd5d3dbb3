"""Options and groups of options that several commands share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mindwire.errors import UsageError

if TYPE_CHECKING:
    from mindwire.evaluation.idle import ActivationRule
    from mindwire.evaluation.pseudo_online import RunSettings
    from mindwire.evaluation.scores import AlignmentMode
    from mindwire.options import PipelineOptions

_ASSIGNMENT = re.compile(r".*\S\s*=\s*\S.*", re.DOTALL)
_RECORDINGS = (".xdf", ".xdfz", ".gz", ".edf", ".bdf", ".gdf", ".vhdr", ".fif", ".set", ".cnt", ".mat")


def _check_unit(value: str | None) -> str | None:
    if value is not None:
        from mindwire.signal.labels import parse_unit

        if parse_unit(value) is None:
            msg = f"--unit: {value!r} is no unit of voltage; expected V, mV, uV or nV."
            raise UsageError(msg)
    return value


def _check_decided_at(value: float | None) -> float | None:
    if value is not None and not value > 0:
        msg = f"--at must be above 0 seconds, found {value:g}."
        raise UsageError(msg)
    return value


Recording = Annotated[Path, typer.Argument(metavar="FILE", help="Recording: XDF, or what MNE-Python reads.")]
Recordings = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Recordings with cue markers: XDF, or what MNE-Python reads.")
]
Model = Annotated[Path | None, typer.Option("--model", "-m", help="Bundle; by default the demonstration bundle.")]
RecordedModel = Annotated[
    Path | None, typer.Option("--model", "-m", help="Bundle; by default the one that a live recording names.")
]
ReportFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder for report.json and report.html.")]
BundleFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle; a bundle there is replaced.")]
Name = Annotated[str | None, typer.Option(help="Name of the model; by default that of the folder or source.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files at --out that Mindwire did not write.")]
Stream = Annotated[str | None, typer.Option("--stream", "-s", help="The signal: name=…,type=…,source_id=…,id=…")]
Unit = Annotated[
    str | None, typer.Option(callback=_check_unit, help="Unit of the samples where the recording states none.")
]
Channels = Annotated[str | None, typer.Option(help="Labels in order, comma-separated, for a source that names none.")]
Hop = Annotated[int | None, typer.Option(min=1, help="Samples between predictions; by default the model's.")]
Preset = Annotated[str | None, typer.Option(help="Contract that comes with Mindwire, for example bcic2a.")]
ContractFile = Annotated[Path | None, typer.Option(help="Contract as a JSON file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class Signal:
    """Signal of a recording, and what the recording does not state about it."""

    stream: Stream = None
    channels: Channels = None
    unit: Unit = None
    rate: Annotated[
        float | None, typer.Option(min=1.0, help="True sampling rate in Hz, overriding the nominal one.")
    ] = None


@dataclass(frozen=True, slots=True)
class Conditioning:
    """Treatment of gaps and bad channels, and what adapts to the person, as in ``mindwire serve``."""

    bad_channels: Annotated[
        Literal["auto", "interpolate", "invalidate"],
        typer.Option(help="How to handle bad channels: auto interpolates a few."),
    ] = "auto"
    bridge_ms: Annotated[
        float, typer.Option(min=0.0, help="Longest gap in milliseconds that is bridged and flagged.")
    ] = 40.0
    adapt: Annotated[
        Literal["alignment", "bn", "entropy"],
        typer.Option(help="Parts that adapt to the person, as for serve; bn and entropy run the network in PyTorch."),
    ] = "alignment"


@dataclass(frozen=True, slots=True)
class Backend:
    """Inference engine and device."""

    engine: Annotated[Literal["auto", "onnxruntime", "torch"], typer.Option(help="Inference engine.")] = "auto"
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Device.")] = "auto"


@dataclass(frozen=True, slots=True)
class Cues:
    """Markers of a recording, the classes they stand for, and the moment of decision."""

    markers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=CLASS",
            help="Class of each marker: --markers 1=idle 'Stimulus/S  2=left_hand'; split at the last =.",
        ),
    ] = None
    marker_stream: Annotated[
        str | None,
        typer.Option(help="Marker stream by name, source id, number in the file, or stimulus channel; by default all."),
    ] = None
    classes: Annotated[
        str | None,
        typer.Option(help="Classes, comma-separated; by default those of --markers, or all of the bundle's."),
    ] = None
    at: Annotated[
        float | None,
        typer.Option(
            callback=_check_decided_at,
            help="Seconds after the cue at which trials are decided; by default their end, or as the bundle was trained.",
        ),
    ] = None

    def separate(self, files: list[str]) -> tuple[list[Path], dict[str, str]]:
        """Separate recordings from further ``LABEL=CLASS`` after ``--markers``, which the shell puts among the files.

        Returns
        -------
        files : list of Path
        markers : dict of str to str

        Raises
        ------
        UsageError
            No file is left, one does not exist, or a marker is malformed.
        """
        from mindwire.offline.trials import parse_marker_map

        parse_marker_map(self.markers or [])  # before what follows it is taken for recordings
        paths, assignments = split_files(files, expect_assignments=bool(self.markers))
        return paths, parse_marker_map([*(self.markers or []), *assignments])

    def at_least_two(self, markers: dict[str, str]) -> tuple[str, ...]:
        """Return the classes to train.

        Raises
        ------
        UsageError
            There are fewer than two.
        """
        classes = split_list(self.classes) or list(dict.fromkeys(markers.values()))
        if len(classes) < 2:
            msg = "Training needs at least two classes: name them with --classes, or with --markers 2=left_hand 3=right_hand."
            raise UsageError(msg)
        return tuple(classes)


@dataclass(frozen=True, slots=True)
class Scoring:
    """Alignment during an evaluation, and the rule by which activations are counted."""

    alignment: Annotated[
        Literal["online", "frozen", "off"],
        typer.Option(help="online as live, frozen at the bundle's warm start, or off."),
    ] = "online"
    beside: Annotated[
        Literal["online", "frozen", "off"] | None,
        typer.Option(help="Second --alignment to compare with, which shows the effect of adaptation."),
    ] = None
    idle: Annotated[str | None, typer.Option(help="Class for idling; by default one called idle, rest or nothing.")] = (
        None
    )
    activation: Annotated[
        float, typer.Option(help="Probability at which a program would act, to count false activations during idling.")
    ] = 0.6
    dwell: Annotated[float, typer.Option(help="Seconds for which a class must have that probability.")] = 0.5

    def modes(self) -> tuple[AlignmentMode, ...]:
        """Return the alignments to run.

        Raises
        ------
        UsageError
            Both are the same.
        """
        from mindwire.evaluation.scores import AlignmentMode

        if self.beside == self.alignment:
            msg = f"--beside {self.beside} is the alignment that is evaluated already; leave it out or name another."
            raise UsageError(msg)
        return tuple(AlignmentMode(mode) for mode in (self.alignment, self.beside) if mode is not None)

    def rule(self) -> ActivationRule:
        """Return the activation rule.

        Raises
        ------
        UsageError
            It is out of range.
        """
        from mindwire.evaluation.idle import ActivationRule

        return ActivationRule(self.activation, self.dwell)


def pipeline_options(
    signal: Signal, conditioning: Conditioning | None = None, hop: int | None = None
) -> PipelineOptions:
    """Return the options of a pipeline."""
    from mindwire.options import PipelineOptions
    from mindwire.signal.named_channels import split_labels

    labels = split_labels(signal.channels)
    conditioning = conditioning or Conditioning()
    return PipelineOptions(
        channels=None if labels is None else tuple(labels),
        unit=signal.unit,
        hop_samples=hop,
        sfreq=signal.rate,
        bad_channels=conditioning.bad_channels,
        bridge_seconds=conditioning.bridge_ms / 1e3,
        adapt=conditioning.adapt,
    )


def run_settings(
    cues: Cues, markers: dict[str, str], signal: Signal, conditioning: Conditioning | None = None
) -> RunSettings:
    """Return the settings by which recordings are read and run."""
    from mindwire.evaluation.pseudo_online import RunSettings
    from mindwire.sources.recording import Selector

    return RunSettings(
        markers=markers,
        marker_stream=cues.marker_stream,
        stream=Selector.parse(signal.stream) if signal.stream else None,
        pipeline=pipeline_options(signal, conditioning),
    )


def split_list(text: str | None) -> list[str] | None:
    """Return the names in a comma-separated option; None when it is not given."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def split_files(arguments: list[str], *, expect_assignments: bool) -> tuple[list[Path], list[str]]:
    """Separate recordings from assignments ``LABEL=CLASS``.

    Raises
    ------
    UsageError
        No file is left, or one does not exist.
    """
    assignments = [text for text in arguments if expect_assignments and _is_assignment(text)]
    paths = [Path(text) for text in arguments if text not in assignments]
    if not paths:
        msg = "Expected at least one recording to read, found none; name a file."
        raise UsageError(msg)
    missing = [str(path) for path in paths if not _exists(str(path))]
    if missing:
        hint = "check the path" if not _is_assignment(missing[0]) else "LABEL=CLASS is given after --markers"
        msg = f"{missing[0]}: there is no such recording; {hint}."
        raise UsageError(msg)
    return paths, assignments


def _is_assignment(text: str) -> bool:
    return _ASSIGNMENT.fullmatch(text) is not None and not text.casefold().endswith(_RECORDINGS) and not _exists(text)


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long for a file name, or with characters that none has
        return False
