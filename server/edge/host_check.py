"""Check of ``Host``: a server without keys refuses requests that name another host than this machine.

A page whose host name is made to resolve to this machine (DNS rebinding) is of the same origin for a browser, and
could read the server's answers. Its requests show by their ``Host``.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from whispergpt.server.access.guard import is_loopback, is_own_name
from whispergpt.server.admission.accounting import count_refusal
from whispergpt.server.errors import POLICY_VIOLATION, ApiError
from whispergpt.server.services import services_of
from whispergpt.server.settings import Settings


class HostCheck:
    """ASGI middleware that checks ``Host`` where the settings name hosts, and on an open server on loopback."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        here_alone = settings.keys is None and not settings.open and is_loopback(settings.host)
        self._checks = bool(settings.hosts) or (here_alone and "*" not in settings.cors_origins)
        self._names = {_name(urlsplit(origin).netloc) for origin in settings.cors_origins} | {
            _name(host) for host in settings.hosts
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = Headers(scope=scope).get("host") if self._checks and scope["type"] in ("http", "websocket") else None
        if host is None or self._is_ours(_name(host)):
            await self._app(scope, receive, send)
            return
        told = (
            "This server answers requests to localhost and loopback addresses, and to the hosts that "
            "WHISPERGPT_HOSTS and WHISPERGPT_CORS_ORIGINS name."
        )
        error = ApiError(403, "wrong_host", told, close_code=POLICY_VIOLATION)
        count_refusal(services_of(scope["app"]).metrics, error)
        await error.response()(scope, receive, send)

    def _is_ours(self, name: str | None) -> bool:
        return name is not None and (name in self._names or is_own_name(name))


def _name(host: str) -> str | None:
    """Return the name in a ``Host`` header, in lower case and without a port; None where there is none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
