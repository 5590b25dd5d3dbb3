"""The convention: its document has the rules of the code, and each planted violation is named, in files and on LSL."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mindwire.cli.main import app, run
from mindwire.offline.convention.checks import CHECKED
from mindwire.offline.convention.rules import RULES, Kind
from tests.support.convention_streams import changed, good_streams, sent, write_streams
from tests.support.lsl_cap import Cap
from tests.support.streaming import unique
from tests.support.xdf_writer import eeg_file

DOCUMENT = (Path(__file__).parents[3] / "docs" / "convention.md").read_text(encoding="utf-8")


def test_the_document_has_each_rule_as_the_code_has_it():
    documented = dict(re.findall(r"^\| ([A-Z]\d+) \| (.+?) \| .+ \|$", DOCUMENT, re.MULTILINE))
    assert documented == {number: rule.text for number, rule in RULES.items()}


def test_each_rule_but_those_of_osc_is_checked():
    assert {number for number, rule in RULES.items() if rule.kind is not Kind.OSC} == CHECKED


def checked(*words: object) -> tuple[int, dict[str, list[str]], dict[str, str]]:
    """Exit code, ids by their outcome, and details of what is broken."""
    found = CliRunner().invoke(app, ["check-outlet", *map(str, words), "--json"])
    assert found.exit_code in (0, 1), found.output
    rules = [rule for stream in json.loads(found.stdout) for rule in stream["rules"]]
    by = {outcome: [rule["id"] for rule in rules if rule["outcome"] == outcome] for outcome in ("kept", "not checked")}
    return found.exit_code, by, {rule["id"]: rule["detail"] for rule in rules if rule["outcome"] == "broken"}


def test_a_recording_that_keeps_all_rules_is_accepted(tmp_path):
    code, by, broken = checked(write_streams(tmp_path / "good.xdf", good_streams()))
    assert (code, broken) == (0, {})
    assert by["not checked"] == ["P8", "M4"]  # when samples arrived is not in a recording
    assert set(by["kept"]) == CHECKED - {"P8", "M4"}


def rewrite(**fields):
    """A change of one stream's description or samples."""

    def change(kind):
        def apply(streams):
            for name, value in fields.items():
                target = streams[kind]
                *path, last = name.split("__")
                for key in path:
                    target = target[key] if isinstance(target, dict) else getattr(target, key)
                if isinstance(target, dict):
                    target[last] = value
                else:
                    setattr(target, last, value)

        return apply

    return change


def removed(kind, *path):
    def apply(streams):
        target = streams[kind].desc
        for key in path[:-1]:
            target = target[key]
        del target[path[-1]]

    return apply


def value(kind, row, new):
    def apply(streams):
        streams[kind].values[row] = new

    return apply


def stamp(kind, row, shift):
    def apply(streams):
        streams[kind].times[row] += shift

    return apply


def same_stamp(kind, row):
    def apply(streams):
        streams[kind].times[row] = streams[kind].times[row - 1]

    return apply


NAN = float("nan")
DOUBLED = [(label, "probability", "Probability") for label in ("left_hand", "left_hand")]
BARE = [("", "probability", "Probability")] * 2
PERCENT = [(label, "percent", "Probability") for label in ("left_hand", "right_hand")]
PLANTED = {
    "wrong type": (rewrite(type="Probs")("probabilities"), {"P1": "expected 'Probabilities', found 'Probs'"}),
    "wrong format": (rewrite(dtype="double64")("probabilities"), {"P2": "expected 'float32', found 'double64'"}),
    "missing labels": (rewrite(channels=BARE)("probabilities"), {"P3": "expected 2 different labels, found none"}),
    "a label twice": (rewrite(channels=DOUBLED)("probabilities"), {"P3": "left_hand, left_hand"}),
    "wrong unit": (rewrite(channels=PERCENT)("probabilities"), {"P4": "expected 'probability', found 'percent'"}),
    "a stamp twice": (same_stamp("probabilities", 30), {"P6": "1 of 49, the first at 1001.160 s"}),
    "stamps run back": (stamp("probabilities", 30, -0.3), {"P6": "1 of 49"}),
    "another hop": (
        rewrite(desc__decoding__hop_samples="25")("probabilities"),
        {"P7": "expected a multiple of 100 ms, found 40 ms"},
    ),
    "not summing to one": (value("probabilities", 20, [0.5, 0.6]), {"P9": "1.1 in 1 of 50, the first at 1000.800 s"}),
    "invalid as zeros": (value("probabilities", 5, [0.0, 0.0]), {"P10": "the row 0 0 in 1 of 50"}),
    "invalid in one channel": (value("probabilities", 5, [NAN, 0.5]), {"P10": "the row nan 0.5 in 1 of 50"}),
    "validity not stated": (removed("probabilities", "validity"), {"P11": "expected 'NaN', found none"}),
    "missing hash": (removed("probabilities", "model", "sha256"), {"P12": "64 hexadecimal digits"}),
    "missing window": (removed("probabilities", "decoding", "window_samples"), {"P13": "window_samples"}),
    "missing contract": (removed("probabilities", "contract"), {"P14": "a JSON object"}),
    "endless contract": (rewrite(desc__contract="[" * 200_000)("probabilities"), {"P14": "a JSON object"}),
    "missing temperature": (removed("probabilities", "calibration"), {"P15": "a number above 0"}),
    "regular rate": (rewrite(sfreq=25.0)("probabilities"), {"S3": "expected 0, found 25 Hz"}),
    "missing source_id": (rewrite(source_id="")("axes"), {"S1": "expected a source_id, found none"}),
    "another name": (
        rewrite(name="Other-cap-decisions")("decisions"),
        {"S2": "expected a name that ends in -Decisions, found 'Other-cap-decisions'"},
    ),
    "no sender": (removed("decisions", "manufacturer"), {"S4": "expected a name, found none"}),
    "no version": (removed("probabilities", "convention"), {"S5": "expected '1', found none"}),
    "unknown class": (value("decisions", 1, ["tongue"]), {"D4": "'tongue' in 1 of 2, the first at 1001.600 s"}),
    "decisions of another type": (rewrite(type="Decisions")("decisions"), {"D1": "found 'Decisions'"}),
    "classes not listed": (removed("decisions", "classes"), {"D3": "found none"}),
    "another policy": (rewrite(desc__control__policy="{}")("decisions"), {"D7": "as desc/control/sha256"}),
    "decided between rows": (stamp("decisions", 0, 0.01), {"X1": "another in 1 of 2, the first at 1000.810 s"}),
    "decided of an invalid row": (stamp("decisions", 0, -0.4), {"X2": "an invalid one in 1 of 2"}),
    "another model": (rewrite(desc__model__sha256="f" * 64)("decisions"), {"X5": "found 'ffff"}),
    "axis beyond 1": (value("axes", 7, [1.5]), {"A6": "the row 1.5 in 1 of 50"}),
    "axis of another unit": (rewrite(channels=[("x", "percent", "")])("axes"), {"A4": "found 'percent'"}),
    "range not stated": (removed("axes", "range"), {"A7": "-1 as desc/range/minimum"}),
    "axes at other times": (stamp("axes", 3, 0.01), {"X3": "another in 1 of 50"}),
    "empty marker": (value("markers", 0, [""]), {"M3": "1 to 200 printable characters"}),
}
# A planted violation that breaks other rules of necessity.
ALSO = {"missing labels": {"P14", "X4"}, "a label twice": {"P14", "X4"}, "missing window": {"P14"}}
ALSO |= {"a stamp twice": {"X3"}, "stamps run back": {"X3"}, "classes not listed": {"D4", "X4"}}
assert len(PLANTED) >= 12


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_violation_is_named(tmp_path, what):
    change, expected = PLANTED[what]
    code, _, broken = checked(write_streams(tmp_path / "planted.xdf", changed(change)))
    assert code == 1
    assert set(broken) - ALSO.get(what, set()) == set(expected)
    for number, words in expected.items():
        assert words in broken[number]


LIVE = ("wrong type", "missing labels", "wrong unit", "stamps run back", "not summing to one", "invalid as zeros")
LIVE += ("missing hash", "regular rate", "unknown class", "missing source_id", "axis beyond 1", "missing window")


@pytest.mark.parametrize("what", LIVE)
def test_a_planted_violation_of_a_live_outlet_is_named(what):
    change, expected = PLANTED[what]
    (number,) = expected
    kind = {"D": "decisions", "A": "axes"}.get(number[0], "axes" if number == "S1" else "probabilities")
    spec = changed(change)[kind]
    spec.name = spec.name.replace("Other-cap", unique("Other-cap"))
    with sent(spec):
        code, _, broken = checked(spec.name, "--seconds", 3)
    assert code == 1
    assert set(broken) - ALSO.get(what, set()) == set(expected)


@pytest.mark.parametrize("kind", ["probabilities", "decisions", "axes", "markers"])
def test_a_live_outlet_that_keeps_all_rules_is_accepted(kind):
    spec = good_streams()[kind]
    spec.name = spec.name.replace("Other-cap", unique("Other-cap"))
    with sent(spec):
        code, by, broken = checked(spec.name, "--seconds", 3)
    assert (code, broken, by["not checked"]) == (0, {}, [])


def test_two_outlets_of_one_name_are_refused(monkeypatch, capsys):
    spec = good_streams()["probabilities"]
    spec.name = unique("Other-cap")
    twin = replace(spec, source_id="other-cap-2")
    monkeypatch.setattr("sys.argv", ["mindwire", "check-outlet", spec.name])
    with sent(spec), sent(twin):
        assert run() == 1
    error = capsys.readouterr().err
    assert error.startswith(f"mindwire: Expected one outlet named '{spec.name}', found 2: ")
    assert error.endswith("; stop all but one.\n")


def test_an_outlet_that_sends_nothing_is_not_said_to_keep_the_rules_of_samples():
    spec = good_streams()["decisions"]
    spec.name = unique("Other-cap") + "-Decisions"
    spec.values, spec.times = [], []
    with sent(spec):
        code, by, broken = checked(spec.name, "--seconds", 0.5)
    assert (code, broken, by["not checked"]) == (0, {}, ["D4", "D5"])


def test_stamps_of_another_clock_are_named():
    spec = good_streams()["probabilities"]
    spec.name = unique("Other-cap")
    spec.times.append(spec.times[-1] + 1e5)  # the others are then a day old
    spec.values.append(spec.values[0])
    with sent(spec):
        _, _, broken = checked(spec.name, "--seconds", 3)
    assert broken["P8"].startswith("expected an age of -1 to 60 s, found 10000")


def test_a_line_per_rule_and_a_count(tmp_path):
    path = write_streams(tmp_path / "planted.xdf", changed(PLANTED["missing hash"][0]))
    found = CliRunner().invoke(app, ["check-outlet", str(path), "--stream", "type=Probabilities"])
    assert found.exit_code == 1
    first, *lines, last = found.stdout.splitlines()
    assert first == "Other-cap: probabilities, 2 channels, 50 samples"
    assert len(lines) == 20
    assert lines[0].split(maxsplit=2) == ["kept", "S1", "source_id is given"]
    assert "  broken       P12  desc/model has name and sha256, 64 hexadecimal digits: expected" in found.stdout
    assert last == "Rules: 18 kept, 1 broken, 1 not checked."


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (
            ["no-outlet-of-this-name", "--timeout", "1"],
            1,
            "Expected an outlet named 'no-outlet-of-this-name' within 1 s",
        ),
        (["absent.xdf"], 1, "cannot be read"),
        (["FILE", "--seconds", "1"], 2, "A recording is read as a whole, found --seconds; leave it out."),
        (["x", "--stream", "y"], 2, "--stream chooses a stream of a recording"),
        (["FILE", "--stream", "id=9"], 1, "expected 'id=9', found id=1 name='Other-cap'"),
        ([__file__], 1, "is no XDF recording"),
    ],
)
def test_what_cannot_be_checked_is_refused_in_a_sentence(tmp_path, words, code, says, monkeypatch, capsys):
    path = write_streams(tmp_path / "good.xdf", good_streams())
    monkeypatch.setattr("sys.argv", ["mindwire", "check-outlet", *(str(path) if w == "FILE" else w for w in words)])
    assert run() == code
    assert says in capsys.readouterr().err


def test_a_recording_without_such_streams_is_refused(tmp_path, monkeypatch, capsys):
    path = eeg_file(tmp_path / "eeg.xdf", np.zeros((100, 2), np.float32), 100.0, ["C3", "C4"])
    monkeypatch.setattr("sys.argv", ["mindwire", "check-outlet", str(path)])
    assert run() == 1
    assert "expected probabilities, decisions, axes or markers of the convention, found" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["mindwire", "check-outlet", str(path), "--stream", "type=EEG"])
    assert run() == 1
    assert "is of type EEG, which the convention does not describe" in capsys.readouterr().err


def test_an_outlet_of_eeg_is_refused_with_those_that_can_be_checked(monkeypatch, capsys):
    with Cap(unique("cap")) as cap:
        monkeypatch.setattr("sys.argv", ["mindwire", "check-outlet", cap.spec.name])
        assert run() == 1
    assert capsys.readouterr().err == (
        f"mindwire: '{cap.spec.name}' is of type EEG, which the convention does not describe; it describes probabilities "
        "(Mindwire-STREAM, type Probabilities), decisions (…-Decisions), axes (…-Axes) and markers (…-Markers).\n"
    )
