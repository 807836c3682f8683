"""OpenAPI of ``/continue`` and ``/v1/play``, whose form is read by hand, so that every error names its field."""

from __future__ import annotations

from typing import Any

from whispergpt.server.audio.encoders import MEDIA_TYPES
from whispergpt.server.parameters import DEFAULT_SECONDS, RANGES

_STREAM = "Send the body as it is generated."
_STREAM_OF_PLAY = "Changes nothing: what an address plays comes as it is generated."


def _number(name: str, description: str) -> dict[str, Any]:
    """Return the schema of a field that is a number, with its range."""
    return {**RANGES[name].kind, **RANGES[name].bounds, "description": description}


_FORM: dict[str, Any] = {
    "type": "object",
    "required": ["audio"],
    "additionalProperties": False,
    "properties": {
        "audio": {"type": "string", "format": "binary", "description": "A recording of 0.5 to 60 seconds, any format."},
        "seconds": _number("seconds", "How much to generate, without the prompt.") | {"default": DEFAULT_SECONDS},
        "seed": _number("seed", "Random where left out."),
        "temperature": _number("temperature", "0 is greedy."),
        "top_k": _number("top_k", "0 is off."),
        "top_p": _number("top_p", "1 is off."),
        "model": {"type": "string", "description": "One of /v1/models; the first where left out."},
        "include_prompt": {
            "type": "boolean",
            "default": False,
            "description": "Put the prompt in front, as the codec gives it back.",
        },
        "response_format": {
            "type": "string",
            "enum": ["wav", "flac", "mp3", "opus", "ogg", "pcm"],
            "default": "wav",
            "description": "pcm is s16le mono 24 kHz; opus, or ogg, is Ogg Opus. Case does not matter.",
        },
        "stream": {"type": "boolean", "default": False},
    },
}
FORM_FIELDS = tuple(_FORM["properties"])
"""Names of the form's fields."""

ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "type": {"type": "string"},
                "code": {"type": "string"},
                "message": {"type": "string"},
                "param": {"type": ["string", "null"]},
            },
        }
    },
}

_ERRORS = {
    400: "A field is missing, unknown or unusable",
    401: "The server asks for a key, or does not know this one",
    404: "The address was played already, is too old, or is another server's",
    413: "The prompt is too large or too long",
    415: "The prompt is empty or not audio",
    422: "The prompt cannot be decoded or is too short",
    429: "No capacity; see Retry-After",
    503: "Starting or draining; see Retry-After",
}

_HEADERS = {
    "X-Request-Id": "the request's name in the logs",
    "X-Seed": "the seed that was used",
    "X-Sample-Rate": "samples per second of pcm",
    "X-Fingerprint": "of the engine that made it; same fingerprint, same prompt, same parameters: same samples",
    "Server-Timing": "queue, encode, prefill, first_audio, generate, in milliseconds",
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_AUDIO: dict[int | str, Any] = {
    200: {
        "description": "The continuation",
        "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()},
        "content": dict.fromkeys(MEDIA_TYPES.values(), _BINARY),
    }
}


def _refusals(*statuses: int) -> dict[int | str, Any]:
    return {
        status: {"description": _ERRORS[status], "content": {"application/json": {"schema": ERROR_SCHEMA}}}
        for status in statuses
    }


def _body(stream: str) -> dict[str, Any]:
    """Return the form's schema, with the description of its field ``stream``."""
    fields = _FORM["properties"] | {"stream": _FORM["properties"]["stream"] | {"description": stream}}
    form = {"multipart/form-data": {"schema": _FORM | {"properties": fields}}}
    return {"requestBody": {"required": True, "content": form}}


_UPLOAD_REFUSALS = _refusals(400, 401, 413, 415, 422, 429, 503)
CONTINUE_DOCS: dict[str, Any] = {"openapi_extra": _body(_STREAM), "responses": _AUDIO | _UPLOAD_REFUSALS}
PLAY_FORM_DOCS: dict[str, Any] = {"openapi_extra": _body(_STREAM_OF_PLAY), "responses": _UPLOAD_REFUSALS}
_TOKEN = {
    "name": "token",
    "in": "query",
    "required": True,
    "schema": {"type": "string"},
    "description": "Of the address.",
}
PLAY_DOCS: dict[str, Any] = {
    "openapi_extra": {"parameters": [_TOKEN]},
    "responses": _AUDIO | _refusals(401, 404, 429, 503),
}
