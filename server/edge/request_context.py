"""Context of every request: its id in logs and answer, its clean-up, its log line, and unexpected errors."""

from __future__ import annotations

import re
import time
import uuid
from contextlib import AsyncExitStack

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whispergpt.server.errors import internal
from whispergpt.server.observe import logs
from whispergpt.server.observe.tracing import TRACED
from whispergpt.server.services import services_of

log = logs.get("server.request")
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SHARED = re.compile(r"(/v1/streams/)[^/]*")
"""Start of a path that has the token of a feed, which logs must not have."""
_PROBES = ("/health/live", "/health/ready", "/metrics")
_FILES = "/static/"
"""Start of the paths of a page's files, of which one load of the page takes some forty."""


class RequestContext:
    """ASGI middleware that sets ``state.request_id``, and ``state.cleanup``, a stack closed at the request's end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        asked = headers.get("x-request-id", "")
        request_id = asked if _SANE_ID.fullmatch(asked) else uuid.uuid4().hex
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status: int | None = None
        begun = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
                status = message.get("status", 101)
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            async with AsyncExitStack() as cleanup:
                state["cleanup"] = cleanup
                if scope["path"] in TRACED:
                    tracing = services_of(scope["app"]).tracing
                    name = f"{scope.get('method', 'WEBSOCKET')} {scope['path']}"
                    cleanup.enter_context(tracing.request(name, headers, request_id=request_id))
                await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("request failed", path=_told(scope))
            if scope["type"] == "websocket" or status is not None:
                raise
            await internal().response()(scope, receive, send_with_id)
        finally:
            served = scope["path"].startswith(_FILES) and (status or 500) < 400
            say = log.debug if served or scope["path"] in _PROBES else log.info
            say(
                "request",
                method=scope.get("method", "WEBSOCKET"),
                path=_told(scope),
                status=status,
                seconds=round(time.perf_counter() - begun, 4),
            )


def _told(scope: Scope) -> str:
    """Return a request's path as logs have it."""
    return _SHARED.sub(r"\1…", scope["path"])
