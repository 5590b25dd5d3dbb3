"""``mindwire serve --control`` as a process with real outlets, alone and behind the gateway."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from contextlib import ExitStack

import pytest

from mindwire.control.controller import ControlCommand, Controller
from mindwire.control.policy import ControlPolicy
from mindwire.control.stages import Axis, Decide, Leaky
from mindwire.sinks.messages import Encoding
from mindwire_models.bundle import load_bundle, write_policy
from tests.support.bundles import random_bundle
from tests.support.command_line import refused
from tests.support.gateway_clients import Listener, workers_of
from tests.support.lsl_cap import Cap
from tests.support.protocol import connect
from tests.support.service_process import get, ready, service
from tests.support.streaming import contract, eventually, unique

pytest.importorskip("torch")

CONTRACT = contract(window_samples=200)
POLICY = ControlPolicy(
    evidence=Leaky(time_constant_s=1.0),
    decide=Decide(commit=0.5, release=0.5, dwell_s=0.2, refractory_s=0.5),
    axes=(Axis(name="x", positive="right_hand", negative="left_hand"),),
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return random_bundle(tmp_path_factory.mktemp("controlled") / "bundle", CONTRACT)


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "steer.json"
    path.write_text(POLICY.to_json())
    return path


def ask(address: str, path: str, method: str, body: object = None) -> tuple[int, dict]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(
                f"http://{address}{path}", data, {"Content-Type": "application/json"}, method=method
            ),
            timeout=10,
        ) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def decided_again(messages: list[dict]) -> list[tuple]:
    """Decisions and axes that the client's own controller makes of the predictions and changes that it was sent."""
    hello = messages[0]
    controller = Controller(
        ControlPolicy.model_validate(hello["control"]["policy"], strict=False), hello["classes"], 2.0, 0.1
    )
    for message in messages:
        if message.get("kind") == "control":
            data = message["data"]
            changed = data["policy"] and ControlPolicy.model_validate(data["policy"], strict=False)
            controller.command(ControlCommand(data["seq"], changed, data["paused"]))
    found = []
    for message in messages:
        if message["type"] == "prediction":
            seq, time = message["seq"], message["time"]
            output = controller.update(seq, time, message["probabilities"] if message["valid"] else None)
            assert (list(output.evidence), output.state) == (message["evidence"], message["control"])
            if output.decision:
                found.append(("decision", seq, time, output.decision.label, output.decision.confidence))
            found += [("axes", seq, time, *output.axes)]
    return found


def as_sent(messages: list[dict]) -> list[tuple]:
    keys = {"decision": ("class", "confidence"), "axes": ("values",)}
    return [
        (m["type"], m["seq"], m["time"], *(m[key] if key != "values" else m[key]["x"] for key in keys[m["type"]]))
        for m in messages
        if m["type"] in keys
    ]


def test_a_client_is_sent_the_decisions_of_its_predictions_also_after_changes(bundle, policy):
    name = unique("cap")
    with (
        service("--model", bundle, "--stream", f"name={name}", "--control", policy, "--max-backlog", 60) as running,
        connect(f"ws://{running.address()}/ws") as client,
        Cap(name, source_id=name, wait_for_consumer=True),
    ):
        address = "{}:{}".format(*client.remote_address)
        messages, changes = [json.loads(client.recv(10))], []
        path = f"/v1/streams/{name}/control"
        assert get(address, path) == messages[0]["control"]
        steps = {
            40: ("PUT", "", {"decide": {"dwell_s": 0.4}}),
            60: ("POST", "/pause", None),
            75: ("POST", "/resume", None),
            90: ("PUT", "", {"version": 1, "axes": [POLICY.axes[0].model_dump()]}),
        }
        while len(messages) < 2 or messages[-1].get("seq", 0) < 130:
            messages.append(json.loads(client.recv(30)))
            if messages[-1]["type"] == "prediction" and messages[-1]["seq"] in steps:
                method, rest, body = steps[messages[-1]["seq"]]
                changes.append(ask(address, path + rest, method, body))
        status = get(address, f"/v1/streams/{name}")["control"]
    while messages[-1]["type"] != "axes":
        messages.pop()
    assert [code for code, _ in changes] == [200] * 4
    assert changes[0][1]["policy"]["decide"] == {**POLICY.decide.model_dump(), "dwell_s": 0.4}
    assert [answer["paused"] for _, answer in changes] == [False, True, False, False]
    sent = as_sent(messages)
    assert decided_again(messages) == sent
    decisions = [one for one in sent if one[0] == "decision"]
    assert len(decisions) > 2
    told = [message["data"]["seq"] for message in messages if message.get("kind") == "control"]
    assert all(0 < seq - at < 20 for seq, at in zip(told, steps, strict=True))
    by_seq = {m["seq"]: m["control"] for m in messages if m["type"] == "prediction"}
    assert by_seq[told[1]] == "paused" != by_seq[told[1] - 1]
    assert by_seq[told[2] - 1] == "paused" != by_seq[told[2]]
    assert sum(status["decisions"].values()) >= len(decisions)
    assert status["hash"] == changes[-1][1]["hash"]


def test_a_killed_worker_keeps_policy_and_pause_and_the_gateway_forwards(bundle, policy):
    names = [unique("a"), unique("b")]
    streams = [word for name in names for word in ("--stream", f"id={name},name={name}")]
    with ExitStack() as stack:
        running = stack.enter_context(service("--model", bundle, "--control", policy, "--workers", 2, *streams))
        address = running.address()
        listener = Listener(address, names[0], Encoding.JSON)
        stack.callback(listener.end)
        for name in names:
            stack.enter_context(Cap(name, source_id=name, wait_for_consumer=True))
        eventually(lambda: ready(address), 60)
        path = f"/v1/streams/{names[0]}/control"
        before = get(address, path)
        code, answer = ask(address, path, "PUT", {"decide": {"commit": 0.4}})
        assert code == 422
        assert answer == {
            "detail": "The control policy does not fit the model: decide.release: expected at most 0.4, the commit threshold of "
            "left_hand, found 0.5."
        }
        assert ask(address, path, "PUT", {"idle": "tongue"})[0] == 422
        assert get(address, path) == before
        assert ask(address, path, "PUT", {"decide": {"commit": 0.9}})[0] == 200
        code, paused = ask(address, f"{path}/pause", "POST")
        assert (code, paused["paused"], paused["policy"]["decide"]["commit"]) == (200, True, 0.9)
        workers_of(running)[0].kill()
        eventually(lambda: get(address, f"/v1/streams/{names[0]}")["counters"]["restarts"] == 1, 60)
        eventually(lambda: ready(address), 60)
        assert get(address, path) == paused
        assert get(address, f"/v1/streams/{names[0]}")["control"]["state"] == "paused"
        assert get(address, f"/v1/streams/{names[1]}/control") == before
        eventually(lambda: [p["seq"] for p in listener.predictions()].count(0) == 2, 30)
        seqs = [p["seq"] for p in listener.predictions()]
        again = listener.predictions()[seqs.index(0, 1) :]
        assert {p["control"] for p in again} == {"paused"}
        code, resumed = ask(address, f"{path}/resume", "POST")
        assert (code, resumed) == (200, {**paused, "paused": False})


def test_the_bundles_own_policy_is_the_default_and_another_or_none_may_be_named(tmp_path, policy):
    folder = random_bundle(tmp_path / "bundle", CONTRACT)
    own = POLICY.model_copy(update={"axes": ()})
    write_policy(load_bundle(folder), own.to_json())
    names = {"own": [], "other": [f"control={policy}"], "none": ["control=none"]}
    streams = [
        word for id_, more in names.items() for word in ("--stream", ",".join([f"id={id_},name={unique(id_)}", *more]))
    ]
    with service("--model", folder, *streams) as running:
        address = running.address()
        hashes = {name: get(address, f"/v1/streams/{name}/control")["hash"] for name in names}
    assert hashes == {"own": own.hash, "other": POLICY.hash, "none": None}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "steer.json: "),
        ("{", "steer.json is not valid: "),
        ('{"version": 2}', "version: input should be 1"),
        ('{"decide": {"kind": "magic"}}', "steer.json is not valid: decide.kind"),
        ('{"idle": "tongue"}', "idle: the model has no class tongue, it has left_hand, right_hand"),
        ('{"decide": {"commit": 0.5, "release": 0.6}}', "decide.release: expected at most 0.5"),
        ('{"decide": {"commit": NaN}}', "finite"),
    ],
)
def test_a_policy_that_is_wrong_or_does_not_fit_is_refused_at_the_start(bundle, tmp_path, capsys, text, sentence):
    path = tmp_path / "steer.json"
    if text is not None:
        path.write_text(text)
    arguments = ("--model", bundle, "--stream", "name=X", "--control", path)
    code, said = refused(capsys, "serve", "--port", 0, *arguments)
    assert code == 1
    assert sentence in said
