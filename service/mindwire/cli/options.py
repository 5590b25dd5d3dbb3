"""Options and groups of options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mindwire.cli.groups import Given, option
from mindwire.errors import UsageError

if TYPE_CHECKING:
    from mindwire.evaluation.pseudo_online import Execution, Failed, RunSettings
    from mindwire.evaluation.rest import RestTimes
    from mindwire.evaluation.scores import AlignmentMode
    from mindwire.inference.decoder import Adapt
    from mindwire.options import PipelineOptions
    from mindwire_models.bundle import Bundle
    from mindwire_models.parallel import Parallel

_ASSIGNMENT = re.compile(r".*\S\s*=\s*\S.*", re.DOTALL)
_RECORDINGS = (".xdf", ".xdfz", ".gz", ".edf", ".bdf", ".gdf", ".vhdr", ".fif", ".set", ".cnt", ".mat")


def _check_unit(value: str | None) -> str | None:
    if value is not None:
        from mindwire.signal.labels import parse_unit

        if parse_unit(value) is None:
            msg = f"--unit: {value!r} is no unit of voltage; expected V, mV, uV or nV."
            raise UsageError(msg)
    return value


Recording = Annotated[Path, typer.Argument(metavar="FILE", help="Recording: XDF, or what MNE-Python reads.")]
Recordings = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE...",
        help="Recordings: XDF, or what MNE-Python reads; folders, patterns such as 'data/**/*.xdf', tables (CSV, Parquet) of them, and URLs.",
    ),
]
ReportFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder for report.json and report.html.")]
BundleFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder of the bundle; a bundle there is replaced.")]
MODEL = option("Bundle; by default the demonstration bundle.", None, "--model", "-m")
RECORDED_MODEL = option("Bundle; by default the one that a live recording names.", None, "--model", "-m")
NAME = option("Name of the model; by default that of the folder or source.")
FORCE = option("Replace files at --out that Mindwire did not write.", False, "--force")
STREAM = option("The signal: name=…, type=…, source_id=… or id=…, joined by commas.", None, "--stream", "-s")
UNIT = option("Unit of the samples where the source states none.", callback=_check_unit)
CHANNELS = option("Labels in order, comma-separated, for a source that names none.")
HOP = option("Samples between predictions; by default the model's.", min=1)
PRESET = option("Contract that comes with Mindwire, for example bcic2a.")
CONTRACT = option("Contract as a JSON file.")
CONTROL = option("Control policy (JSON file), or none; by default the bundle's own if it has one.", None, "--control")
RAY = option(
    "Run them on a Ray cluster: HOST:PORT, or auto for that of this machine; each node needs the same files and Mindwire.",
    metavar="ADDRESS",
)
AS_JSON = option("Print JSON.", False, "--json")


@dataclass(frozen=True, slots=True)
class Signal:
    """Signal of a recording, and what the recording does not state about it."""

    stream: str | None = STREAM
    channels: str | None = CHANNELS
    unit: str | None = UNIT
    rate: float | None = option("True sampling rate in Hz, overriding the nominal one.", min=1.0)


@dataclass(frozen=True, slots=True)
class Conditioning:
    """Treatment of gaps and bad channels, and what adapts to the person, as in ``mindwire serve``."""

    bad_channels: Literal["auto", "interpolate", "invalidate"] = option(
        "How to handle bad channels: auto interpolates a few.", "auto"
    )
    bridge_ms: float = option("Longest gap in milliseconds that is bridged and flagged.", 40.0, min=0.0)
    adapt: Literal["alignment", "bn", "entropy"] = option(
        "Parts that adapt to the person, as for serve; bn and entropy run the network in PyTorch.", "alignment"
    )


@dataclass(frozen=True, slots=True)
class Backend:
    """Inference engine and device."""

    engine: Literal["auto", "onnxruntime", "torch"] = option("Inference engine.", "auto")
    device: Literal["auto", "cpu", "cuda"] = option("Device that runs the model.", "auto")


@dataclass(frozen=True, slots=True)
class Cues:
    """Markers of a recording, the classes they stand for, and the moment of decision."""

    markers: list[str] | None = option(
        "Class of each marker: --markers 1=idle 'Stimulus/S  2=left_hand'; split at the last =.", metavar="LABEL=CLASS"
    )
    marker_stream: str | None = option(
        "Marker stream by name, source id, number in the file, or stimulus channel; by default all."
    )
    at: float | None = option(
        "Seconds after the cue at which trials are decided; by default their end, or as the bundle was trained."
    )

    def separate(
        self, files: list[str], others: list[str] | None = None
    ) -> tuple[list[Path], list[Path], dict[str, str]]:
        """Separate recordings from further ``LABEL=CLASS`` after ``--markers``, which the shell puts among the files.

        Returns the recordings, those of the ``others``, which another option names, and the class of each label.
        """
        from mindwire.offline.trials import parse_marker_map

        if self.at is not None and self.at <= 0:
            msg = f"--at must be above 0 seconds, found {self.at:g}."
            raise UsageError(msg)
        markers = self.markers or []
        parse_marker_map(markers)  # before what follows it is taken for recordings
        paths, assignments = split_files(files, expect_assignments=bool(markers))
        more, listed = split_files(others, expect_assignments=False) if others else ([], [])
        return paths, more, parse_marker_map([*markers, *assignments, *listed])


@dataclass(frozen=True, slots=True)
class ClassCues(Cues):
    """Cues of chosen classes."""

    classes: str | None = option("Classes, comma-separated; by default those of --markers, or all of the bundle's.")

    def at_least_two(self, markers: dict[str, str]) -> tuple[str, ...]:
        """Return the classes to train."""
        classes = split_list(self.classes) or list(dict.fromkeys(markers.values()))
        if len(classes) < 2:
            msg = "Training needs at least two classes: name them with --classes, or with --markers 2=left_hand 3=right_hand."
            raise UsageError(msg)
        return tuple(classes)


@dataclass(frozen=True, slots=True)
class Scoring:
    """Alignment during an evaluation, and the rule by which activations are counted."""

    alignment: Literal["online", "frozen", "off"] = option(
        "online as live, frozen at the bundle's warm start, or off.", "online"
    )
    comparison: Literal["online", "frozen", "off"] | None = option(
        "Second --alignment to compare with, which shows the effect of adaptation.", None, "--beside"
    )
    idle: str | None = option("Class for idling; by default one called idle, rest or nothing.")
    activation: float = option(
        "Probability at which a program would act, to count false activations during idling.", 0.6
    )
    dwell: float = option("Seconds for which a class must have that probability.", 0.5)

    def idle_class(self, classes: Sequence[str], given: Given) -> str | None:
        """Return the class for idling, None if there is none; refuse a rule of activations that nothing is counted by."""
        from mindwire.evaluation.idle import idle_class

        found = idle_class(self.idle, classes)
        if found is None:
            why = "Activations are counted where a class is idle, named by --idle"
            given.refuse("--activation", "--dwell", why=why)
        return found

    def modes(self) -> tuple[AlignmentMode, ...]:
        """Return the alignments to run."""
        from mindwire.evaluation.scores import AlignmentMode

        if self.comparison == self.alignment:
            msg = f"--beside {self.comparison} is evaluated already, by --alignment; leave it out or name another."
            raise UsageError(msg)
        return tuple(AlignmentMode(mode) for mode in (self.alignment, self.comparison) if mode)


@dataclass(frozen=True, slots=True)
class Rest:
    """Times at which the person asks for nothing, besides the trials of an idle class."""

    rest: list[str] | None = option(
        "Rest: recordings of it, or BEGIN..END for the time from one marker to the next of the other; repeat for more.",
        metavar="FILE|BEGIN..END",
    )
    between: bool = option(
        "The time between trials is rest too, from a window's length after each.", False, "--between"
    )

    def times(self, paths: list[Path], classes: str | None = None) -> RestTimes:
        """Return the times that are rest besides those in the recordings with cues, which are all different."""
        from mindwire.evaluation.known_recordings import check_distinct
        from mindwire.evaluation.rest import RestTimes

        if self.between and classes:
            msg = "--between counts the time between trials as rest, trials of classes left out by --classes included; leave out one of the two."
            raise UsageError(msg)
        times = RestTimes.parse(self.rest or [], between=self.between)
        check_distinct([*paths, *times.recordings])
        return times


@dataclass(frozen=True, slots=True)
class Jobs:
    """Places where many recordings are worked on."""

    jobs: int = option("Recordings that run at the same time, each in a process of its own.", 1, min=1)
    ray: str | None = RAY

    def parallel(self, given: Given) -> Parallel:
        """Return where jobs run."""
        from mindwire_models.parallel import Parallel

        if self.ray is not None:
            given.refuse("--jobs", why="With --ray the cluster decides how many run at the same time")
        return Parallel(self.jobs, self.ray)


@dataclass(frozen=True, slots=True)
class KeptJobs(Jobs):
    """Places where many recordings are run, and where the result of each is kept."""

    results: Path | None = option(
        "Folder that keeps the result of each recording (Parquet), so that a run that was interrupted goes on where it was.",
        metavar="FOLDER",
    )

    def execution(
        self, given: Given, bundle: Bundle, backend: Backend, adapt: Adapt, failed: Failed | None = None
    ) -> Execution:
        """Return how recordings are run through a bundle."""
        from mindwire.evaluation.kept_runs import KeptRuns
        from mindwire.evaluation.pseudo_online import Execution
        from mindwire.inference.load import DecoderChoice

        decoder = DecoderChoice(bundle.path, bundle.sha256, backend.engine, backend.device, adapt)
        kept = None if self.results is None else KeptRuns(self.results)
        return Execution(self.parallel(given), decoder, kept, failed)


def pipeline_options(
    signal: Signal, conditioning: Conditioning | None = None, hop: int | None = None
) -> PipelineOptions:
    """Return the options of a pipeline."""
    from mindwire.options import PipelineOptions
    from mindwire.signal.named_channels import split_labels

    labels = split_labels(signal.channels)
    channels = None if labels is None else tuple(labels)
    options = PipelineOptions(channels=channels, unit=signal.unit, hop_samples=hop, sfreq=signal.rate)
    if conditioning is None:
        return options
    values = asdict(conditioning)
    return replace(options, bridge_seconds=values.pop("bridge_ms") / 1e3, **values)


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


def recordings(names: list[str]) -> list[Path]:
    """Return the recordings that paths, URLs, folders, patterns and tables name; a single path is not looked at."""
    from mindwire.sources.object_stores import is_url
    from mindwire.sources.recording_lists import listed_recordings, names_several

    if len(names) == 1 and not names_several(names[0]) and not is_url(names[0]):
        return [Path(names[0])]
    return [one.path for one in listed_recordings(names)]


def participants(arguments: list[str]) -> dict[Path, tuple[str, str]]:
    """Return the participant and the session of each recording of which a table names them."""
    from mindwire.sources.recording_lists import listed_recordings

    listed = listed_recordings(text for text in arguments if not _is_assignment(text))
    return {one.path: (one.participant, one.session) for one in listed if one.participant or one.session}


def split_files(arguments: list[str], *, expect_assignments: bool) -> tuple[list[Path], list[str]]:
    """Separate recordings, of which folders, patterns and tables name several, from assignments ``LABEL=CLASS``."""
    from mindwire.sources.recording_lists import listed_recordings

    assignments = [text for text in arguments if expect_assignments and _is_assignment(text)]
    names = [text for text in arguments if text not in assignments]
    if not names:
        msg = "Expected at least one recording to read, found none; name a file."
        raise UsageError(msg)
    missing = next((text for text in names if _is_assignment(text)), None)
    if missing is not None:
        msg = f"{missing}: there is no such recording; LABEL=CLASS is given after --markers."
        raise UsageError(msg)
    listed = listed_recordings(names)
    return [one.path for one in listed], [*assignments, *(one.markers for one in listed if one.markers)]


def _is_assignment(text: str) -> bool:
    from mindwire.sources.object_stores import is_url

    like_one = _ASSIGNMENT.fullmatch(text) is not None and not text.casefold().endswith(_RECORDINGS)
    return like_one and not is_url(text) and not _exists(text)


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long for a file name, or with characters that none has
        return False
