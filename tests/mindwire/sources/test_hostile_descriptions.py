"""Descriptions of streams that are too deep, too long or too many are refused before they cost anything."""

from __future__ import annotations

import psutil
import pylsl
import pytest

from mindwire.errors import SourceError
from mindwire.live.live_markers import marker_predicate
from mindwire.sources.lsl_connector import LslConnector
from mindwire.sources.lsl_discovery import Selector, survey
from mindwire.sources.stream_xml import parse_xml
from tests.support.lsl_cap import Cap
from tests.support.streaming import unique

MIB = 2**20


def nested(desc):
    for _ in range(10_000):
        desc = desc.append_child("a")


def long(desc):
    for _ in range(40):
        desc.append_child_value("x", "y" * MIB)


def many(desc):
    for _ in range(150_000):
        desc.append_child_value("x", "y")


@pytest.mark.parametrize("fill", [nested, long, many])
def test_a_hostile_outlet_is_found_by_nobody(fill):
    name = unique("evil")
    info = pylsl.StreamInfo(name, "EEG", 2, 250, pylsl.cf_float32, name)
    fill(info.desc())
    outlet = pylsl.StreamOutlet(info)
    connector = LslConnector(Selector(name=name))
    before = psutil.Process().memory_info().rss
    for _ in range(5):  # on a busy machine an answer may take longer than a search
        assert connector.find(2.5) is None
        if "too large or too deeply nested" in connector.explain():
            break
    assert "too large or too deeply nested" in connector.explain()
    (listed,) = [info for info in survey(1.5) if info.name == name]
    assert listed.labels is None
    assert psutil.Process().memory_info().rss - before < 120 * MIB  # the outlet's own work included
    del outlet


def test_ordinary_outlets_are_found_beside_it():
    name = unique("cap")
    hostile = pylsl.StreamInfo(name, "EEG", 2, 250, pylsl.cf_float32, f"{name}-evil")
    nested(hostile.desc())
    outlet = pylsl.StreamOutlet(hostile)
    with Cap(name, source_id=name):
        found = LslConnector(Selector(name=name)).find(10.0)
    assert found.info.source_id == name
    del outlet


def test_markers_of_a_hostile_outlet_are_not_shown():
    outlets = []
    for kind in ("good", "evil"):
        info = pylsl.StreamInfo(unique(kind), "Markers", 1, 0, pylsl.cf_string, unique(kind))
        if kind == "evil":
            nested(info.desc())
        outlets.append(pylsl.StreamOutlet(info))
    names = {outlet.get_info().name() for outlet in outlets[:1]}
    for wanted in ((), [*names, outlets[1].get_info().name()]):
        found = pylsl.resolve_bypred(marker_predicate(wanted), minimum=2, timeout=2.0)
        assert {handle.name() for handle in found if handle.name().startswith(("good", "evil"))} == names


@pytest.mark.parametrize(
    "document",
    [
        "<info>" + "<a/>" * 600_000 + "</info>",
        "<info>" + '<a b="1" c="2"/>' * 200_000 + "</info>",
        "<info " + " ".join(f'a{n}=""' for n in range(900_000)) + "/>",
        "<info " + "a" * 12_000_000,
        "<info><a>" + "<![CDATA[" + "x" * 12_000_000,
    ],
    ids=["elements", "attributes", "attributes of one element", "an endless name", "endless text"],
)
def test_many_elements_and_attributes_are_refused(document):
    with pytest.raises(SourceError):
        parse_xml(document)


def test_long_descriptions_are_read():
    channels = "".join(f"<channel><label>E{n}</label><unit>uV</unit><type>EEG</type></channel>" for n in range(4096))
    info = parse_xml(
        f"<?xml version='1.0' encoding='latin-1'?><info><name>Käppchen</name><desc>{channels}</desc></info>"
    )
    assert len(info.findall("desc/channel")) == 4096
    assert info.findtext("name") == "Käppchen"
