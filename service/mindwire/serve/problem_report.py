"""Report of a problem, to be sent to others: findings, versions, and settings, models and states of a running service."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict
from http.client import HTTPException
from typing import Any

from mindwire.provenance import machine
from mindwire.serve.doctor import Finding

# What the service answers without tokens in it; enough for the versions and hashes of the bundles.
_PATHS = ("/v1/config", "/v1/models", "/v1/streams")
_TIMEOUT_S = 5.0


def problem_report(findings: Sequence[Finding], service: str, token: str | None) -> dict[str, Any]:
    """Return what is needed to understand a problem.

    Parameters
    ----------
    findings : sequence of Finding
    service : str
        Address of a running service, such as ``http://127.0.0.1:8000``.
    token : str or None
        Token to ask it with, which is not in the report.

    Returns
    -------
    dict
        ``machine``, ``findings``, and ``service``: for each path its answer, or ``error``, why there is none.
    """
    return {
        "machine": machine(),
        "findings": [asdict(finding) for finding in findings],
        "service": {"address": service, **{path: _answer(service.rstrip("/") + path, token) for path in _PATHS}},
    }


def _answer(url: str, token: str | None) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})  # noqa: S310
        with opener.open(request, timeout=_TIMEOUT_S) as response:
            return json.load(response)
    except (OSError, HTTPException, ValueError) as error:
        return {"error": str(error)}
