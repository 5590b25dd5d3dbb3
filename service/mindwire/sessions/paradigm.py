"""Paradigms as data: what is shown to the participant, and for how long, as one strict, versioned document.

Nothing in it flickers: whatever is shown stays for half a second at least.
"""

from __future__ import annotations

import json
import re
import tomllib
from functools import cache
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from mindwire.errors import ParadigmError
from mindwire.setting_errors import did_you_mean, expected_value
from mindwire.sources.vocabulary import PRACTICE, VOCABULARY
from mindwire_models.text import printable

FORMAT: Final = "mindwire-paradigm"
MAX_TRIALS: Final = 1000
_MAX_SECONDS = 3 * 3600
_GRID = 3  # steps from the centre to the border of the control task
_MOVES = {"left_hand": (-1, 0), "right_hand": (1, 0), "feet": (0, -1), "tongue": (0, 1)}
# No number, and no spelling that the shortening of labels would change.
_CLASS = re.compile(r"[^\W\d][\w.-]{0,63}")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")


def _check_class(label: str) -> str:
    if not _CLASS.fullmatch(label):
        msg = f"expected a class of 1 to 64 letters, digits, '_', '.' and '-' that begins with a letter, found {printable(label, 80)!r}"
        raise ValueError(msg)
    if label in VOCABULARY or label.startswith(PRACTICE):
        msg = f"the class {label!r} is the name of another marker; choose another name"
        raise ValueError(msg)
    return label


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        msg = f"expected a name of 1 to 64 small letters, digits and '-', found {printable(name, 80)!r}"
        raise ValueError(msg)
    return name


def _check_text(text: str) -> str:
    if printable(text) != text.replace("\n", " "):
        msg = "expected text without control characters"
        raise ValueError(msg)
    return text


ClassName = Annotated[str, AfterValidator(_check_class)]
ParadigmName = Annotated[str, AfterValidator(_check_name)]
Instruction = Annotated[str, Field(max_length=2000), AfterValidator(_check_text)]
Seed = Annotated[int, Field(ge=0, lt=2**53)]  # a whole number to JavaScript
Shown = Annotated[float, Field(ge=0.5, le=60)]  # seconds


class _Strict(BaseModel):
    # Built where it is first used: no start waits for it.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


class _Document(_Strict):
    """Fields of every paradigm.

    Parameters
    ----------
    name : str
        Name in the service.
    title, instruction : str
        Shown to the participant.
    seed : int or None
        Seed of order and pauses; None draws another one for each task.
    """

    format: Literal["mindwire-paradigm"] = FORMAT
    version: Literal[1] = 1
    name: ParadigmName
    title: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_check_text)]
    instruction: Instruction = ""
    seed: Seed | None = None


def _check_unique(classes: tuple[str, ...]) -> tuple[str, ...]:
    if len({label.casefold() for label in classes}) < len(classes):
        msg = f"expected each class once, found {', '.join(classes)}"
        raise ValueError(msg)
    return classes


def _tuple(element: Any, fewest: int, most: int) -> Any:
    """Return the type of a list in a document; strict tuples would refuse lists."""
    return Annotated[tuple[element, ...], Field(min_length=fewest, max_length=most, strict=False)]


class Cued(_Document):
    """Trials of motor imagery after the scheme of Graz: fixation, cue, imagery, pause; with feedback from a model if wanted.

    Parameters
    ----------
    classes : tuple of str
    trials_per_class : int
    practice : int
        Trials before the others, which do not count: their cues are ``practice_CLASS``.
    fixation_s, cue_s, imagery_s : float
        Seconds of fixation before the cue, of the cue's display, and from the cue's onset to the end of the imagery.
    pause_s : tuple of float
        Shortest and longest pause after a trial, in seconds.
    sound : bool
        True plays a tone with the fixation.
    feedback : str
        ``none``, ``bar`` or ``cursor``.
    """

    kind: Literal["cued"]
    classes: Annotated[_tuple(ClassName, 2, 12), AfterValidator(_check_unique)]  # type: ignore[valid-type]
    trials_per_class: Annotated[int, Field(ge=1, le=200)] = 10
    practice: Annotated[int, Field(ge=0, le=50)] = 0
    fixation_s: Shown = 2.0
    cue_s: Shown = 1.25
    imagery_s: Shown = 4.0
    pause_s: Annotated[tuple[Shown, Shown], Field(strict=False)] = (1.5, 3.0)
    sound: bool = True
    feedback: Literal["none", "bar", "cursor"] = "none"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.pause_s[0] > self.pause_s[1]:
            msg = f"pause_s: expected the shortest pause first, found {list(self.pause_s)}"
            raise ValueError(msg)
        if self.cue_s > self.imagery_s:
            msg = f"cue_s: expected at most imagery_s, {self.imagery_s:g}, found {self.cue_s:g}"
            raise ValueError(msg)
        return self


class Rest(_Document):
    """A block of rest with open eyes, in which anything but the movements is imagined."""

    kind: Literal["rest"]
    duration_s: Annotated[float, Field(ge=5, le=1800)] = 120.0


class EyesBlock(_Strict):
    """A block with eyes open or closed."""

    eyes: Literal["open", "closed"]
    duration_s: Annotated[float, Field(ge=5, le=600)] = 60.0


class Eyes(_Document):
    """Blocks with eyes open and closed."""

    kind: Literal["eyes"]
    blocks: _tuple(EyesBlock, 1, 40) = (EyesBlock(eyes="open"), EyesBlock(eyes="closed"))  # type: ignore[valid-type]


Step = Annotated[int, Field(ge=-1, le=1)]


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


class Control(_Document):
    """Free control: decisions move a cursor on a grid of 7 by 7 points to targets.

    Parameters
    ----------
    classes : tuple of str
    moves : dict
        Step along x (to the right) and y (upwards) of each class; those left out get the directions that are free.
    targets : int
    distance : int
        Steps from the centre to a target.
    limit_s, rest_s : float
        Longest attempt, and rest before each, in seconds.
    """

    kind: Literal["control"]
    classes: Annotated[_tuple(ClassName, 1, 4), AfterValidator(_check_unique)]  # type: ignore[valid-type]
    moves: dict[ClassName, Annotated[tuple[Step, Step], Field(strict=False)]] = {}
    targets: Annotated[int, Field(ge=1, le=200)] = 10
    distance: Annotated[int, Field(ge=1, le=2 * _GRID)] = 3
    limit_s: Annotated[float, Field(ge=5, le=300)] = 30.0
    rest_s: Annotated[float, Field(ge=2, le=60)] = 6.0

    @model_validator(mode="before")
    @classmethod
    def _complete_moves(cls, document: Any) -> Any:
        classes, given = document.get("classes"), document.get("moves", {})
        if not isinstance(given, dict) or not _is_list(classes):
            return document
        moves, labels = dict(given), [label for label in classes[: len(_MOVES)] if isinstance(label, str)]
        for label in labels:
            if label in _MOVES:
                moves.setdefault(label, _MOVES[label])
        for label in labels:
            taken = [list(move) for move in moves.values() if _is_list(move)]
            if free := [move for move in _MOVES.values() if list(move) not in taken]:
                moves.setdefault(label, free[0])
        return document | {"moves": moves}

    @model_validator(mode="after")
    def _check(self) -> Self:
        moves = list(self.moves.values())
        if (
            set(self.moves) != set(self.classes)
            or len(set(moves)) < len(moves)
            or any(abs(x) + abs(y) != 1 for x, y in moves)
        ):
            msg = f"moves: expected one of [-1, 0], [1, 0], [0, -1] and [0, 1] for each class, each once, found {dict(self.moves)}"
            raise ValueError(msg)
        if not self.points():
            msg = f"distance: no target {self.distance} steps away can be reached with these moves; at most {_GRID} steps lead to a border"
            raise ValueError(msg)
        return self

    def points(self) -> list[tuple[int, int]]:
        """Return the points of the grid, x and y, at which a target can be."""
        there = {(0, 0), *self.moves.values()}
        reach = range(-_GRID, _GRID + 1)
        return [
            (x, y)
            for x in reach
            for y in reach
            if abs(x) + abs(y) == self.distance and {((x > 0) - (x < 0), 0), (0, (y > 0) - (y < 0))} <= there
        ]


Paradigm = Annotated[Cued | Rest | Eyes | Control, Field(discriminator="kind")]
_KINDS: dict[Any, type[BaseModel]] = {"cued": Cued, "rest": Rest, "eyes": Eyes, "control": Control}


@cache
def _paradigm() -> TypeAdapter[Cued | Rest | Eyes | Control]:
    return TypeAdapter(Paradigm)


def duration_s(paradigm: Cued | Rest | Eyes | Control) -> float:
    """Return how long a paradigm takes at most without repeated trials, in seconds."""
    if isinstance(paradigm, Cued):
        trials = len(paradigm.classes) * paradigm.trials_per_class + paradigm.practice
        return trials * (paradigm.fixation_s + paradigm.imagery_s + paradigm.pause_s[1])
    if isinstance(paradigm, Rest):
        return paradigm.duration_s
    if isinstance(paradigm, Eyes):
        return float(sum(block.duration_s for block in paradigm.blocks))
    return paradigm.targets * (paradigm.rest_s + paradigm.limit_s)


def check_paradigm(document: Any, source: str = "The paradigm") -> Cued | Rest | Eyes | Control:
    """Return a document as a paradigm.

    Parameters
    ----------
    document : Any
        As JSON or TOML have it.
    source : str
        Name of the document in messages.

    Raises
    ------
    ParadigmError
        It is none of this version; the message names the first wrong field.
    """
    try:
        paradigm = _paradigm().validate_python(document)
    except ValidationError as error:
        msg = f"{source} is not valid: {_fault(error)}."
        raise ParadigmError(msg) from None
    if (
        isinstance(paradigm, Cued)
        and len(paradigm.classes) * paradigm.trials_per_class + paradigm.practice > MAX_TRIALS
    ):
        msg = f"{source} is not valid: trials_per_class: expected at most {MAX_TRIALS} trials in all."
        raise ParadigmError(msg)
    if (seconds := duration_s(paradigm)) > _MAX_SECONDS:
        msg = f"{source} is not valid: expected at most {_MAX_SECONDS // 3600} hours, found {seconds / 3600:.1f}; make several of it."
        raise ParadigmError(msg)
    return paradigm


def _fault(error: ValidationError) -> str:
    """Return the first fault of a document: its place, and what was expected and found."""
    first = error.errors(include_url=False)[0]
    loc = list(first["loc"])
    kind = loc.pop(0) if loc and loc[0] in _KINDS else ""
    place = ".".join(ascii(str(part))[1:-1][:80] for part in loc)
    fault = first["type"]
    if fault in ("union_tag_invalid", "union_tag_not_found"):
        return f"kind: expected {', '.join(map(repr, _KINDS))}"
    if not place and fault != "value_error":
        return f"expected an object with the fields of a paradigm, found {type(first['input']).__name__}"
    if fault == "extra_forbidden":
        known = (EyesBlock if kind == "eyes" and len(loc) > 1 else _KINDS[kind]).model_fields
        return f"there is no field {place!r}{did_you_mean(str(loc[-1]), list(known))}".rstrip(".?")
    if fault == "missing":
        return f"{place}: expected a value, found none"
    if fault in ("too_long", "too_short"):
        some = first["ctx"]
        bound = f"at most {some['max_length']}" if fault == "too_long" else f"at least {some['min_length']}"
        return f"{place}: expected {bound} entries, found {some['actual_length'] or 'none'}"
    expected = expected_value(dict(first))
    if fault != "value_error":
        expected = f"expected {expected[:1].lower()}{expected[1:]}, found {printable(repr(first['input'])[:200], 60)}"
    return f"{place + ': ' if place else ''}{expected}"


def parse_paradigm(data: bytes, kind: Literal["json", "toml"], source: str) -> Cued | Rest | Eyes | Control:
    """Read a paradigm from the text of a file; raises ParadigmError as :func:`check_paradigm` does."""
    try:
        text = data.decode()
        document = tomllib.loads(text) if kind == "toml" else json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else printable(str(error), 200)
        msg = f"{source} is not valid: expected {kind.upper()} ({reason})."
        raise ParadigmError(msg) from None
    return check_paradigm(document, source)
