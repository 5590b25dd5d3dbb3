"""Settings: what goes before what, and one sentence for what is wrong."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindwire.config import Settings, StreamSpec, load_settings, parse_stream
from mindwire.control.policy import ControlPolicy
from mindwire.errors import UsageError
from mindwire.serve.listening import with_tokens


def test_flags_go_before_environment_before_file(tmp_path, monkeypatch):
    file = tmp_path / "mindwire.toml"
    file.write_text('port = 1\nhost = "127.0.0.3"\nhop = 3\nchannels = ["C3", "C4"]\n')
    monkeypatch.setenv("MINDWIRE_PORT", "2")
    monkeypatch.setenv("MINDWIRE_HOST", "127.0.0.2")
    settings = load_settings({"port": 9, "host": None}, file)
    assert (settings.port, settings.host, settings.hop) == (9, "127.0.0.2", 3)
    assert settings.channels == ("C3", "C4")


def test_lists_in_flags_and_environment(monkeypatch):
    monkeypatch.setenv("MINDWIRE_STREAM", "name=A;id=b,type=EEG")
    monkeypatch.setenv("MINDWIRE_CHANNELS", "C3, C4")
    settings = load_settings({})
    assert [spec.id for spec in settings.stream] == ["A", "b"]
    assert settings.channels == ("C3", "C4")


def test_tables_of_streams_in_the_file(tmp_path):
    file = tmp_path / "mindwire.toml"
    file.write_text('[[stream]]\nname = "A"\nmodel = "m"\nhop = 5\n[[stream]]\nid = "z"\npredicate = "true()"\n')
    first, second = load_settings({}, file).stream
    assert (first.id, first.hop, str(first.model)) == ("A", 5, "m")
    assert second.predicate == "true()"


def test_print_config_reads_back_and_hides_the_token(tmp_path):
    flags = {"stream": ["name=A, B,type=EEG", "id=x,predicate=contains(name,'X') and type='EEG'"], "port": 4}
    settings = load_settings({**flags, "token": "correct horse"})
    text = settings.to_toml()
    assert "correct horse" not in text
    tomllib.loads(text)
    file = tmp_path / "again.toml"
    file.write_text(text, encoding="utf-8")
    again = load_settings({}, file)
    assert again.model_copy(update={"token": settings.token}).model_dump() == settings.model_dump()


_TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(lambda text: text.strip() == text)
_PATHS = _TEXT.filter(lambda text: "\0" not in text).map(Path)
_STREAMS = st.builds(
    lambda id, **kwargs: StreamSpec(id=id, **kwargs),  # noqa: A006
    id=st.from_regex(r"[a-z][a-z0-9._-]{0,8}", fullmatch=True),
    name=_TEXT,
    predicate=st.none() | _TEXT,
    model=st.none() | _PATHS,
    hop=st.none() | st.integers(1, 2**31),
    control=st.none()
    | st.just("none")
    | st.just(ControlPolicy(idle="rest"))
    | st.just(json.loads(ControlPolicy().to_json())),
    paused=st.booleans(),
    record=st.none() | st.booleans(),
    channels=st.none() | st.just(("C3", "-", "C 4")),
)
_SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "stream": st.lists(_STREAMS, max_size=3, unique_by=lambda spec: spec.id),
        "model": _PATHS,
        "host": _TEXT,
        "token": _TEXT.map(lambda text: text * 8),
        "allow_host": st.lists(_TEXT, max_size=2),
        "port": st.integers(0, 65535),
        "rate": st.floats(min_value=0, exclude_min=True, allow_infinity=False),
        "max_backlog": st.floats(min_value=0, exclude_min=True, allow_infinity=False),
        "stale_after": st.floats(min_value=0, exclude_min=True, allow_infinity=False),
        "wait": st.booleans(),
    },
)


@given(flags=_SETTINGS)
def test_settings_travel_as_toml_and_to_workers_without_loss(flags, tmp_path_factory):
    settings = load_settings(flags)
    assert Settings.model_validate_json(settings.model_dump_json()) == settings
    file = tmp_path_factory.getbasetemp() / "settings.toml"
    file.write_text(settings.to_toml(), encoding="utf-8", newline="")
    assert load_settings({"token": settings.token}, file) == settings


@pytest.mark.parametrize("name", ["max_backlog", "stale_after", "rate", "bridge_ms", "batch_wait_ms"])
@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
def test_numbers_are_finite(name, value, monkeypatch):
    with pytest.raises(UsageError, match=f"^--{name.replace('_', '-')}: expected a finite number, found"):
        load_settings({name: float(value)})
    monkeypatch.setenv(f"MINDWIRE_{name.upper()}", value)
    with pytest.raises(UsageError, match=f"^MINDWIRE_{name.upper()}: expected a finite number, found"):
        load_settings({})


@pytest.mark.parametrize(
    ("text", "predicates"),
    [
        ("predicate=starts-with(name,'x;y')", ["starts-with(name,'x;y')"]),
        ("predicate=a='x;';id=b,predicate=c=\"';'\"", ["a='x;'", "c=\"';'\""]),
        ("name=O'Hara;predicate=type='EEG';name=O'Neill", [None, "type='EEG'", None]),
        ("predicate=name='open;", ["name='open;"]),
    ],
)
def test_semicolons_in_the_strings_of_a_predicate_separate_nothing(text, predicates, monkeypatch):
    monkeypatch.setenv(
        "MINDWIRE_STREAM", text.replace("name=O", "id=i,name=O", 1).replace("predicate", "id=p,predicate", 1)
    )
    assert [spec.predicate for spec in load_settings({}).stream] == predicates


def test_stream_text_may_hold_commas_in_values_and_predicates():
    assert parse_stream("name=A, B,type=EEG") == {"name": "A, B", "type": "EEG"}
    assert parse_stream("id=x,predicate=starts-with(name,'X'), and more") == {
        "id": "x",
        "predicate": "starts-with(name,'X'), and more",
    }


@given(st.text(max_size=40))
def test_any_stream_text_is_read_or_refused(text):
    try:
        spec = StreamSpec.model_validate(text)
    except ValueError:
        return
    assert spec.id
    assert any((spec.name, spec.type, spec.source_id, spec.hostname, spec.predicate))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"port": 70000}, "port"),
        ({"hop": 0}, "hop"),
        ({"device": "tpu"}, "device"),
        ({"stream": ["oops"]}, "found 'oops'"),
        ({"stream": ["id=only"]}, "say which LSL stream"),
        ({"stream": ["name=A", "name=A"]}, "two streams would be called 'A'"),
        ({"stream": ["id=a/b,name=A"]}, "may hold only letters"),
        ({"stream": ["name=A,name=B"]}, "given twice"),
        ({"token": "short"}, "token"),
    ],
)
def test_wrong_settings_are_one_sentence(flags, says):
    with pytest.raises(UsageError, match=says) as error:
        load_settings(flags)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        load_settings({}, tmp_path / "none.toml")
    bad = tmp_path / "bad.toml"
    bad.write_text("port = = 3")
    with pytest.raises(UsageError, match="not valid TOML"):
        load_settings({}, bad)
    unknown = tmp_path / "unknown.toml"
    unknown.write_text("prot = 3")
    with pytest.raises(UsageError, match="prot"):
        load_settings({}, unknown)


@pytest.mark.parametrize(("text", "told"), [("C3;C4", "separated by commas"), ("C3,,C4", "a label is empty")])
def test_channel_labels_that_cannot_be_meant_are_refused(text: str, told: str) -> None:
    assert load_settings({"channels": "C3,C4"}).channels == ("C3", "C4")
    with pytest.raises(UsageError, match=told):
        load_settings({"channels": text})


def test_a_token_from_a_file(tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text("correct horse\n")
    settings, notice = with_tokens(load_settings({"token_file": file}))
    assert (settings.token, notice) == ("correct horse", "")
    assert "correct" not in settings.to_toml()
    monkeypatch.setenv("MINDWIRE_TOKEN", "battery staple")
    assert with_tokens(load_settings({}))[0].token == "battery staple"
    with pytest.raises(UsageError, match="both given"):
        load_settings({"token_file": file})


def test_a_second_token_only_reads(tmp_path):
    elsewhere, notice = with_tokens(load_settings({"host": "0.0.0.0"}))
    assert len({elsewhere.token, elsewhere.read_token, None}) == 3
    assert [line.rsplit(" ", 1)[1] for line in notice.splitlines()] == [elsewhere.token, elsewhere.read_token]
    assert elsewhere.read_token not in elsewhere.to_toml()
    file = tmp_path / "read"
    file.write_text("correct horse")
    both, notice = with_tokens(load_settings({"read_token_file": file}))
    assert both.read_token == "correct horse"
    assert notice.endswith(both.token)  # or nobody could change anything
    with pytest.raises(UsageError, match="the same"):
        with_tokens(load_settings({"token": "correct horse", "read_token_file": file}))
    with pytest.raises(UsageError, match="read_token and read_token_file are both given"):
        load_settings({"read_token": "correct horse", "read_token_file": file})
    with pytest.raises(UsageError, match="tls_cert and tls_key are given together"):
        load_settings({"tls_cert": file})


@pytest.mark.parametrize(
    "content", [b"", b"short", b"two\nlines, each long enough", b"\xff" * 20, b"a\x1bbcdefghi", b"x" * 5000]
)
def test_files_that_hold_no_token(tmp_path, content):
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="one line of 8 to 4096 printable characters"):
        with_tokens(load_settings({"token_file": file}))
    with pytest.raises(UsageError, match="cannot be read"):
        with_tokens(load_settings({"token_file": tmp_path / "none"}))


@pytest.mark.parametrize(
    ("toml", "variables", "flags", "sentence"),
    [
        ('streem = "x"', {}, {}, "FILE: there is no setting 'streem'; do you mean 'stream'?"),
        ('[[stream]]\nnmae = "x"', {}, {}, "FILE, stream: there is no setting 'nmae'; do you mean 'name'?"),
        ("zebra = 1", {}, {}, "FILE: there is no setting 'zebra'."),
        ('port = "abc"', {}, {}, "FILE, port: expected a whole number, found 'abc'."),
        ("", {"MINDWIRE_PORT": "abc"}, {}, "MINDWIRE_PORT: expected a whole number, found 'abc'."),
        ("port = 1", {"MINDWIRE_PORT": "2"}, {"port": 70000}, "--port: expected at most 65535, found 70000."),
        ("", {}, {"batch_wait_ms": -1.0}, "--batch-wait-ms: expected at least 0, found -1.0."),
        ("", {}, {"device": "tpu"}, "--device: expected 'auto', 'cpu' or 'cuda', found 'tpu'."),
        ("", {}, {"token": "short"}, "--token: expected at least 8 characters."),
        ("", {"MINDWIRE_WAIT": "perhaps"}, {}, "MINDWIRE_WAIT: expected true or false, found 'perhaps'."),
        ("", {}, {"unit": "microfoo"}, "--unit: 'microfoo' is no unit of voltage; expected V, mV, uV or nV."),
        (
            "",
            {},
            {"stream": ["name=x,unit=furlong"]},
            "--stream unit: 'furlong' is no unit of voltage; expected V, mV, uV or nV.",
        ),
    ],
)
def test_a_wrong_setting_is_told_with_its_value_and_where_it_came_from(
    tmp_path, monkeypatch, toml, variables, flags, sentence
):
    file = tmp_path / "settings.toml"
    file.write_text(toml)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as error:
        load_settings(flags, file if toml else None)
    assert str(error.value) == sentence.replace("FILE", str(file))


def test_a_stream_that_is_no_description_says_what_was_perhaps_meant():
    with pytest.raises(UsageError, match=r"^--stream: expected id=…, .*found 'EEG-S1'; do you mean name=EEG-S1\?$"):
        load_settings({"stream": ["EEG-S1"]})
    with pytest.raises(UsageError, match=r"found 'nmae=X'; do you mean 'name'\?$"):
        load_settings({"stream": ["nmae=X"]})


def test_variables_that_are_no_settings_are_warned_about(monkeypatch, capsys):
    monkeypatch.setenv("MINDWIRE_HOPP", "3")
    monkeypatch.setenv("MINDWIRE_ZEBRA", "3")
    monkeypatch.setenv("MINDWIRE_DEBUG", "")
    load_settings({})
    assert capsys.readouterr().err.splitlines() == [
        "mindwire: MINDWIRE_HOPP is no setting and is ignored; do you mean MINDWIRE_HOP?",
        "mindwire: MINDWIRE_ZEBRA is no setting and is ignored.",
    ]
