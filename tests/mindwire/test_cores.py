from __future__ import annotations

import os
import threading

import pytest

from mindwire.cores import unhurried

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="this system has one policy for all threads")


def policy_of_a_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
    thread.start()
    thread.join()
    return found[0]


def test_threads_started_within_wait_for_their_turn_and_others_do_not():
    assert policy_of_a_thread() == os.SCHED_OTHER
    with unhurried():
        assert policy_of_a_thread() == os.SCHED_BATCH
    assert policy_of_a_thread() == os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_schedule_that_somebody_chose_is_left_alone():
    def chosen():
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        with unhurried():
            within.append(os.sched_getscheduler(0))
        within.append(os.sched_getscheduler(0))

    within = []
    thread = threading.Thread(target=chosen)
    thread.start()
    thread.join()
    assert within == [os.SCHED_BATCH, os.SCHED_BATCH]


@pytest.mark.parametrize("error", [PermissionError(1, "Operation not permitted"), OSError(22, "Invalid argument")])
@pytest.mark.parametrize("call", ["sched_getscheduler", "sched_setscheduler"])
def test_where_policies_are_forbidden_threads_start_as_they_are(monkeypatch, call, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr(os, call, refuse)
    begun = threading.Event()
    with unhurried():
        threading.Thread(target=begun.set).start()
    assert begun.wait(10)
