"""Free space: measured once a second, and without waiting for a disk that does not answer."""

from __future__ import annotations

import shutil
import threading
from types import SimpleNamespace

from mindwire.live.recordings import Recordings
from mindwire.sinks import free_space
from mindwire.sinks.free_space import free_bytes


def test_free_space_is_measured_once_a_second_in_another_thread(tmp_path, monkeypatch):
    threads = []

    def measure(folder):
        threads.append(threading.current_thread())
        return SimpleNamespace(free=len(threads))

    monkeypatch.setattr(shutil, "disk_usage", measure)
    monkeypatch.setattr(free_space, "_PATIENCE_S", 20.0)
    times = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(free_space, "time", times)
    now = 100.0
    streams = [Recordings(None, None) for _ in range(3)]
    for one in streams:
        one.folder = tmp_path
    assert [one.free_bytes for one in streams] == [1, 1, 1]
    now = 101.0
    assert [one.free_bytes for one in streams] == [2, 2, 2]
    assert threading.main_thread() not in threads


def test_a_disk_that_does_not_answer_is_asked_once_and_its_space_is_unknown(tmp_path, monkeypatch):
    answers, begun, asked = threading.Event(), threading.Event(), []

    def hang(folder):
        asked.append(folder)
        begun.set()
        answers.wait(20.0)
        raise OSError

    monkeypatch.setattr(shutil, "disk_usage", hang)
    monkeypatch.setattr(free_space, "_KEPT_S", 0.0)
    try:
        assert [free_bytes(tmp_path) for _ in range(3)] == [None, None, None]
        assert begun.wait(20.0)
        assert len(asked) == 1
    finally:
        answers.set()


def test_a_folder_that_is_not_there_has_no_free_space(tmp_path):
    assert free_bytes(tmp_path / "none") is None
    assert Recordings(None, None).free_bytes is None
