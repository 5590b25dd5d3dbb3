"""What every test shares: the isolation of LSL, and where the real recordings are."""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import sys
import uuid
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

from mindwire.sources.loopback import lsl_on_loopback

# First examples pay for imports, and the machine may be busy: a deadline would test the machine.
settings.register_profile("mindwire", deadline=None)
settings.load_profile("mindwire")

MEASURED = "MINDWIRE_FAULTS_JSON"

# Before any import of pylsl, and inherited by every process that a test starts.
_session = f"mindwire-test-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}-{uuid.uuid4().hex[:8]}"
_lsl = lsl_on_loopback(_session)
_lsl.__enter__()
atexit.register(_lsl.__exit__, None, None, None)
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background job ignores these signals, and so would the commands whose end by them is tested.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


# Modules of all tests are imported first and stay: to look through them for garbage again and again takes seconds.
gc.disable()


def pytest_collection_finish():
    """Collect garbage of the tests alone."""
    gc.freeze()
    gc.enable()


# Files that take a minute or more, the longest first.
_LONG = (
    "tests/browser/test_cap_to_control.py",
    "tests/mindwire/serve/test_tasks_survive.py",
    "tests/faults/test_ray_cluster.py",
    "tests/mindwire/bench/test_bench.py",
    "tests/mindwire/serve/test_training_jobs.py",
    "tests/browser/test_clock.py",
    "tests/browser/test_participant.py",
    "tests/browser/test_page.py",
    "tests/mindwire/evaluation/test_many_recordings.py",
    "tests/mindwire/serve/test_serving.py",
    "tests/browser/test_shell.py",
    "tests/mindwire/serve/test_without_model.py",
    "tests/mindwire/serve/test_external_decoders.py",
    "tests/faults/test_connection.py",
    "tests/browser/test_session.py",
    "tests/mindwire/offline/test_convention.py",
    "tests/clients/python/test_client_disturbances.py",
    "tests/mindwire/live/test_kept_adaptation.py",
    "tests/mindwire/training/test_job.py",
    "tests/mindwire/serve/test_gateway.py",
    "tests/mindwire/sinks/test_recorder.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Put the files that take long first, then those with most tests, so that the processes end together; each stays in random order."""
    files = [item.nodeid.partition("::")[0] for item in items]
    tests = Counter(files)
    place = {file: number for number, file in enumerate(_LONG)}
    order = {file: (place.get(file, len(_LONG)), -count) for file, count in tests.items()}
    items.sort(key=lambda item: order[item.nodeid.partition("::")[0]])


@pytest.fixture
def address(stream):
    """Address of a service with the test's own ``stream``, a stand-in that predicts."""
    from tests.support.standin import served

    with served(stream) as where:
        stream.start()
        yield where


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real recordings and reference outputs; tests that need it are skipped without it."""
    folder = Path(os.environ.get("MINDWIRE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real recordings are not at {folder}; set MINDWIRE_TEST_DATA to run this test")
    return folder


@pytest.fixture(autouse=True)
def _networks_begin_the_same():
    """Networks of one test have the same random weights whatever ran before it."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture
def recovery(request):
    """Takes the seconds that a recovery took; kept in the file that MINDWIRE_FAULTS_JSON names, a line each."""
    node = request.node.nodeid

    def take(seconds: float, what: str = "") -> None:
        print(f"recovered in {seconds:.2f} s {what}")
        if os.environ.get(MEASURED):
            with Path(os.environ[MEASURED]).open("a") as file:
                file.write(json.dumps({"test": node, "seconds": round(seconds, 2)}) + "\n")

    return take
