"""Refusals in the OpenAPI schema: the error envelope, with an example for each status."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from whispergpt.server.errors import ApiError, internal


class Error(BaseModel):
    """Error, for programs and for people."""

    type: str = Field(description="Kind of error; follows from the status.")
    code: str = Field(description="Reason, for programs.")
    message: str = Field(description="One sentence that says what is wrong and why.")
    param: str | None = Field(description="Field at fault, or null.")


class ErrorEnvelope(BaseModel):
    """Body of every answer whose status is 400 or more."""

    error: Error


_REFUSALS = {
    400: (
        "A field is missing, unknown or unusable, or the request is not valid HTTP",
        ApiError(400, "out_of_range", "seconds must be above 0 and at most 600, not 601.0.", "seconds"),
    ),
    401: (
        "The server requires a key, or does not know this one",
        ApiError(401, "no_key", "This server asks for a key; send `Authorization: Bearer KEY`."),
    ),
    403: (
        "The host or the page's origin is not allowed",
        ApiError(
            403,
            "wrong_origin",
            "Pages of that origin may not use this server; WHISPERGPT_CORS_ORIGINS names those that may.",
        ),
    ),
    404: (
        "The address was played already, is too old, or is another server's",
        ApiError(
            404,
            "wrong_token",
            "This address was played already, is too old, or is not of this server; POST /v1/play makes another.",
        ),
    ),
    408: (
        "The body did not arrive in time",
        ApiError(408, "upload_timeout", "The body did not arrive within 60 s.", "audio"),
    ),
    413: (
        "The prompt is too large or too long",
        ApiError(413, "too_large", "The prompt is larger than 33554432 bytes; send at most that much.", "audio"),
    ),
    414: (
        "The address is too long",
        ApiError(414, "uri_too_long", "The address is longer than 8192 bytes."),
    ),
    415: (
        "The prompt is empty or not audio",
        ApiError(415, "not_audio", "This is not audio; wav, aiff, flac, ogg, mp3, aac, m4a, webm are read.", "audio"),
    ),
    416: (
        "The first bytes of pcm were requested before playback",
        ApiError(
            416,
            "no_range",
            "The first bytes of pcm are sound, which is not there before it plays; ask without a Range.",
        ),
    ),
    422: (
        "The prompt cannot be decoded or is too short",
        ApiError(422, "too_short", "The prompt is 0.25 s long; at least 0.5 s are needed.", "audio"),
    ),
    429: (
        "No capacity, or a limit of the key is reached",
        ApiError(429, "no_capacity", "All slots are taken; try again in 5 s.", retry_after=5),
    ),
    431: (
        "The headers are too many or too long",
        ApiError(431, "too_many_headers", "The request has more than 128 headers."),
    ),
    500: ("An error of the server", internal()),
    503: (
        "The server starts, restarts, shuts down, or has too many connections",
        ApiError(503, "starting", "The server is loading its models; try again in a moment.", retry_after=2),
    ),
}
"""Description and example of each status."""
_HEADERS = {
    401: {"WWW-Authenticate": {"description": "Bearer", "schema": {"type": "string"}}},
    429: {"Retry-After": {"description": "Seconds until a retry may help.", "schema": {"type": "integer"}}},
    503: {"Retry-After": {"description": "Seconds until a retry may help.", "schema": {"type": "integer"}}},
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of a route's refusals."""
    return {status: _refusal(status) for status in statuses}


def _refusal(status: int) -> dict[str, Any]:
    return {"model": ErrorEnvelope, "description": _REFUSALS[status][0], "headers": _HEADERS.get(status, {})}


def example_of(status: int) -> dict[str, Any]:
    """Return an example of a refusal's body; FastAPI would leave out ``param`` where it is null."""
    return {"error": _REFUSALS[status][1].body()}


EVERY_ROUTE = refusals(400, 403, 414, 431, 500)
"""Refusals that any route may answer, before it is known which one was asked for."""
