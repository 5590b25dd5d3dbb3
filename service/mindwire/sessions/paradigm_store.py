"""Paradigms by their names: those that come with Mindwire, and those in the folder of the sessions."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel

from mindwire.errors import ConflictError, ParadigmError
from mindwire.session_names import PARADIGMS
from mindwire.sessions.paradigm import Control, Cued, Eyes, Rest, check_paradigm, parse_paradigm
from mindwire_models.atomic import replace_file
from mindwire_models.reading import MIB, read_regular

_MOST = 200
_MAX_BYTES = MIB // 16
_keeping = threading.Lock()  # one after the other


class ListedParadigm(BaseModel):
    """A paradigm; ``error`` is the sentence that refuses a file, and nothing else but ``name`` is then known."""

    name: str
    title: str = ""
    kind: str = ""
    built_in: bool = False
    error: str | None = None
    document: dict[str, Any] | None = None


def list_paradigms(root: Path | None) -> list[ListedParadigm]:
    """Return the paradigms of Mindwire, then those in the folder of the sessions, at most 200, each by name."""
    found = [_listed(built_in(name), built_in=True) for name in built_in_names()]
    taken = {one.name for one in found}
    for path in _files(root):
        try:
            paradigm = _read(path)
        except ParadigmError as error:
            found.append(ListedParadigm(name=path.stem, error=str(error)))
            continue
        if paradigm.name in taken:
            msg = f"{path}: there is another paradigm {paradigm.name!r}; give this one another name."
            found.append(ListedParadigm(name=path.stem, error=msg))
            continue
        taken.add(paradigm.name)
        found.append(_listed(paradigm))
    return found


def find_paradigm(root: Path | None, name: str) -> Cued | Rest | Eyes | Control:
    """Return a paradigm by its name; raises ParadigmError if there is none, or its file is damaged."""
    if name in built_in_names():
        return built_in(name)
    listed = list_paradigms(root)
    one = next((one for one in listed if one.name == name), None)
    if one is None:
        msg = f"There is no paradigm {name[:80]!r}; there are: {', '.join(one.name for one in listed)}."
        raise ParadigmError(msg)
    if one.document is None:
        raise ParadigmError(one.error or "")
    return check_paradigm(one.document)


def keep_paradigm(root: Path, paradigm: Cued | Rest | Eyes | Control) -> bool:
    """Write a paradigm to the folder of the sessions, in one step; return false if it replaces one.

    Raises
    ------
    ConflictError
        The name is that of a built-in one or of another file, or there are 200 paradigms.
    OSError
        The file cannot be written.
    """
    path = root / PARADIGMS / f"{paradigm.name}.json"
    if paradigm.name in built_in_names():
        msg = f"The paradigm {paradigm.name!r} comes with Mindwire; choose another name for this one."
        raise ConflictError(msg)
    with _keeping:
        files = list(_files(root))
        others = [one for one in files if one != path and one.stem == paradigm.name]
        if others:
            msg = f"The paradigm {paradigm.name!r} is in {PARADIGMS}/{others[0].name}; change that file, or choose another name."
            raise ConflictError(msg)
        new = path not in files
        if new and len(files) >= _MOST:
            msg = f"There are {_MOST} paradigms already; delete one first."
            raise ConflictError(msg)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(paradigm.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n")
        return new


def built_in_names() -> list[str]:
    """Return the names of the paradigms that come with Mindwire."""
    return ["motor-imagery", "rest", "eyes", "feedback-bar", "feedback-cursor", "control"]


def built_in(name: str) -> Cued | Rest | Eyes | Control:
    """Return a paradigm that comes with Mindwire."""
    file = resources.files("mindwire.sessions") / PARADIGMS / f"{name}.toml"
    return parse_paradigm(file.read_bytes(), "toml", f"The paradigm {name}")


def _files(root: Path | None) -> Iterator[Path]:
    if root is not None and (root / PARADIGMS).is_dir():
        found = sorted(path for path in (root / PARADIGMS).iterdir() if path.suffix in (".json", ".toml"))
        yield from [path for path in found if not path.name.startswith(".")][:_MOST]


def _read(path: Path) -> Cued | Rest | Eyes | Control:
    kind = cast("Literal['json', 'toml']", path.suffix[1:])
    paradigm = parse_paradigm(read_regular(path, _MAX_BYTES, ParadigmError), kind, str(path))
    if paradigm.name != path.stem:
        msg = f"{path}: expected the paradigm {path.stem!r} as the file's name says, found {paradigm.name!r}; change one of them."
        raise ParadigmError(msg)
    return paradigm


def _listed(paradigm: Cued | Rest | Eyes | Control, *, built_in: bool = False) -> ListedParadigm:
    return ListedParadigm(
        name=paradigm.name,
        title=paradigm.title,
        kind=paradigm.kind,
        built_in=built_in,
        document=paradigm.model_dump(mode="json"),
    )
