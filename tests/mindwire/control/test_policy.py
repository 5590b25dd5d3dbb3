"""Policies are read strictly and refused in one sentence."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mindwire.control.policy import ControlPolicy, choose_policy, load_policy, parse_policy
from mindwire.control.stages import Axis, Decide, HiddenMarkov, Leaky
from mindwire.errors import PolicyError

CLASSES = ("left", "right", "rest")


def test_a_policy_reads_back_equal_and_keeps_its_hash(tmp_path: Path) -> None:
    policy = ControlPolicy(
        evidence=HiddenMarkov(prior={"left": 0.25, "right": 0.25, "rest": 0.5}),
        decide=Decide(commit={"left": 0.9, "right": 0.8}, release=0.5),
        idle="rest",
        axes=(Axis(name="x", positive="right", negative="left"),),
    )
    policy.check(CLASSES)
    path = tmp_path / "control.json"
    path.write_text(policy.to_json())
    assert load_policy(path) == policy
    assert load_policy(path).hash == policy.hash


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "version"),
        ({"evidence": {"kind": "magic"}}, "evidence"),
        ({"evidence": {"kind": "leaky", "time_constant_s": 0}}, "time_constant_s"),
        ({"evidence": {"kind": "leaky", "time_constant_s": -1}}, "time_constant_s"),
        ({"evidence": {"kind": "leaky", "contrast": 1.1}}, "contrast"),
        ({"evidence": {"kind": "leaky", "contrast": -0.1}}, "contrast"),
        ({"evidence": {"kind": "leaky", "prior": {"left": 1e-320, "right": 1.0}}}, "prior"),
        ({"decide": {"commit": 1.1}}, "commit"),
        ({"decide": {"dwell_s": -0.1}}, "dwell_s"),
        ({"decide": {"speed": 1}}, "speed"),
        ({"axes": [{"name": "x", "positive": "left", "negative": "left"}]}, "two different classes"),
        ({"axes": [{"name": "x", "positive": "left"}, {"name": "x", "positive": "right"}]}, "different name"),
        ({"stages": []}, "stages"),
        ({"version": "1"}, "version"),
        ({"evidence": {"kind": "leaky", "prior": {"left": 0.5, "right": 0}}}, "prior"),
        ({"evidence": {"kind": "hidden_markov", "idle_s": 0}}, "idle_s"),
        ({"evidence": {"kind": "dynamic_integrator", "omega": 0.5}}, "omega"),
        ({"evidence": {"kind": "leaky", "tau": 1}}, "tau"),
        ({"evidence": {}}, "evidence"),
        ({"decide": {"commit": 0}}, "commit"),
        ({"decide": {"commit": "0.8"}}, "commit"),
        ({"decide": {"release": True}}, "release"),
        ({"decide": {"commit": {}}}, "commit"),
        ({"decide": {"commit": {"left": -1}}}, r"decide\.commit\.per class\.left: input should be greater than 0"),
        (
            {"evidence": {"kind": "leaky", "prior": {"left": 2, "right": 0.5}}},
            r"prior\.per class\.left: .* or equal to 1",
        ),
        ({"decide": {"refractory_s": 3601}}, "refractory_s"),
        ({"decide": {"max_entropy": 1.5}}, "max_entropy"),
        ({"decide": {"reset": 1}}, "reset"),
        ({"axes": [{"name": "x", "positive": "left", "dead_zone": 1}]}, "dead_zone"),
        ({"axes": [{"name": "", "positive": "left"}]}, "name"),
        ({"axes": [{"name": f"x{n}", "positive": "left"} for n in range(17)]}, "16"),
        ({"tuning": {"budget_per_minute": 0, "proven_per_minute": 1, "rest_minutes": 1, "trials": 1}}, "budget"),
        ({"tuning": {"budget_per_minute": 1, "proven_per_minute": 1, "rest_minutes": 0, "trials": 1}}, "rest_minutes"),
        ({"tuning": {"budget_per_minute": 1}}, "proven_per_minute"),
        ({"k\n\x1b[31m": 1}, r"k\\n\\x1b"),
        ({"k" * 60_000: 1}, "kkk: extra inputs"),
        ({"evidence": {"kind": "magic\n\x1b[31m" * 5_000}}, r"evidence: input tag 'magic\\n"),
    ],
)
def test_what_is_no_policy_is_refused(change: dict, says: str) -> None:
    with pytest.raises(PolicyError, match=says) as error:
        parse_policy(json.dumps({"version": 1} | change))
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"decide": {"commit": NaN}}', '{"decide": {"dwell_s": 1e999}}', "[" * 9999]
)
def test_text_that_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(PolicyError):
        parse_policy(text)


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (ControlPolicy(idle="sleep"), "no class sleep"),
        (ControlPolicy(decide=Decide(commit={"left": 0.8})), "missing right, rest"),
        (ControlPolicy(decide=Decide(commit=0.5, release=0.6)), "at most 0.5"),
        (ControlPolicy(evidence=Leaky(prior={"left": 0.5, "right": 0.5})), "missing rest"),
        (ControlPolicy(evidence=Leaky(prior={"left": 0.5, "right": 0.5, "rest": 0.5})), "sum to 1"),
        (ControlPolicy(axes=(Axis(name="x", positive="feet"),)), "no class feet"),
        (ControlPolicy.model_validate({"evidence": {"kind": "dynamic_integrator"}}), "two classes"),
    ],
)
def test_a_policy_that_does_not_fit_the_model_is_refused(policy: ControlPolicy, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        policy.check(CLASSES)


def test_the_policy_of_a_bundle_is_its_own_unless_told_otherwise(tmp_path: Path) -> None:
    policy = ControlPolicy(idle="rest")
    bundle: Any = SimpleNamespace(policy=None, path=tmp_path, contract=SimpleNamespace(classes=CLASSES))
    assert choose_policy(bundle) is None
    bundle.policy = policy.to_json().encode()
    assert choose_policy(bundle) == policy
    assert choose_policy(bundle, "none") is None
    path = tmp_path / "other.json"
    path.write_text(ControlPolicy(idle="feet").to_json())
    with pytest.raises(PolicyError, match="no class feet"):
        choose_policy(bundle, str(path))
    bundle.policy = b"[]"
    with pytest.raises(PolicyError, match="its control policy"):
        choose_policy(bundle)


@pytest.mark.parametrize(
    "text",
    ['{"version": 1, "version": 1}', '{"decide": {"commit": 0.7, "commit": 0.9}}', b'{"idle": null, "idle": "rest"}'],
)
def test_a_field_that_comes_twice_is_refused(text: str | bytes) -> None:
    with pytest.raises(PolicyError, match=r"each field once, found (version|commit|idle) twice"):
        parse_policy(text)


def test_a_file_that_is_too_large_or_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "control.json"
    with pytest.raises(PolicyError) as missing:
        load_policy(path)
    path.write_text('{"version": 1}' + " " * 2**20)
    with pytest.raises(PolicyError) as large:
        load_policy(path)
    for error in (missing, large):
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
