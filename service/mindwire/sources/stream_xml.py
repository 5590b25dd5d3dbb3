"""Descriptions of streams: LSL and XDF share one XML layout, and either may be hostile.

A description comes from the network or from a file of unknown origin: document types and entities are refused, and depth,
length and the numbers of elements and attributes are bounded.
"""

from __future__ import annotations

import math
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from mindwire.errors import SourceError
from mindwire.types import SignalInfo

MAX_XML_BYTES = 1 << 24
MAX_DEPTH = 64
# A footer with the clock offsets of a week has 360,000 elements. No program writes attributes by the thousand.
MAX_ELEMENTS = 500_000
MAX_ATTRIBUTES = 10_000
_PIECE_BYTES = 1 << 16
_MAX_TAG_BYTES = 1 << 18
MAX_CHANNELS = 65_536
MAX_SFREQ = 1e7
FORMATS = ("float32", "double64", "string", "int32", "int16", "int8", "int64")
_TOO_MANY = (
    f"Expected a stream description of at most {MAX_ELEMENTS} elements and {MAX_ATTRIBUTES} attributes, found more."
)


class _BoundedBuilder(TreeBuilder):
    """Tree builder that refuses what is too deep or too large."""

    depth = elements = attributes = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> Element:
        self.depth += 1
        self.elements += 1
        self.attributes += len(attrs)
        if self.depth > MAX_DEPTH:
            msg = f"The stream description is nested more than {MAX_DEPTH} levels deep."
            raise SourceError(msg)
        if self.elements > MAX_ELEMENTS or self.attributes > MAX_ATTRIBUTES:
            raise SourceError(_TOO_MANY)
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> Element:
        self.depth -= 1
        return super().end(tag)


def decode_xml(document: bytes) -> str:
    """Decode a description: UTF-8, or Latin-1 where it is none, as some programs write it."""
    try:
        return document.decode("utf-8")
    except UnicodeDecodeError:
        return document.decode("latin-1")


def parse_xml(document: bytes | str) -> Element:
    """Parse a description; raise SourceError if it is not well-formed, exceeds a bound, or uses what is refused."""
    if len(document) > MAX_XML_BYTES:
        msg = f"Expected a stream description below {MAX_XML_BYTES >> 20} MiB, found {len(document)} bytes."
        raise SourceError(msg)
    text = decode_xml(document) if isinstance(document, bytes) else document
    data = text.strip("\x00 \t\r\n").encode("utf-8", "replace")
    parser = DefusedXMLParser(target=_BoundedBuilder(), encoding="utf-8", forbid_dtd=True)
    try:
        for at in range(0, len(data), _PIECE_BYTES):
            parser.feed(data[at : at + _PIECE_BYTES])
            if at - parser.parser.CurrentByteIndex > _MAX_TAG_BYTES:  # a tag that does not end
                raise SourceError(_TOO_MANY)
        root: Element = parser.close()
    except DefusedXmlException as error:
        msg = "The stream description declares a document type or an entity, which Mindwire refuses to read."
        raise SourceError(msg) from error
    except ParseError as error:
        msg = f"The stream description is not well-formed XML ({error})."
        raise SourceError(msg) from error
    return root


def child_text(element: Element, path: str) -> str:
    """The stripped text of a child, empty when there is none."""
    return (element.findtext(path) or "").strip()


def _number(element: Element, path: str, what: str) -> float:
    """A finite number from a child's text."""
    text = child_text(element, path)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        msg = f"Expected a number as {what}, found {text[:40]!r}."
        raise SourceError(msg)
    return value


def signal_info(info: Element) -> SignalInfo:
    """Return the signal that a stream's ``<info>`` element describes.

    ``labels``, ``units`` and ``types`` are None unless the description has one channel entry per channel. Raise SourceError if
    channel count, nominal rate or sample format are missing or impossible.
    """
    count = _number(info, "channel_count", "channel count")
    if not 1 <= count <= MAX_CHANNELS or count != int(count):
        msg = f"Expected a channel count of 1 to {MAX_CHANNELS}, found {count:g}."
        raise SourceError(msg)
    sfreq = _number(info, "nominal_srate", "nominal sampling rate")
    if not 0 <= sfreq <= MAX_SFREQ:
        msg = f"Expected a nominal sampling rate of 0 to {MAX_SFREQ:g} Hz, found {sfreq:g} Hz."
        raise SourceError(msg)
    dtype = child_text(info, "channel_format")
    if dtype not in FORMATS:
        msg = f"Expected a sample format out of {', '.join(FORMATS)}, found {dtype[:40]!r}."
        raise SourceError(msg)
    channels = info.findall("desc/channels/channel")
    labels = units = types = None
    remarks: tuple[str, ...] = ()
    if len(channels) == count:
        labels, units, types = (_each(channels, path) for path in ("label", "unit", "type"))
    elif channels:
        remarks = (f"its description names {len(channels)} channels of {count:g}",)
    texts: dict[str, Any] = {key: child_text(info, key) for key in ("name", "type", "source_id", "uid", "hostname")}
    return SignalInfo(
        sfreq=sfreq,
        n_channels=int(count),
        labels=labels,
        units=units,
        dtype=dtype,
        types=types,
        remarks=remarks,
        **texts,
    )


def _each(channels: list[Element], path: str) -> tuple[str, ...] | None:
    found = tuple(child_text(channel, path) for channel in channels)
    return found if any(found) else None
