"""Recordings made odd by chance: a few hundred of the cases of :mod:`tests.fuzz_recordings`."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.fuzz_recordings import run_case
from tests.support.odd_recordings import MAKERS

pytest.importorskip("mne")
_BLOCK = 50


@pytest.mark.parametrize("block", range(5))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_no_odd_recording_hangs_crashes_or_is_joined_over_a_cut(tmp_path, block):
    kinds: Counter[str] = Counter()
    for number in range(block * _BLOCK, (block + 1) * _BLOCK):
        folder = tmp_path / str(number)
        folder.mkdir()
        kind, _ = run_case(number, folder)
        kinds[kind] += 1
    assert len(kinds) == len(set(MAKERS))
