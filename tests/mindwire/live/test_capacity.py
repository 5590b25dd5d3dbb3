"""Too many streams are refused with the figure; few are not."""

import re
import time

import pytest

from mindwire.cores import usable_cores
from mindwire.errors import ServiceError
from mindwire.live.capacity import Load, check_capacity, seconds_per_prediction
from tests.support.linear_decoder import LinearDecoder
from tests.support.streaming import contract


class Slow(LinearDecoder):
    def decode(self, sessions, windows):
        end = time.thread_time() + 0.004 * len(windows)
        while time.thread_time() < end:
            pass
        return super().decode(sessions, windows)


def test_the_decoder_counts():
    law = contract()
    quick = seconds_per_prediction(Load(law, LinearDecoder(2), 10, 20))
    assert 0 < quick < seconds_per_prediction(Load(law, Slow(2), 10, 20))


def test_too_many_streams_are_refused_with_the_figure():
    load = Load(contract(), Slow(2), 10, 1000)
    with pytest.raises(ServiceError, match="1000 streams") as refused:
        check_capacity([load])
    carried = int(re.search(r"about (\d+)", str(refused.value))[1])
    assert 0 < carried < 25  # at 4 ms and 10 predictions a second, a whole core carries at most 25


def test_few_streams_are_not_refused():
    assert 0 < check_capacity([Load(contract(), LinearDecoder(2), 100, 1)]) < 0.8


def test_more_workers_than_cores_carry_less_each():
    load = Load(contract(), Slow(2), 10, 16)  # about two thirds of a core
    workers = 100 * usable_cores()
    with pytest.raises(ServiceError, match=f"one of {workers} worker processes"):
        check_capacity([load], workers=workers)
