"""Routes of a worker on another machine, by which the gateway takes its reports, and without which the worker ends.

The gateway asks all the time; each answer says what there is to report. A worker that is no longer asked is of no use to
anyone, or has a successor elsewhere already, and ends: nothing is left running unseen.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from mindwire.serve.gateway.process import WorkerReport

REPORTS, END, KILL = "/worker/reports", "/worker/end", "/worker/kill"
# A node that lost the gateway ends its streams so soon; those that take their place begin 4 s after the loss at the earliest.
LEASE_S = 10.0
# Longest time until a question is answered.
WAIT_S = 1.0


class WorkerReports:
    """The gateway's questions, and what is reported to it.

    Parameters
    ----------
    folder : Path
        Whose files are reported when they change.
    lease_s : float
        Time without a question after which the worker ends.
    end : callable
        Ends the worker; called in the running loop.
    """

    def __init__(self, folder: Path, lease_s: float, end: Callable[[], None]) -> None:
        self._folder = folder
        self._lease_s = lease_s
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._asked = time.monotonic()
        self._reports: list[WorkerReport] = []
        self._taken = 0  # reports that the gateway has
        self._news = asyncio.Event()
        self._files = self._present()

    def report(self, one: WorkerReport) -> None:
        """Report something; may be called from any thread."""
        self._loop.call_soon_threadsafe(self._add, one)

    def _add(self, one: WorkerReport) -> None:
        self._reports.append(one)
        self._news.set()

    async def watch(self) -> None:
        """End the worker once the gateway no longer asks."""
        while (left := self._asked + self._lease_s - time.monotonic()) > 0:  # noqa: ASYNC110 - a time is waited for
            await asyncio.sleep(left)
        self._end()

    def routes(self) -> APIRouter:
        """Return the routes for the gateway."""
        router = APIRouter(include_in_schema=False)
        router.add_api_route(REPORTS, self._answer)
        router.add_api_route(END, self._end_in_order, methods=["POST"])
        router.add_api_route(KILL, _kill, methods=["POST"])
        return router

    async def _answer(self, after: int) -> Response:
        """Return the reports after those that the gateway has, once there is one; an empty list after a while without."""
        self._asked = time.monotonic()
        del self._reports[: max(0, after - self._taken)]
        self._taken = after
        self._note_files()
        if not self._reports:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), WAIT_S)
            except TimeoutError:
                self._note_files()
        self._asked = time.monotonic()
        return Response(msgspec.json.encode(self._reports), media_type="application/json")

    async def _end_in_order(self) -> Response:
        self._end()
        return Response(b"{}", media_type="application/json")

    def _note_files(self) -> None:
        """Report files that have changed."""
        before, self._files = self._files, self._present()
        for name in sorted({name for name, _ in before.items() ^ self._files.items()}):
            content = (self._folder / name).read_bytes() if name in self._files else b""
            self._reports.append(WorkerReport(learnt=name, content=content))

    def _present(self) -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in self._folder.glob("*.adaptation")}


async def _kill() -> Response:
    """End the process at once: clients of its streams stay connected to the gateway, and wait for its successor."""
    os._exit(1)
