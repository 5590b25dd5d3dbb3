"""Opening of recordings with the reader that their content calls for."""

from __future__ import annotations

from pathlib import Path

from mindwire.errors import RecordingError
from mindwire.sources.object_stores import FOLDERS, copy_if_absent
from mindwire.sources.recorded_stream import RecordedSignal, RecordedStream, Recording, Selector, choose_signal
from mindwire.sources.xdf import XdfRecording
from mindwire.sources.xdf_chunks import GZIP_MAGIC, MAGIC

__all__ = ["RecordedSignal", "RecordedStream", "Recording", "Selector", "choose_signal", "open_recording"]

# Files that belong to a recording without being the one to open.
_OPENED_BY = {".eeg": ".vhdr", ".vmrk": ".vhdr", ".dat": ".vhdr", ".fdt": ".set"}
_USUAL = (".xdf", ".edf", ".bdf", ".gdf", ".vhdr", ".fif", ".set")


def open_recording(path: Path | str) -> Recording:
    """Open a recording, which is copied to this machine first if it is the copy of one at a URL.

    Raises
    ------
    RecordingError
        The file cannot be read.
    MissingExtraError
        Its format takes MNE-Python, which is not installed.
    """
    path = copy_if_absent(Path(path))
    if path.exists() and not (path.is_file() or path.is_dir()):
        msg = f"{path}: expected a recording, found neither a file nor a folder."  # a pipe would block
        raise RecordingError(msg)
    if path.is_dir() and path.suffix.casefold() not in FOLDERS:
        found = sorted(one.name for one in path.iterdir() if one.suffix.casefold() in _USUAL)
        files = f"for example {path / found[0]}" if found else "though none of them is one that Mindwire knows"
        msg = f"{path}: expected a recording, found a folder; give the files in it, {files}."
        raise RecordingError(msg)
    try:
        magic = b""
        if not path.is_dir():
            with path.open("rb") as file:
                magic = file.read(len(MAGIC))
    except OSError as error:
        msg = f"{path}: the recording cannot be read ({error.strerror}); check the path."
        raise RecordingError(msg) from error
    compressed = magic.startswith(GZIP_MAGIC) and not path.name.casefold().endswith(".fif.gz")
    if magic == MAGIC or compressed or path.suffix.casefold() == ".xdf":
        return XdfRecording(path)
    header = path.with_suffix(_OPENED_BY.get(path.suffix.casefold(), path.suffix))
    if header != path and header.exists():
        msg = f"{path}: expected a recording's header, found another file of the recording; give {header}."
        raise RecordingError(msg)
    from mindwire.sources.mne_file import MneRecording

    return MneRecording(path)
