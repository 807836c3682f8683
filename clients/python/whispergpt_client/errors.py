"""The one exception of this package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidStatus


class WhisperGPTError(Exception):
    """The server refused or failed, or could not be reached; ``str(error)`` is a sentence for people.

    Attributes:
        type: the kind of error as the server names it; ``connection_error`` where no answer came at all.
        code: the precise reason, for programs.
        message: the sentence.
        param: the field that is wrong, where one is.
        status: the HTTP status, or the close code of the WebSocket; None where there was neither.
        retry_after: seconds to wait before trying again, where the server said so.
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
    """Turn ``{"error": {"type", "code", "message", "param"}}`` into an exception, whatever else came instead."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        what = "an event" if status is None else f"status {status}"
        message = f"The server answered with {what} that this client does not understand."
        return WhisperGPTError("protocol_error", "unexpected_answer", message, status=status, retry_after=retry_after)
    param = error.get("param")
    return WhisperGPTError(
        str(error.get("type", "server_error")),
        str(error.get("code", "unknown")),
        str(error.get("message", "The server gave no reason.")),
        param=None if param is None else str(param),
        status=status,
        retry_after=retry_after,
    )


def timed_out(waiting_for: str, seconds: float) -> WhisperGPTError:
    """Nothing came for ``seconds`` while waiting for something."""
    return WhisperGPTError("connection_error", "timeout", f"No {waiting_for} from the server for {seconds:g} seconds.")


def unreachable(url: str, cause: Exception) -> WhisperGPTError:
    """No connection, or one that broke."""
    reason = str(cause) or type(cause).__name__
    return WhisperGPTError("connection_error", "unreachable", f"No connection with {url}: {reason}")


def seconds_to_wait(retry_after: str) -> float | None:
    """What ``Retry-After`` says; None where it is missing, or a date, which the server does not send."""
    return float(retry_after) if retry_after.isdigit() else None


def refused_upgrade(url: str, refusal: InvalidStatus) -> WhisperGPTError:
    """An answer of HTTP where a WebSocket was asked for: the server's own refusal, or that of something in between."""
    answer = refusal.response
    try:
        body = json.loads(answer.body or b"")
    except ValueError:
        body = None
    if not isinstance(body, Mapping) or "error" not in body:  # a proxy's, say
        return unreachable(url, refusal)
    again = seconds_to_wait(answer.headers.get("Retry-After", ""))
    return error_from_envelope(body, status=answer.status_code, retry_after=again)


def closed_here() -> WhisperGPTError:
    """``close`` was called before there was a connection to play on."""
    return WhisperGPTError("connection_error", "closed", "The stream was closed before it was connected.")


def closed_early(closed: ConnectionClosed) -> WhisperGPTError:
    """The server closed the WebSocket before the response was done and said nothing before."""
    frame = closed.rcvd
    detail = "no close code" if frame is None else f"{frame.code} {frame.reason}".strip()
    message = f"The server closed the connection before the response was done ({detail})."
    return WhisperGPTError("connection_error", "closed", message, status=None if frame is None else frame.code)
