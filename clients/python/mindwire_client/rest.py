"""Requests to the REST interface of a service."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

from mindwire_client.address import Address
from mindwire_client.errors import ProtocolError, RefusedError, TokenError, UnreachableError


class Rest:
    """Requests with a token, and answers as what JSON holds."""

    def __init__(self, address: Address, token: str | None, tls: ssl.SSLContext | None, timeout_s: float) -> None:
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if address.encrypted:
            handlers.append(urllib.request.HTTPSHandler(context=tls))
        self._opener = urllib.request.build_opener(*handlers)
        self._address = address
        self._timeout_s = timeout_s
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Send a request and return the content of its answer; None if it has none.

        Raises
        ------
        TokenError
            The token is missing or wrong, or may only read.
        RefusedError
            The service refuses the request, with its sentence.
        UnreachableError
            The service did not answer.
        ProtocolError
            The answer is no JSON: another program answers there.
        """
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        request = urllib.request.Request(self._address.rest(path), data, self._headers, method=method)  # noqa: S310
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                sentence = _sentence(error.read()) or f"{method} {path} was refused with the status {error.code}."
            if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise TokenError(sentence) from error
            raise RefusedError(error.code, sentence) from error
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            msg = f"{method} {path} did not reach the service ({reason}); check that it runs, and try again."
            raise UnreachableError(msg) from error
        try:
            return json.loads(content) if content else None
        except ValueError as error:
            msg = f"{method} {path}: expected an answer in JSON, found something else; is the address that of a Mindwire service?"
            raise ProtocolError(msg) from error


def _sentence(content: bytes) -> str:
    """Return the ``detail`` of a refusal."""
    try:
        detail = json.loads(content)["detail"]
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace")[:200]
    return detail if isinstance(detail, str) else json.dumps(detail)
