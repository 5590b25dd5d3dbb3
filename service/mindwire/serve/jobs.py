"""Trainings of a service with sessions; without any, nothing of them is imported, which shortens the start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mindwire.api.streams import Streams
    from mindwire.serve.specs import Specs
    from mindwire.serve.training_jobs import TrainingJobs


def training_jobs(
    specs: Specs, streams: Streams, use_model: Callable[[str, str], Awaitable[None]]
) -> TrainingJobs | None:
    """Return the trainings of a service, None where it has no sessions; parameters as of a :class:`TrainingJobs`."""
    if specs.settings.sessions is None:
        return None
    from mindwire.serve.training_jobs import TrainingJobs

    return TrainingJobs(specs, streams, use_model)


def closing(jobs: TrainingJobs | None) -> AbstractAsyncContextManager[object]:
    """Return a context that ends trainings, if there are any."""
    return nullcontext() if jobs is None else aclosing(jobs)
