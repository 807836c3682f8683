"""OpenAPI of ``/continue`` and ``/v1/play``, whose form is read by hand, so that every error names its field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whispergpt.server.audio.encoders import MEDIA_TYPES
from whispergpt.server.http.refusals import refusals
from whispergpt.server.parameters import DEFAULT_SECONDS, RANGES


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
        "stream": {
            "type": "boolean",
            "default": False,
            "description": "Send the body as it is generated; an address of /v1/play always does.",
        },
    },
}
"""Schema of the form of ``/continue`` and ``/v1/play``."""
FORM_FIELDS = tuple(_FORM["properties"])
"""Names of the form's fields."""


def continue_form(models: Sequence[str]) -> dict[str, Any]:
    """Return the schema of the form on a server with these models; without any, a model may have any name."""
    fields = _FORM["properties"]
    named = fields["model"] | {"enum": list(models)} if models else fields["model"]
    return _FORM | {"properties": fields | {"model": named}}


_TEXT = {"type": "string"}
_WHOLE = {"type": "integer"}
_HEADERS = {
    "X-Seed": ("Seed that was used.", _WHOLE),
    "X-Sample-Rate": ("Samples per second of pcm.", _WHOLE),
    "X-Fingerprint": ("Fingerprint of the engine. Equal fingerprint, prompt and parameters give equal samples.", _TEXT),
    "Server-Timing": ("queue, encode, prefill, first_audio, generate, in milliseconds.", _TEXT),
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_SOUND = dict.fromkeys(MEDIA_TYPES.values(), _BINARY)
_AUDIO: dict[int | str, Any] = {
    200: {
        "description": "The continuation",
        "headers": {name: {"description": text, "schema": kind} for name, (text, kind) in _HEADERS.items()},
        "content": _SOUND,
    }
}
_FIRST_BYTES: dict[int | str, Any] = {
    206: {
        "description": "The first one or two bytes, which `Range: bytes=0-1` asks for; the address stays good",
        "headers": {"Content-Range": {"description": "bytes 0-1/*", "schema": _TEXT}},
        "content": {name: kind for name, kind in _SOUND.items() if name != MEDIA_TYPES["pcm"]},
    }
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": {"schema": {"$ref": "#/components/schemas/ContinueForm"}}},
    }
}
_UPLOAD_REFUSALS = refusals(401, 408, 413, 415, 422, 429, 503)
CONTINUE_DOCS: dict[str, Any] = {"openapi_extra": _BODY, "responses": _AUDIO | _UPLOAD_REFUSALS}
PLAY_FORM_DOCS: dict[str, Any] = {"openapi_extra": _BODY, "responses": _UPLOAD_REFUSALS}
_TOKEN = {
    "name": "token",
    "in": "query",
    "required": True,
    "schema": _TEXT,
    "description": "Token of the address.",
}
_RANGE = {"name": "Range", "in": "header", "schema": _TEXT, "description": "`bytes=0-1`; any other is ignored."}
_FEED_TOKEN = {
    "name": "token",
    "in": "path",
    "required": True,
    "schema": _TEXT,
    "description": "Token of `response.feed.created`.",
}
_FEED_QUERY = [
    {
        "name": "format",
        "in": "query",
        "schema": _FORM["properties"]["response_format"],
        "description": "Format of the audio.",
    },
    {
        "name": "from",
        "in": "query",
        "schema": {"type": "number", "minimum": 0},
        "description": "Second of the response to begin with, which must be kept; without it, where the owner is.",
    },
    {
        "name": "Range",
        "in": "header",
        "schema": _TEXT,
        "description": "Bytes of pcm, counted from the response's first sample; what is kept of them is sent.",
    },
]
_FEED_HEADERS = {
    "Accept-Ranges": ("`bytes` for pcm, else `none`.", _TEXT),
    "X-From-Seconds": ("Second of the response that the audio begins with.", {"type": "number"}),
    **{name: _HEADERS[name] for name in ("X-Seed", "X-Sample-Rate", "X-Fingerprint")},
}
_FEED_SOUND: dict[int | str, Any] = {
    status: {
        "description": text,
        "headers": {name: {"description": words, "schema": kind} for name, (words, kind) in _FEED_HEADERS.items()},
        "content": _SOUND,
    }
    for status, text in {200: "The audio, to the response's end", 206: "The part of a Range that is kept"}.items()
}
FEED_DOCS: dict[str, Any] = {"responses": refusals(404, 429)}
FEED_AUDIO_DOCS: dict[str, Any] = {
    "openapi_extra": {"parameters": [_FEED_TOKEN, *_FEED_QUERY]},
    "responses": _FEED_SOUND | refusals(404, 416, 429),
}
PLAY_DOCS: dict[str, Any] = {
    "openapi_extra": {"parameters": [_TOKEN, _RANGE]},
    "responses": _AUDIO | _FIRST_BYTES | refusals(401, 404, 416, 429, 503),
}
