"""Errors for people: one envelope on every status, and the WebSocket close code that goes with it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from whispergpt.engine.audio.audio_file import READABLE, AudioError
from whispergpt.server.edge.methods import allowed_methods

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "capacity_error",
    500: "server_error",
    503: "unavailable_error",
}
GOING_AWAY = 1001
"""Close code of a WebSocket that was idle for too long, or whose server ends."""
POLICY_VIOLATION = 1008
"""Close code of a WebSocket that breaks a rule of this server."""
_CLOSE_CODES = {413: 1009, 429: 1013, 500: 1011, 503: 1013}
_PROMPT_STATUS = {
    "empty_audio": 415,
    "not_audio": 415,
    "undecodable": 422,
    "not_finite": 422,
    "unusable_rate": 422,
    "too_short": 422,
    "too_long": 413,
    "unknown_model": 400,
    "no_capacity": 429,
    "bad_token": 400,
}


class ApiError(Exception):
    """An error as the user sees it.

    Args:
        status: the HTTP status; the error's type and the WebSocket close code follow from it.
        code: the reason, for programs.
        message: one sentence naming what is wrong and why, for people.
        param: the field at fault, if one is.
        retry_after: seconds after which trying again may help.
        close_code: WebSocket close code, in place of the status's own.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        *,
        retry_after: int | None = None,
        close_code: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param
        self.retry_after = retry_after
        self.event_id: str | None = None
        """Id of the WebSocket event that is at fault, where the protocol tells it."""
        self.counted = False
        self.close_code = close_code or _CLOSE_CODES.get(status)

    def body(self) -> dict[str, Any]:
        """Return the ``error`` object of the envelope."""
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        # A client's text may hold half a surrogate pair, which cannot be encoded.
        message = self.message.encode("utf-8", "replace").decode()
        return {"type": kind, "code": self.code, "message": message, "param": self.param}

    def response(self, headers: dict[str, str] | None = None) -> JSONResponse:
        """Return the error as an HTTP answer."""
        headers = dict(headers or {})
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.status == 426:
            headers |= {"Upgrade": "websocket", "Connection": "Upgrade"}
        return JSONResponse({"error": self.body()}, self.status, headers)


def bad_value(param: str | None, message: str, code: str = "bad_value") -> ApiError:
    """Return a 400 for a field that is missing, unknown or unusable."""
    return ApiError(400, code, message, param)


def wrong_order(message: str) -> ApiError:
    """Return a 400 for a WebSocket message that cannot come now; the socket stays open."""
    return ApiError(400, "wrong_order", message, "type")


def from_audio(error: AudioError, param: str | None = "audio") -> ApiError:
    """Return an ``AudioError`` with its status."""
    return audio_error(error.code, str(error), param)


def audio_error(code: str, message: str, param: str | None = "audio") -> ApiError:
    """Return the error of a prompt refused for ``code``; a code that is not about audio is the server's fault."""
    if code == "empty_audio":
        message = f"{message.rstrip('.')}; {READABLE} are read."
    status = _PROMPT_STATUS.get(code, 500)
    return ApiError(
        status,
        code,
        message,
        param if code in _PROMPT_STATUS and status != 429 else None,
        retry_after=5 if status == 429 else None,
    )


def internal() -> ApiError:
    """Return the 500 for unexpected errors; the log has the rest, under the request's id."""
    return ApiError(500, "internal", "Something went wrong in the server; the log has it under this X-Request-Id.")


def engine_lost(
    message: str = "The engine stopped unexpectedly and is being restarted; try again in a moment.",
) -> ApiError:
    """Return the error of a request whose engine died or hung."""
    return ApiError(503, "engine_lost", message, retry_after=2, close_code=1011)


def install(app: FastAPI) -> None:
    """Put the envelope on the errors that FastAPI and Starlette answer themselves."""

    async def api_error(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)
        return error.response()

    async def http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            told = ApiError(404, "not_found", f"There is nothing at {request.url.path}; GET /docs lists what there is.")
        elif error.status_code == 405:
            # Addresses in the folder of files belong to no route; GET alone works there.
            allowed = allowed_methods(request.app.router.routes, request.scope) or "GET, HEAD"
            words = f"{request.method} is not for {request.url.path}; use {allowed}."
            return ApiError(405, "method_not_allowed", words).response({"Allow": allowed})
        else:
            told = ApiError(error.status_code, "http_error", str(error.detail))
        return told.response(dict(error.headers or {}))

    async def validation_error(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"])
        return ApiError(422, "invalid_request", f"{param}: {first['msg']}.", param).response()

    app.add_exception_handler(ApiError, api_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, validation_error)
