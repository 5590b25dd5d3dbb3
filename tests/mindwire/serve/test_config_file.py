"""The settings file of --save-config, and what is refused before it is written."""

from __future__ import annotations

import tomllib

import pytest

from mindwire.config import StreamSpec, load_settings
from mindwire.errors import ConflictError, ServiceError, UsageError
from mindwire.serve import config_file
from mindwire.serve.config_file import ConfigFile
from mindwire.serve.specs import Specs, changed


def specs_of(file):
    return Specs(load_settings({}, file, save=True), ConfigFile(file))


def test_secrets_and_the_file_of_the_user_stay_and_permissions_too(tmp_path):
    file = tmp_path / "c.toml"
    text = 'token = "correct horse"  # of the laboratory\n[[stream]]\nname = "A"\n'
    file.write_text(text)
    file.chmod(0o600)
    specs = specs_of(file)
    for hop in (1, 2):
        specs.put("A", changed(specs["A"], {"hop": hop}))
    written = tomllib.loads(file.read_text())
    assert written["token"] == "correct horse"
    assert written["stream"] == [{"id": "A", "name": "A", "hop": 2}]
    assert "correct horse" not in specs.settings.to_toml()
    original = tmp_path / "c.toml.orig"
    assert original.read_text() == text
    assert {path.stat().st_mode & 0o777 for path in (file, original)} == {0o600}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.toml", "c.toml.orig"]


def test_a_file_that_is_not_there_yet_is_made(tmp_path):
    file = tmp_path / "new.toml"
    specs = specs_of(file)
    assert not file.exists()
    specs.put("A", StreamSpec(name="A"))
    assert load_settings({}, file).stream == specs.settings.stream
    assert [path.name for path in tmp_path.iterdir()] == ["new.toml"]


def test_what_cannot_be_kept_is_not_done(tmp_path, monkeypatch, caplog):
    file = tmp_path / "c.toml"
    file.write_text('[[stream]]\nname = "A"\n')
    specs = specs_of(file)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(config_file, "replace_file", full)
    with pytest.raises(ServiceError, match="No space left on device"):
        specs.put("A", None)
    assert [spec.id for spec in specs.settings.stream] == ["A"]
    specs.note("A", {"paused": True})  # it is so already
    assert "lasts only until the service ends" in caplog.text
    specs.note("gone", {"paused": True})


def test_names_are_taken_whatever_their_case_and_adaptation_has_one_file_for_each(tmp_path):
    settings = load_settings({"stream": ["name=A"], "adaptation_state": tmp_path / "kept"})
    specs = Specs(settings)
    assert specs["A"].adaptation_state == tmp_path / "kept"
    with pytest.raises(ConflictError, match="already a stream 'a'"):
        specs.check_new(StreamSpec(name="a"))
    specs.put("B", specs.completed(StreamSpec(name="B")))
    assert specs["A"].adaptation_state == tmp_path / "kept"  # also now that it is not alone
    assert specs["B"].adaptation_state == tmp_path / "kept-B"


def test_streams_have_one_origin_with_save_config(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="give one"):
        load_settings({}, None, save=True)
    with pytest.raises(UsageError, match="leave --stream out"):
        load_settings({"stream": ["name=A"]}, tmp_path / "c.toml", save=True)
    monkeypatch.setenv("MINDWIRE_STREAM", "name=A")
    with pytest.raises(UsageError, match="leave MINDWIRE_STREAM out"):
        load_settings({}, tmp_path / "c.toml", save=True)
