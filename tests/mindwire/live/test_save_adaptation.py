"""What was learnt of a person is written on request, or the request is refused in a sentence."""

from types import SimpleNamespace

import numpy as np
import pytest

from mindwire.adaptation import SavedAdaptation
from mindwire.errors import ContractError
from mindwire.live.stream import Stream
from mindwire.signal.alignment import AlignmentState

SAVED = SavedAdaptation("hash", AlignmentState(np.eye(2), 10.0, 10))


def stream(file, learnt):
    reporter = SimpleNamespace(emit=lambda *_: None)
    return SimpleNamespace(name="s", adaptation_file=file, learnt=learnt, reporter=reporter)


def test_what_was_learnt_is_written(tmp_path):
    Stream.save_adaptation(stream(tmp_path / "kept", SAVED))
    assert SavedAdaptation.read(tmp_path / "kept").to_bytes() == SAVED.to_bytes()


@pytest.mark.parametrize(
    ("file", "learnt", "says"), [(None, SAVED, "--adaptation-state"), ("kept", None, "learnt nothing")]
)
def test_otherwise_it_is_refused(file, learnt, says):
    with pytest.raises(ContractError, match=says):
        Stream.save_adaptation(stream(file, learnt))
