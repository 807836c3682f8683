"""Methods of addresses: HEAD wherever GET is, and an ``Allow`` that is true."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class HeadRequests:
    """ASGI middleware that answers HEAD as GET without a body, unless a route has its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            routes = scope["app"].router.routes
            if not _has(routes, scope, "HEAD") and _has(routes, scope, "GET"):
                scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


def allowed_methods(routes: Sequence[BaseRoute], scope: Scope) -> str:
    """Return the methods that an address has, as ``Allow`` lists them."""
    allowed = [method for method in _METHODS if _has(routes, scope, method)]
    if "GET" in allowed and "HEAD" not in allowed:
        allowed.insert(1, "HEAD")
    return ", ".join(allowed)


def _has(routes: Sequence[BaseRoute], scope: Scope, method: str) -> bool:
    asked = {**scope, "method": method}
    return any(route.matches(asked)[0] is Match.FULL for route in routes)
