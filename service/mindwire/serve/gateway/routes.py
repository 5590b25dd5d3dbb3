"""Routes that workers answer: requests passed on to one of them, and answers of all put together."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, HTTPException
from starlette.requests import Request
from starlette.responses import Response

from mindwire.api.routes import one_stream
from mindwire.errors import ConflictError
from mindwire.serve.gateway.address import Answer
from mindwire.serve.gateway.gateway import SLOW_S, Gateway
from mindwire.serve.gateway.worker import ANSWER_S, RemoteStream
from mindwire.session_names import TASK_COMMANDS
from mindwire.sinks.messages import event_payload
from mindwire.status import REMEMBERED_EVENTS

# Requests that change nothing of a stream's description.
_UNCONFIGURED = ("markers", "clock", "display_delay")

_Stream = Annotated[RemoteStream, Depends(one_stream)]


class GatewayRoutes:
    """Routes of a gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def router(self) -> APIRouter:
        """Return the routes that workers answer, one or all of them."""
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/metrics", self._metrics)
        router.add_api_route("/v1/workers", self._list_workers, methods=["GET"])
        router.add_api_route("/v1/workers/{number}/drain", self._drain, methods=["POST"], status_code=202)
        router.add_api_route("/v1/streams", self._list, methods=["GET"])
        router.add_api_route("/v1/streams/{stream}", _show, methods=["GET"])
        router.add_api_route("/v1/streams/{stream}/events", _list_events)
        router.add_api_route("/v1/streams/{stream}/control", self._forward, methods=["GET", "PUT"])
        router.add_api_route("/v1/streams/{stream}/recording", self._forward, methods=["GET", "POST", "DELETE"])
        router.add_api_route("/v1/streams/{stream}/model", self._forward, methods=["GET", "POST"])
        router.add_api_route("/v1/streams/{stream}/task", self._forward, methods=["GET", "POST"])
        router.add_api_route("/v1/streams/{stream}/display_delay", self._forward, methods=["GET", "DELETE"])
        tasks = (f"task/{command}" for command in TASK_COMMANDS)
        swaps = ("model/promote", "model/drop", "model/rollback")
        for command in ("adaptation", "control/pause", "control/resume", *_UNCONFIGURED, *swaps, *tasks):
            router.add_api_route(f"/v1/streams/{{stream}}/{command}", self._forward, methods=["POST"])
        return router

    async def _list_workers(self) -> Response:
        return _json([worker.describe() for worker in self._gateway.workers])

    async def _drain(self, number: int) -> dict[str, Any]:
        for worker in self._gateway.workers:
            if worker.number == number:
                try:
                    worker.drain()
                except ConflictError as error:
                    raise HTTPException(409, str(error)) from error
                return worker.describe()
        raise HTTPException(404, f"There is no worker {number}; GET /v1/workers lists them.")

    async def _list(self) -> Response:
        await self._gateway.refresh()
        return _json([stream.described for stream in self._gateway.streams.values()])

    async def _metrics(self) -> Response:
        from prometheus_client import CONTENT_TYPE_LATEST

        from mindwire.api.metrics import block, service_blocks
        from mindwire.serve.gateway.metrics import merged

        asked = await asyncio.gather(*(worker.ask("/metrics") for worker in self._gateway.workers))
        answers = [None if answer is None else answer.body for answer in asked]
        others = [*service_blocks()]
        if (reached := self._gateway.ray_reached) is not None:
            about = "1 while the head of the Ray cluster is reached."
            others.append(block("gauge", "ray_up", about, (), [((), reached)]))
        text = await asyncio.to_thread(merged, self._gateway.workers, answers, others)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def _forward(self, stream: _Stream, request: Request) -> Response:
        rest = request.scope["path"].removeprefix(f"/v1/streams/{stream.name}")
        kind = request.headers.get("content-type", "")
        answer = await stream.ask(
            rest, method=request.method, body=await request.body(), content_type=kind, patience=_patience(request)
        )
        if answer is None:
            raise HTTPException(503, f"{stream.described['state_reason']} Try again later.")
        if request.method != "GET" and answer.status < 400 and rest.split("/")[1] not in (*_UNCONFIGURED, "task"):
            await self._gateway.note_from(stream)
        return _passed_on(answer)


async def _show(stream: _Stream) -> Response:
    answer = await stream.ask("")
    return _json(stream.described) if answer is None else _passed_on(answer)


async def _list_events(stream: _Stream) -> Response:
    """Return the worker's events and the gateway's own, oldest first."""
    answer = await stream.ask("/events")
    events = [] if answer is None else msgspec.json.decode(answer.body)
    events += [msgspec.structs.asdict(event_payload(own)) for own in stream.events]
    return _json(sorted(events, key=lambda event: event["unix_time"])[-REMEMBERED_EVENTS:])


def _patience(request: Request) -> float:
    """Return the seconds that a worker may take: recordings and tasks wait for LabRecorder, and a first model for its decoder."""
    ends = ("/recording", "/task", *(f"/task/{command}" for command in TASK_COMMANDS), "/model")
    waits = request.scope["path"].endswith(ends) and request.method != "GET"
    return SLOW_S if waits else ANSWER_S


def _passed_on(answer: Answer) -> Response:
    return Response(answer.body, answer.status, media_type=answer.content_type)


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")
