"""Routes of a service without sessions: the same as of one with them."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import APIRouter

from mindwire.api import training_routes, without_sessions
from mindwire.api.progress_routes import progress
from mindwire.api.session_routes import sessions
from mindwire.api.task_routes import TASK, tasks
from mindwire.session_names import TASK_COMMANDS


def methods(routers: Iterable[APIRouter]) -> set[tuple[str, str]]:
    return {
        (route.path, method) for router in routers for route in router.routes for method in route.methods - {"HEAD"}
    }


def test_each_route_is_answered_with_sessions_and_without():
    assert methods([without_sessions.router]) == methods([training_routes.router, tasks, sessions, progress])


def test_each_command_to_a_task_is_known():
    posted = {path for path, method in methods([tasks]) if method == "POST"}
    assert posted == {TASK, *(f"{TASK}/{command}" for command in TASK_COMMANDS)}
