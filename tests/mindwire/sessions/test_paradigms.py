"""Paradigms: strict documents, hostile ones refused in one sentence, balanced order as a pure function of the seed."""

from __future__ import annotations

import json
import math
from collections import Counter
from itertools import groupby
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mindwire.errors import ConflictError, ParadigmError
from mindwire.session_names import PARADIGMS
from mindwire.sessions.paradigm import check_paradigm, duration_s, parse_paradigm
from mindwire.sessions.paradigm_store import built_in_names, find_paradigm, keep_paradigm, list_paradigms
from mindwire.sessions.trial_plan import LONGEST_RUN, balanced_order, plan_trials
from mindwire.sources.vocabulary import VOCABULARY

CUED = {"name": "mine", "title": "Mine", "kind": "cued", "classes": ["left_hand", "right_hand"]}
CONTROL = {"name": "mine", "title": "Mine", "kind": "control", "classes": ["left_hand", "right_hand"]}
REST = {"name": "mine", "title": "Mine", "kind": "rest"}
EYES = {"name": "mine", "title": "Mine", "kind": "eyes"}


def longest_run(order):
    return max((len(list(run)) for _, run in groupby(order)), default=0)


@given(st.integers(2, 6), st.integers(1, 60), st.integers(0, 2**53 - 1))
@settings(deadline=None)
def test_every_class_comes_equally_often_and_at_most_three_times_in_a_row(n_classes, each, seed):
    classes = [f"class{n}" for n in range(n_classes)]
    order = balanced_order(classes, each, Random(seed))
    assert Counter(order) == dict.fromkeys(classes, each)
    assert longest_run(order) <= LONGEST_RUN
    assert order == balanced_order(classes, each, Random(seed))


def test_the_order_is_random():
    orders = {tuple(balanced_order(("a", "b", "c"), 10, Random(seed))) for seed in range(100)}
    assert len(orders) == 100
    first = Counter(order[0] for order in orders)
    assert min(first.values()) > 15
    with_runs = [order for order in orders if longest_run(order) == LONGEST_RUN]
    assert 10 < len(with_runs) < 95  # neither forbidden nor the rule


@given(st.integers(0, 50), st.integers(1, 30), st.integers(0, 2**32))
@settings(deadline=None)
def test_practice_comes_first_and_does_not_count(practice, each, seed):
    paradigm = check_paradigm(CUED | {"practice": practice, "trials_per_class": each, "pause_s": [1, 2.5]})
    plan = plan_trials(paradigm, seed)
    labels = [trial.label for trial in plan]
    assert [trial.index for trial in plan] == list(range(practice + 2 * each))
    assert all(label.startswith("practice_") for label in labels[:practice])
    assert Counter(labels[practice:]) == {"left_hand": each, "right_hand": each}
    assert all(1 <= trial.pause_s <= 2.5 for trial in plan)
    assert plan == plan_trials(paradigm, seed)


@pytest.mark.parametrize("targets", [1, 7, 10, 24])
def test_targets_are_balanced_and_can_be_reached(targets):
    paradigm = check_paradigm(
        CONTROL | {"classes": ["left_hand", "right_hand", "feet", "tongue"], "targets": targets, "distance": 4}
    )
    plan = plan_trials(paradigm, 5)
    points = [tuple(map(int, trial.label.split()[1:])) for trial in plan]
    assert {abs(x) + abs(y) for x, y in points} == {4}
    assert max(abs(c) for point in points for c in point) <= 3
    counts = Counter(dict.fromkeys(paradigm.points(), 0)) + Counter(points)
    assert max(counts.values()) - min(counts[p] for p in paradigm.points()) <= 1


def test_classes_without_a_direction_get_those_that_are_free():
    assert check_paradigm(CONTROL).moves == {"left_hand": (-1, 0), "right_hand": (1, 0)}
    paradigm = check_paradigm(CONTROL | {"classes": ["fist", "right_hand", "song"]})
    assert paradigm.moves == {"fist": (-1, 0), "right_hand": (1, 0), "song": (0, -1)}
    paradigm = check_paradigm(
        CONTROL | {"classes": ["left_hand", "song"], "moves": {"song": [-1, 0], "left_hand": [0, 1]}}
    )
    assert paradigm.points() == [(-3, 0), (-2, 1), (-1, 2), (0, 3)]
    assert check_paradigm(paradigm.model_dump(mode="json")) == paradigm


def test_the_built_in_paradigms_are_valid_and_read_back():
    listed = list_paradigms(None)
    assert [one.name for one in listed] == built_in_names()
    assert all(one.built_in and one.error is None for one in listed)
    for one in listed:
        paradigm = find_paradigm(None, one.name)
        assert check_paradigm(json.loads(json.dumps(one.document))) == paradigm
        assert plan_trials(paradigm, 1)
        assert 0 < duration_s(paradigm) < 600


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "expected an object with the fields of a paradigm, found list"),
        (None, "found NoneType"),
        ({}, "kind: expected 'cued', 'rest', 'eyes', 'control'"),
        (CUED | {"kind": "flicker"}, "kind: expected 'cued', 'rest', 'eyes', 'control'"),
        (CUED | {"kind": ["cued"]}, "kind: expected"),
        (CUED | {"format": "other"}, "format: "),
        (CUED | {"version": 2}, "version: "),
        (CUED | {"name": "../etc"}, "name: expected a name of 1 to 64 small letters"),
        (CUED | {"title": ""}, "title: "),
        (CUED | {"title": "a\x00b"}, "title: expected text without control characters"),
        (CUED | {"title": 3}, "title: "),
        (CUED | {"instruction": "x" * 2001}, "instruction: "),
        (CUED | {"classes": ["left_hand"]}, "classes: "),
        (CUED | {"classes": [f"c{n}" for n in range(13)]}, "classes: "),
        (CUED | {"classes": "left_hand"}, "classes: "),
        (CUED | {"classes": ["left", "LEFT"]}, "classes: expected each class once"),
        (CUED | {"classes": ["left", "right hand"]}, "classes.1: expected a class of 1 to 64 letters"),
        (CUED | {"classes": ["left", "2"]}, "classes.1: expected a class"),
        (CUED | {"classes": ["left", "practice_left"]}, "is the name of another marker"),
        (CUED | {"classes": ["left", "a" * 65]}, "classes.1: expected a class"),
        (CUED | {"classes": ["left", "\ud800"]}, "classes.1: "),
        (CUED | {"classes": ["left", "a\nb"]}, "classes.1: expected a class"),
        (CUED | {"classes": ["left", 3]}, "classes.1: "),
        (CUED | {"trials_per_class": 10**9}, "trials_per_class: "),
        (CUED | {"trials_per_class": 10**400}, "trials_per_class: "),
        (CUED | {"trials_per_class": -1}, "trials_per_class: "),
        (CUED | {"trials_per_class": 10.0}, "trials_per_class: "),
        (CUED | {"trials_per_class": True}, "trials_per_class: "),
        (CUED | {"trials_per_class": "10"}, "trials_per_class: "),
        (CUED | {"classes": [f"c{n}" for n in range(12)], "trials_per_class": 200}, "expected at most 1000 trials"),
        (CUED | {"imagery_s": math.nan}, "imagery_s: "),
        (CUED | {"imagery_s": math.inf}, "imagery_s: "),
        (CUED | {"imagery_s": 10**400}, "imagery_s: "),
        (CUED | {"cue_s": 0.1}, "cue_s: "),
        (CUED | {"cue_s": 5, "imagery_s": 4}, "cue_s: expected at most imagery_s"),
        (CUED | {"fixation_s": None}, "fixation_s: "),
        (CUED | {"pause_s": [3, 1]}, "pause_s: expected the shortest pause first"),
        (CUED | {"pause_s": [1, 2, 3]}, "pause_s"),
        (CUED | {"pause_s": 2}, "pause_s"),
        (CUED | {"pause_s": [0.0, 0.0]}, "pause_s"),
        (CUED | {"seed": 2**53}, "seed: "),
        (CUED | {"seed": 1.5}, "seed: "),
        (CUED | {"sound": "yes"}, "sound: "),
        (CUED | {"feedback": "electric"}, "feedback: "),
        (CUED | {"flicker_hz": 12}, "there is no field 'flicker_hz'"),
        (CUED | {"trials_per_class": 200, "imagery_s": 60}, "expected at most 3 hours"),
        (REST | {"duration_s": 1e9}, "duration_s: "),
        (REST | {"duration_s": "120"}, "duration_s: "),
        (EYES | {"blocks": []}, "blocks: "),
        (EYES | {"blocks": [{"eyes": "half"}]}, "blocks.0.eyes: "),
        (EYES | {"blocks": [{"eyes": "open", "duration_s": 0.01}] * 3}, "blocks.0.duration_s: "),
        (EYES | {"blocks": [{"eyes": "open"}] * 41}, "blocks: "),
        (CONTROL | {"distance": 5}, "distance: no target 5 steps away can be reached"),
        (CONTROL | {"targets": 10**9}, "targets: "),
        (CONTROL | {"classes": ["a", "b", "c", "d", "e"]}, "classes: "),
        (CONTROL | {"moves": {"left_hand": [1, 1]}}, "moves: expected one of"),
        (CONTROL | {"moves": {"left_hand": [1, 0]}}, "moves: expected one of"),
        (CONTROL | {"moves": {"other": [1, 0]}}, "moves: expected one of"),
        (CONTROL | {"moves": {"left_hand": [[1], 0]}}, "moves"),
        (CONTROL | {"moves": {"left_hand": [9**99, 0]}}, "moves"),
        (CONTROL | {"moves": 3}, "moves"),
        (CONTROL | {"classes": [["a"]]}, "classes.0: "),
    ],
)  # fmt: skip
def test_hostile_documents_are_refused_in_one_sentence(document, says):
    with pytest.raises(ParadigmError) as refused:
        check_paradigm(document)
    sentence = str(refused.value)
    assert says in sentence
    assert sentence.startswith("The paradigm is not valid: ")
    assert sentence.endswith(".")
    assert len(sentence) < 500
    assert sentence.isprintable()


@pytest.mark.parametrize("word", sorted(VOCABULARY))
def test_no_class_has_the_name_of_another_marker(word):
    with pytest.raises(ParadigmError, match="is the name of another marker"):
        check_paradigm(CUED | {"classes": ["left_hand", word]})


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
FIELDS = sorted({*CUED, "trials_per_class", "practice", "fixation_s", "cue_s", "imagery_s", "pause_s", "sound", "feedback",
                 "seed", "duration_s", "instruction", "blocks", "targets", "distance", "limit_s", "rest_s", "moves"})  # fmt: skip


@given(st.sampled_from([CUED, CONTROL, REST, EYES]), st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES, max_size=3))
@settings(deadline=None)
def test_whatever_a_field_holds_it_is_refused_or_planned_in_bounds(base, fields):
    try:
        paradigm = check_paradigm(base | fields)
    except ParadigmError:
        return
    assert len(plan_trials(paradigm, 1)) <= 1000
    assert duration_s(paradigm) <= 3 * 3600
    assert check_paradigm(json.loads(paradigm.model_dump_json())) == paradigm


@given(
    st.fixed_dictionaries({}, optional={name: st.floats(0.01, 100) for name in ("fixation_s", "cue_s", "imagery_s")})
)
@settings(deadline=None)
def test_nothing_can_flash_faster_than_twice_a_second(durations):
    try:
        paradigm = check_paradigm(CUED | durations | {"pause_s": [0.5, 0.5]})
    except ParadigmError:
        return
    assert min(paradigm.fixation_s, paradigm.cue_s, paradigm.imagery_s, *paradigm.pause_s) >= 0.5


@pytest.mark.parametrize(
    ("text", "kind"), [(b"{", "json"), (b"\xff", "json"), (b"[" * 10**5, "json"), (b"a = ", "toml"), (b"1" * 9000, "json")]
)  # fmt: skip
def test_files_that_cannot_be_read_are_refused_in_one_sentence(text, kind):
    with pytest.raises(ParadigmError, match=r"^p\.x is not valid: expected .*\.$"):
        parse_paradigm(text, kind, "p.x")


def test_own_paradigms_are_kept_beside_the_sessions(tmp_path):
    mine = check_paradigm(CUED | {"seed": 3})
    assert keep_paradigm(tmp_path, mine)
    assert not keep_paradigm(tmp_path, mine)
    assert find_paradigm(tmp_path, "mine") == mine
    folder = tmp_path / PARADIGMS
    (folder / "by-hand.toml").write_text('name = "by-hand"\ntitle = "T"\nkind = "rest"\n')
    (folder / "wrong.toml").write_text('name = "wrong"\ntitle = "T"\nkind = "rest"\nduration_s = nan\n')
    (folder / "other.json").write_text((folder / "mine.json").read_text())
    (folder / "rest.toml").write_text('name = "rest"\ntitle = "T"\nkind = "rest"\n')
    listed = {one.name: one.error for one in list_paradigms(tmp_path) if not one.built_in}
    assert listed["by-hand"] is listed["mine"] is None
    assert "duration_s" in listed["wrong"]
    assert "expected the paradigm 'other' as the file's name says, found 'mine'" in listed["other"]
    assert "there is another paradigm 'rest'" in listed["rest"]
    assert find_paradigm(tmp_path, "rest").duration_s == 190
    with pytest.raises(ParadigmError, match="There is no paradigm 'none'; there are: motor-imagery"):
        find_paradigm(tmp_path, "none")
    with pytest.raises(ParadigmError, match="duration_s"):
        find_paradigm(tmp_path, "wrong")
    for name in ("rest", "by-hand"):
        with pytest.raises(ConflictError):
            keep_paradigm(tmp_path, mine.model_copy(update={"name": name}))
