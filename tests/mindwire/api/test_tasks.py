"""Tasks, paradigms and sessions over real HTTP: what is answered, who may, and what hostile requests get."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from types import SimpleNamespace

import httpx
import pytest

from mindwire.errors import MissingExtraError, RecordingError
from mindwire.session_names import NO_SESSIONS
from mindwire.sessions.document import SessionDocument, write_session
from mindwire.sessions.task import task_path
from tests.support.standin import served
from tests.support.task_stream import TaskStream, today

JSON = {"Content-Type": "application/json"}
SHORT = {"name": "short", "title": "Short", "kind": "cued", "classes": ["left", "right"], "trials_per_class": 1}
TASK = "/v1/streams/eeg/task"
CHANGES = [
    ("POST", TASK), ("POST", f"{TASK}/pause"), ("POST", f"{TASK}/resume"), ("POST", f"{TASK}/abort"), ("POST", f"{TASK}/finish"),
    ("POST", f"{TASK}/trial"), ("POST", f"{TASK}/seen"), ("PUT", "/v1/paradigms/short"), ("POST", "/v1/paradigms/check"),
]  # fmt: skip
READS = [TASK, "/v1/paradigms", "/v1/sessions", "/v1/sessions/P01"]


@pytest.fixture
def stream():
    return TaskStream()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "sessions"


@pytest.fixture
def http(stream, root):
    registry = SimpleNamespace(settings=SimpleNamespace(sessions=root))
    with served(stream, registry=registry) as address, httpx.Client(base_url=f"http://{address}") as client:
        yield client


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A client of a stream with a task that is ready, which nothing changes."""
    registry = SimpleNamespace(settings=SimpleNamespace(sessions=tmp_path_factory.mktemp("sessions")))
    with served(TaskStream(), registry=registry) as address, httpx.Client(base_url=f"http://{address}") as client:
        assert begin(client).status_code == 201
        yield client


def begin(http, **more):
    return http.post(TASK, json={"participant": "P01", "paradigm": SHORT, "seed": 1, **more})


def test_a_task_over_rest(http, stream, root):
    assert http.get(TASK).json() == {"state": "none"}
    assert http.post(f"{TASK}/seen", headers=JSON).json() == {"state": "none"}
    answer = begin(http)
    assert answer.status_code == 201
    task = answer.json()
    assert (task["state"], task["next"], len(task["plan"])) == ("ready", 0, 2)
    assert http.post(f"{TASK}/resume", headers=JSON).json()["state"] == "running"
    assert http.post(f"{TASK}/pause", headers=JSON).json()["state"] == "paused"
    seen = http.post(f"{TASK}/seen", headers=JSON).json()
    assert seen["state"] == "paused"
    assert "plan" not in seen
    http.post(f"{TASK}/resume", headers=JSON)
    trial = {"index": 0, "outcome": "aborted"}
    assert len(http.post(f"{TASK}/trial", json=trial).json()["plan"]) == 3
    for index in (1, 2):
        result = {"class": "left", "correct": True, "probabilities": {"left": 0.75}}
        trial = {"index": index, "outcome": "done", "onset": 1e9, "result": result}
        task = http.post(f"{TASK}/trial", json=trial).json()
        assert task["trials"][-1]["result"] == result
    assert task["next"] is None
    assert http.post(f"{TASK}/finish", headers=JSON).json()["state"] == "done"
    assert http.get(TASK).json()["state"] == "done"
    again = begin(http, paradigm="eyes", seed=None)
    assert again.json()["number"] == 2
    assert [trial["label"] for trial in again.json()["plan"]] == ["eyes_open", "eyes_closed"]
    assert http.post(f"{TASK}/abort", headers=JSON).json()["state"] == "aborted"
    write_session(root / "P01" / today(), SessionDocument("P01", today()))
    assert http.get("/v1/sessions").json() == [{"participant": "P01", "dates": [today()]}]
    (session,) = http.get("/v1/sessions/P01").json()["sessions"]
    assert [task["state"] for task in session["tasks"]] == ["done", "aborted"]
    assert (session["runs"], session["problems"]) == ([], [])


def test_refusals(http, stream):
    assert http.post(f"{TASK}/resume", headers=JSON).json() == {"detail": "Stream 'eeg' has no task; begin one first."}
    assert begin(http, paradigm="nope").status_code == 422
    assert "There is no paradigm 'nope'; there are: motor-imagery" in begin(http, paradigm="nope").json()["detail"]
    stream.refuses = MissingExtraError("Recording takes LabRecorder, which is not installed here.")
    assert begin(http).status_code == 503
    stream.refuses = RecordingError("Another process has it.")
    answer = begin(http)
    assert (answer.status_code, answer.json()) == (409, {"detail": "Another process has it."})
    assert http.get("/v1/streams/nope/task").status_code == 404


@pytest.mark.parametrize("method_and_path", CHANGES)
def test_a_change_takes_the_control_token_and_reading_the_read_token(stream, root, method_and_path):
    registry = SimpleNamespace(settings=SimpleNamespace(sessions=root))
    read, control = ({"Authorization": f"Bearer {token}"} for token in ("reads only", "controls it"))
    method, path = method_and_path
    with (
        served(stream, registry=registry, token="controls it", read_token="reads only") as address,
        httpx.Client(base_url=f"http://{address}") as client,
    ):
        assert client.request(method, path, headers=JSON).status_code == 401
        assert client.request(method, path, headers=JSON | read).status_code == 403
        assert client.request(method, path, headers=JSON | control).status_code not in (401, 403, 500)
        for reading in READS[:3]:
            assert client.get(reading).status_code == 401
            assert client.get(reading, headers=read).status_code == 200


def test_without_a_folder_for_sessions_there_are_the_built_in_paradigms_alone(stream):
    registry = SimpleNamespace(settings=SimpleNamespace(sessions=None))
    with served(stream, registry=registry) as address, httpx.Client(base_url=f"http://{address}") as client:
        assert [one["name"] for one in client.get("/v1/paradigms").json()][:2] == ["motor-imagery", "rest"]
        assert client.post("/v1/paradigms/check", json=SHORT).json()["trials"] == 2
        assert client.post("/v1/paradigms/check", json={}).status_code == 422
        refused = [
            client.get(path) for path in (TASK, "/v1/sessions", "/v1/sessions/P01", "/v1/participants/P01/progress")
        ]
        refused += [client.request(method, path, json=SHORT) for method, path in CHANGES if "check" not in path]
        refused += [begin(client), client.post("/v1/training", json={})]
        for answer in refused:
            assert (answer.status_code, answer.json()) == (409, {"detail": NO_SESSIONS})
        assert client.get("/v1/streams/nope/task").json()["detail"] == "There is no stream 'nope'; there are: eeg."
        assert client.get("/v1/training").json() == []
        assert client.get("/v1/training/P01-1").json()["detail"] == "There is no job 'P01-1'."


def test_a_start_without_a_folder_for_sessions_imports_nothing_of_them():
    code = (
        "import sys\nfrom types import SimpleNamespace\nimport mindwire.serve.service, mindwire.serve.registry, mindwire.serve.streams\n"
        "from mindwire.api.app import create_app\nfrom mindwire.api.guard import Access\n"
        "create_app({}, Access(), registry=SimpleNamespace(settings=SimpleNamespace(sessions=None)))\n"
        "print(*(name for name in sys.modules if name.startswith(('mindwire.sessions', 'mindwire.training'))))"
    )
    found = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_a_paradigm_is_written_while_the_server_answers_others(http, monkeypatch):
    def write(*_):
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()

    monkeypatch.setattr("mindwire.sessions.paradigm_store.replace_file", write)
    assert http.put("/v1/paradigms/short", json=SHORT).status_code == 201


def test_paradigms_are_checked_kept_and_listed(http, root):
    checked = http.post("/v1/paradigms/check", json=SHORT).json()
    assert (checked["trials"], checked["seconds"]) == (2, 18.0)
    assert checked["paradigm"]["imagery_s"] == 4.0
    assert not (root / "paradigms").exists()
    assert http.put("/v1/paradigms/short", json=SHORT).status_code == 201
    assert http.put("/v1/paradigms/short", json=SHORT | {"seed": 1}).status_code == 200
    listed = {one["name"]: one for one in http.get("/v1/paradigms").json()}
    assert listed["short"]["document"]["seed"] == 1
    assert not listed["short"]["built_in"]
    assert http.post(TASK, json={"participant": "P01", "paradigm": "short"}).json()["seed"] == 1
    assert (
        http.put("/v1/paradigms/other", json=SHORT).json()["detail"].startswith("name: expected 'other' as the address")
    )
    assert http.put("/v1/paradigms/rest", json=SHORT | {"name": "rest"}).status_code == 409
    (root / "paradigms" / "short.json").unlink()
    (root / "paradigms").rmdir()
    (root / "paradigms").write_text("no folder")
    assert http.put("/v1/paradigms/short", json=SHORT).status_code == 507


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"3", b'"x"', b"{", b"\xff\xfe{}", b"[" * 60_000, b'{"kind": NaN}', b'{"kind": "\\ud800"}',
     b'{"trials_per_class": ' + b"9" * 6000 + b"}", b'{"a": 1, "a": 2}', b'{"kind": "cued", "name": "x", "title": "x", "classes": {}}'],
)  # fmt: skip
@pytest.mark.parametrize("path", ["check", "short"])
def test_bodies_that_are_no_paradigm_are_refused_in_one_sentence(ready, path, body):
    answer = ready.request("POST" if path == "check" else "PUT", f"/v1/paradigms/{path}", headers=JSON, content=body)
    assert answer.status_code == 422
    assert answer.json()["detail"].endswith(".") or "see /docs" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {}, [], {"participant": "P01"}, {"participant": "../P01", "paradigm": "rest"}, {"participant": "models", "paradigm": "rest"},
        {"participant": "paradigms", "paradigm": "rest"}, {"participant": "P01", "paradigm": "../../etc/passwd"},
        {"participant": "P01", "paradigm": 3}, {"participant": "P01", "paradigm": []}, {"participant": "P01", "paradigm": {}},
        {"participant": "P01", "paradigm": "rest", "seed": -1}, {"participant": "P01", "paradigm": "rest", "seed": 2**53},
        {"participant": "P01", "paradigm": "rest", "seed": 1.5}, {"participant": "P01", "paradigm": "rest", "seed": True},
        {"participant": "P01", "paradigm": "rest", "more": 1},
        {"participant": "P01", "paradigm": SHORT | {"trials_per_class": 10**9}},
    ],
)  # fmt: skip
def test_requests_for_a_task_that_are_not_understood(ready, body):
    answer = ready.post(TASK, json=body)
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)
    assert ready.get(TASK).json()["number"] == 1


@pytest.mark.parametrize(
    "body",
    [
        '{"index": 0}', '{"index": -1, "outcome": "done"}', '{"index": 1e9, "outcome": "done"}', '{"index": true, "outcome": "done"}',
        '{"index": 0, "outcome": "won"}', '{"index": 0, "outcome": "done", "onset": NaN}', '{"index": 0, "outcome": "done", "onset": "1"}',
        '{"index": 0, "outcome": "done", "onset": 1e300}', '{"index": 0, "outcome": "done", "onset": -5}',
        '{"index": 0, "outcome": "done", "result": []}', '{"index": 0, "outcome": "done", "result": {"a": NaN}}',
        '{"index": 0, "outcome": "done", "result": {"a": {"b": {"c": 1}}}}', '{"index": 0, "outcome": "done", "result": {"": 1}}',
        '{"index": 0, "outcome": "done", "result": {"a": [[1]]}}', '{"index": 0, "outcome": "done", "label": "left"}',
        '{"index": 0, "outcome": "done", "result": {"a": "' + "x" * 201 + '"}}',
        '{"index": 0, "outcome": "done", "result": {' + ",".join(f'"{n}": 1' for n in range(33)) + "}}",
        '{"index": 0, "outcome": "done", "result": {"a": ' + "9" * 400 + "}}",
    ],
)  # fmt: skip
def test_trials_that_are_not_understood_change_nothing(ready, body):
    answer = ready.post(f"{TASK}/trial", content=body, headers=JSON)
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)
    assert ready.get(TASK).json()["trials"] == []


def test_sessions_are_listed_whatever_lies_among_them(http, root):
    for folder in ("P01/2026-01-02", "P01/2026-01-01", "P02/2026-01-01", "P03/today", "models/m1", "a b/2026-01-01"):
        (root / folder).mkdir(parents=True)
        write_session(root / folder, SessionDocument(*folder.split("/")))
    (root / "P01" / "2026-01-01" / "session.json").write_text("{")
    task_path(root / "P01" / "2026-01-02", 3).write_text("[]")
    assert http.get("/v1/sessions").json() == [
        {"participant": "P01", "dates": ["2026-01-01", "2026-01-02"]},
        {"participant": "P02", "dates": ["2026-01-01"]},
    ]
    first, second = http.get("/v1/sessions/P01").json()["sessions"]
    assert "is no description of a session" in first["problems"][0]
    assert "task-03.json is no task" in second["problems"][0]
    for name in ("nobody", "..", "%2e%2e%2fP01", "models", "P03", "P01%2f2026-01-01"):
        assert http.get(f"/v1/sessions/{name}").status_code == 404
    assert http.get("/v1/sessions/nobody").json() == {"detail": "There is no session of a participant 'nobody'."}


def test_openapi_describes_tasks_and_paradigms(http):
    document = http.get("/openapi.json").json()
    for path in ("/v1/streams/{stream}/task", "/v1/streams/{stream}/task/trial", "/v1/paradigms/check", "/v1/sessions"):
        assert path in document["paths"]
    schemas = document["components"]["schemas"]
    assert {"Cued", "Rest", "Eyes", "Control", "TaskState", "Trial"} <= set(schemas)
    assert "plan" in schemas["TaskState"]["properties"]
