"""Checks of the rules about names, formats and descriptions of streams."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable
from typing import NoReturn

from mindwire.offline.convention.streams import ENDINGS, ObservedStream
from mindwire_models.text import counted, printable

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_SHOWN = 60


class ViolationError(Exception):
    """A rule is not kept: expected and found."""


class UncheckedError(Exception):
    """A rule cannot be checked with the samples that there are."""


Check = Callable[[ObservedStream], None]


def violated(expected: object, found: object) -> NoReturn:
    """Report that a rule is not kept."""
    msg = f"expected {expected}, found {found}"
    raise ViolationError(msg)


def shown(text: str) -> str:
    """Return a text of others, quoted and cut."""
    return repr(printable(text, _SHOWN)) if text else "none"


def equal(expected: str, found: str) -> None:
    """Require a text."""
    if expected != found:
        violated(repr(expected), shown(found))


def source_id(stream: ObservedStream) -> None:
    """Check S1."""
    if not stream.info.source_id:
        violated("a source_id", "none")


def name(stream: ObservedStream) -> None:
    """Check S2."""
    ending = ENDINGS[stream.kind]
    others = [other for kind, other in ENDINGS.items() if kind is not stream.kind and other]
    if not stream.info.name.endswith(ending) or (not ending and stream.info.name.endswith(tuple(others))):
        violated(
            f"a name that ends in {ending}" if ending else "a name without such an ending", shown(stream.info.name)
        )


def irregular(stream: ObservedStream) -> None:
    """Check S3."""
    if stream.info.sfreq:
        violated("0", f"{stream.info.sfreq:g} Hz")


def manufacturer(stream: ObservedStream) -> None:
    """Check S4."""
    if not stream.text("manufacturer"):
        violated("a name", "none")


def has_type(expected: str) -> Check:
    """Return a check of the stream's type."""
    return lambda stream: equal(expected, stream.info.type)


def has_format(expected: str) -> Check:
    """Return a check of the sample format."""
    return lambda stream: equal(expected, stream.info.dtype)


def one_text_channel(stream: ObservedStream) -> None:
    """Check that the samples are single texts."""
    equal("string", stream.info.dtype)
    if stream.info.n_channels != 1:
        violated("1 channel", stream.info.n_channels)


def labelled(fewest: int) -> Check:
    """Return a check of labels: distinct, of ``fewest`` channels or more."""

    def check(stream: ObservedStream) -> None:
        labels = stream.info.labels or ()
        if stream.info.n_channels < fewest:
            violated(f"{fewest} channels or more", stream.info.n_channels)
        if not labels or not all(labels) or len(set(labels)) < len(labels):
            names = ", ".join(label or "none" for label in labels)
            violated(f"{counted(stream.info.n_channels, 'different label')}", printable(names, _SHOWN) or "none")

    return check


def each_channel(field: str, expected: str) -> Check:
    """Return a check of a field of each channel, ``units`` or ``types``."""

    def check(stream: ObservedStream) -> None:
        given: tuple[str, ...] = getattr(stream.info, field) or ("",)
        for found in given:
            equal(expected, found)

    return check


def has_text(path: str, expected: str) -> Check:
    """Return a check of an element of the description."""
    return lambda stream: equal(expected, stream.text(path))


def model(stream: ObservedStream) -> None:
    """Check name and hash of the model."""
    if not stream.text("model/name"):
        violated("desc/model/name", "none")
    if not _SHA256.fullmatch(sha256 := stream.text("model/sha256")):
        violated("64 hexadecimal digits as desc/model/sha256", shown(sha256))


def number_in(stream: ObservedStream, path: str) -> float:
    """Return a number above 0 from the description."""
    try:
        value = float(stream.text(path))
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        violated(f"a number above 0 as desc/{path}", shown(stream.text(path)))
    return value


def decoding(stream: ObservedStream) -> None:
    """Check P13."""
    number_in(stream, "decoding/sfreq")
    for name in ("window_samples", "hop_samples"):
        if (value := number_in(stream, f"decoding/{name}")) != int(value):
            violated(f"a whole number as desc/decoding/{name}", value)


def temperature(stream: ObservedStream) -> None:
    """Check P15."""
    number_in(stream, "calibration/temperature")


def _json(stream: ObservedStream, path: str) -> dict[str, object]:
    try:
        found = json.loads(stream.text(path))
    except (ValueError, RecursionError):  # of another program, perhaps nested without an end
        found = None
    if not isinstance(found, dict):
        violated(f"a JSON object as desc/{path}", shown(stream.text(path)))
    return found


def contract(stream: ObservedStream) -> None:
    """Check P14."""
    contract = _json(stream, "contract")
    if contract.get("classes") != list(stream.info.labels or ()):
        violated(f"the classes {', '.join(stream.info.labels or ())}", shown(str(contract.get("classes", ""))))
    if str(contract.get("window_samples")) != (stated := stream.text("decoding/window_samples")):
        violated(f"{stated or 'no'} window_samples", contract.get("window_samples"))


def classes_of(stream: ObservedStream) -> list[str]:
    """Return the classes that the description of decisions lists."""
    return [(one.text or "").strip() for one in stream.header.findall("desc/classes/class")]


def class_list(stream: ObservedStream) -> None:
    """Check D3."""
    names = classes_of(stream)
    if len(names) < 2 or not all(names) or len(set(names)) < len(names):
        violated("two or more different classes", printable(", ".join(names), _SHOWN) or "none")


def policy(stream: ObservedStream) -> None:
    """Check D7."""
    policy = (stream.header.findtext("desc/control/policy") or "").strip()
    if not policy:
        if not stream.text("control/note"):
            violated("a policy or a note", "none")
        return
    _json(stream, "control/policy")
    # programs that write XML may cut the line's end of a text
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in (policy, f"{policy}\n")]
    if (stated := stream.text("control/sha256")).casefold() not in hashes:
        violated(f"{hashes[1]} as desc/control/sha256", shown(stated))


def stated_range(stream: ObservedStream) -> None:
    """Check A7."""
    for name, expected in (("minimum", -1.0), ("maximum", 1.0)):
        try:
            found = float(stream.text(f"range/{name}"))
        except ValueError:
            found = math.nan
        if found != expected:
            violated(f"{expected:g} as desc/range/{name}", shown(stream.text(f"range/{name}")))
