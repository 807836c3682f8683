"""Exception of this package, and the functions that make one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from websockets.exceptions import ConnectionClosed, InvalidStatus

_KEY_CODES = ("no_key", "wrong_key")
"""Codes of errors of a server that asks for another key."""
_ERROR_NUMBER = re.compile(r"^\[Errno -?\d+\] ")


class WhisperGPTError(Exception):
    """Error of a server that refused or failed, or could not be reached; ``str(error)`` is a sentence for people.

    Attributes:
        type: kind of error as the server names it; ``connection_error`` if no answer came.
        code: precise reason, for programs.
        message: reason as a sentence.
        param: name of the wrong field, or None.
        status: HTTP status, or close code of the WebSocket; None without either.
        retry_after: seconds to wait before another try, if the server said so, or None.
    """

    def __init__(
        self,
        type: str,
        code: str,
        message: str,
        *,
        param: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.type = type
        self.code = code
        self.message = message
        self.param = param
        self.status = status
        self.retry_after = retry_after


def error_from_envelope(body: Any, *, status: int | None = None, retry_after: float | None = None) -> WhisperGPTError:
    """Return ``{"error": {"type", "code", "message", "param"}}``, or whatever came instead of it, as an exception."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        what = "an event" if status is None else f"status {status}"
        message = f"The server answered with {what} that this client does not understand."
        return WhisperGPTError("protocol_error", "unexpected_answer", message, status=status, retry_after=retry_after)
    param, code = error.get("param"), str(error.get("code", "unknown"))
    message = str(error.get("message", "The server gave no reason."))
    if code in _KEY_CODES:
        message = f"{message.rstrip('.')} (api_key of the client, --api-key or WHISPERGPT_API_KEY names it)."
    return WhisperGPTError(
        str(error.get("type", "server_error")),
        code,
        message,
        param=None if param is None else str(param),
        status=status,
        retry_after=retry_after,
    )


def timed_out(waiting_for: str, seconds: float) -> WhisperGPTError:
    """Return the error of a wait in which nothing came for ``seconds``."""
    return WhisperGPTError("connection_error", "timeout", f"No {waiting_for} from the server for {seconds:g} seconds.")


def unreachable(url: str, cause: Exception) -> WhisperGPTError:
    """Return the error of a connection that could not be made, or broke."""
    reason = _ERROR_NUMBER.sub("", str(cause)) or type(cause).__name__
    remedy = "is `whispergpt serve` running there?"
    if "WRONG_VERSION_NUMBER" in reason:
        reason, remedy = "it does not speak TLS", "use http:// instead of https://"
    if proxy := _proxy_of(url):
        url = f"{url} through the proxy {proxy}, which the environment names (NO_PROXY lists hosts to reach without it)"
    return WhisperGPTError(
        "connection_error", "unreachable", f"No connection with {url}: {reason.rstrip('.')}; {remedy}"
    )


def _proxy_of(url: str) -> str | None:
    """Return the proxy through which the environment leads requests for ``url``, without its password."""
    parts = urlsplit(url)
    proxies = {} if proxy_bypass(parts.hostname or "") else getproxies()
    proxy = proxies.get(parts.scheme.replace("ws", "http")) or proxies.get("all")
    return proxy and urlunsplit(urlsplit(proxy)._replace(netloc=urlsplit(proxy).netloc.rpartition("@")[2]))


def seconds_to_wait(retry_after: str) -> float | None:
    """Return the seconds of a ``Retry-After``; None if it is missing, or a date, which the server does not send."""
    return float(retry_after) if retry_after.isdigit() else None


def refused_upgrade(url: str, refusal: InvalidStatus) -> WhisperGPTError:
    """Return the error of an HTTP answer to a WebSocket handshake, from the server or from a proxy before it."""
    answer = refusal.response
    try:
        body = json.loads(answer.body or b"")
    except ValueError:
        body = None
    if not isinstance(body, Mapping) or "error" not in body:  # from a proxy, for example
        return unreachable(url, refusal)
    again = seconds_to_wait(answer.headers.get("Retry-After", ""))
    return error_from_envelope(body, status=answer.status_code, retry_after=again)


def closed_early(closed: ConnectionClosed) -> WhisperGPTError:
    """Return the error of a WebSocket that the server closed before the response was done, without an error event."""
    frame = closed.rcvd
    detail = "no close code" if frame is None else f"{frame.code} {frame.reason}".strip()
    message = f"The server closed the connection before the response was done ({detail})."
    return WhisperGPTError("connection_error", "closed", message, status=None if frame is None else frame.code)
