"""What a client may say on ``/stream``, checked for form; ranges are checked where they are used."""

from __future__ import annotations

import json
import re
from typing import Any, Literal, TypeAlias, get_args

import msgspec
from msgspec import UNSET, UnsetType

from whispergpt.engine.messages import Pace
from whispergpt.server.admission.held_bytes import MAX_TEXT_BYTES
from whispergpt.server.errors import ApiError, bad_value

OutputFormat: TypeAlias = Literal["pcm_s16le", "opus"]
"""Of binary messages to the client: samples, or the pages of one Ogg Opus stream a response."""
InputFormat: TypeAlias = Literal["file", "pcm_s16le"]


class InputFields(msgspec.Struct, forbid_unknown_fields=True):
    format: InputFormat | UnsetType = UNSET
    sample_rate: int | UnsetType = UNSET


class OutputFields(msgspec.Struct, forbid_unknown_fields=True):
    format: OutputFormat | UnsetType = UNSET


class SessionFields(msgspec.Struct, forbid_unknown_fields=True):
    """What is left out stays as it is; null goes back to the default."""

    model: str | UnsetType | None = UNSET
    input: InputFields | UnsetType = UNSET
    output: OutputFields | UnsetType = UNSET
    seed: int | UnsetType | None = UNSET
    temperature: float | UnsetType | None = UNSET
    top_k: int | UnsetType | None = UNSET
    top_p: float | UnsetType | None = UNSET
    pace: Pace | UnsetType = UNSET


class ResponseFields(msgspec.Struct, forbid_unknown_fields=True):
    """With ``resume_token`` a response of another time or place goes on, from ``from_frame``."""

    seconds: float | None = None
    resume_token: str | None = None
    from_frame: int | None = None


class _Event(msgspec.Struct, tag_field="type", forbid_unknown_fields=True):
    event_id: str | None = None


class SessionUpdate(_Event, tag="session.update", kw_only=True):
    session: SessionFields


class BufferClear(_Event, tag="input_audio_buffer.clear"):
    pass


class BufferCommit(_Event, tag="input_audio_buffer.commit"):
    pass


class ResponseCreate(_Event, tag="response.create", kw_only=True):
    response: ResponseFields = msgspec.field(default_factory=ResponseFields)


class ResponseCancel(_Event, tag="response.cancel"):
    pass


class ResponseFork(_Event, tag="response.fork"):
    seed: int | None = None


class ResponsePause(_Event, tag="response.pause"):
    pass


class ResponseResume(_Event, tag="response.resume"):
    pass


class PlaybackReport(_Event, tag="playback.report", kw_only=True):
    """What a listener heard of the response so far; underruns left out, or null, are as many as before."""

    played_frames: int
    underruns: int | None = None


ClientEvent: TypeAlias = (
    SessionUpdate
    | BufferClear
    | BufferCommit
    | ResponseCreate
    | ResponseCancel
    | ResponseFork
    | ResponsePause
    | ResponseResume
    | PlaybackReport
)

_TYPES = (
    "session.update",
    "input_audio_buffer.clear",
    "input_audio_buffer.commit",
    "response.create",
    "response.cancel",
    "response.fork",
    "response.pause",
    "response.resume",
    "playback.report",
)
_BASE64_AUDIO = "input_audio_buffer.append"
"""The event with which audio is sent to OpenAI's Realtime API."""
_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<where>[^`]*)`)?$", re.DOTALL)
_FIELD = re.compile(r"field `([^`]*)`")
_MISMATCH = re.compile(r"^Expected `([^`]*)`, got `[^`]*`$")
_TYPE_NAMES = {
    "str": "text",
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "session.input.format": get_args(InputFormat),
    "session.output.format": get_args(OutputFormat),
    "session.pace": get_args(Pace),
}
_SHOWN = 40
"""Characters of a text that is told back to who sent it."""
_SHOWN_NAME = 100
"""Characters of the name of a field, as above."""


def parse_event(text: str) -> ClientEvent:
    """One text message as an event.

    Raises:
        ApiError: it is not JSON, has no known type, or a field is unknown, missing or of the wrong type.
    """
    if len(text) > MAX_TEXT_BYTES:
        raise ApiError(413, "too_large", f"A text message holds at most {MAX_TEXT_BYTES} characters.")
    try:
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        if "out of range" in str(error):
            raise bad_value(None, "The message holds a number that is too large.", "out_of_range") from None
        raise bad_value(None, "The text message is not valid JSON.", "invalid_json") from None
    if not isinstance(message, dict):
        raise bad_value(None, "The message must be a JSON object with a 'type'.", "invalid_json")
    kind = message.get("type")
    if kind == _BASE64_AUDIO:
        told = f"/stream takes audio as binary messages, not as base64 in {_BASE64_AUDIO}; send the bytes themselves."
        raise bad_value("type", told, "unknown_type")
    if kind is None:
        raise bad_value("type", f"The message has no 'type'; there is {', '.join(_TYPES)}.", "missing_field")
    if kind not in _TYPES:
        shown = f"'{kind[:100]}'" if isinstance(kind, str) else _shown(message, "type")
        raise bad_value("type", f"There is no type {shown}; there is {', '.join(_TYPES)}.", "unknown_type")
    try:
        event: ClientEvent = msgspec.convert(message, ClientEvent)
    except msgspec.ValidationError as error:
        raise _explain(str(error), message) from None
    return event


def require_audio(data: bytes) -> None:
    """Refuse a binary message that is an event.

    Raises:
        ApiError: it is one whole JSON object with a type, which nobody sends as audio.
    """
    if len(data) > MAX_TEXT_BYTES or not (data.startswith(b"{") and data.rstrip().endswith(b"}")):
        return
    try:
        message = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return
    if isinstance(message, dict) and isinstance(message.get("type"), str):
        told = "The event came as a binary message, which is for audio; send JSON as a text message."
        raise bad_value("type", told, "event_as_binary")


def _explain(text: str, message: dict[str, Any]) -> ApiError:
    """msgspec's sentence about ``message``, with the place as ``param`` and with what stands there."""
    match = _PLACE.match(text)
    what, where = (match["what"], match["where"] or "") if match else (text, "")
    if where in _CHOICES:
        return bad_value(where, f"{where} must be {' or '.join(_CHOICES[where])}, not {_shown(message, where)}.")
    if named := _FIELD.search(what):
        name = named[1][:_SHOWN_NAME]
        where = f"{where}.{name}" if where else name
        missing = "missing" in what
        code = "missing_field" if missing else "unknown_field"
        sentence = f"The field '{where}' is missing." if missing else f"There is no field '{where}' here."
        return bad_value(where, sentence, code)
    if mismatch := _MISMATCH.match(what):
        return bad_value(where or None, f"{where} must be {_in_words(mismatch[1])}, not {_shown(message, where)}.")
    return bad_value(where or None, f"{where or 'The message'}: {what[:1].lower()}{what[1:]}.")


def _in_words(types: str) -> str:
    """msgspec's names of types, as a person would say them."""
    return " or ".join(_TYPE_NAMES.get(name, name) for name in types.split(" | "))


def _shown(message: dict[str, Any], where: str) -> str:
    """The value at ``where``, as the client wrote it, if that is short."""
    value: Any = message
    for name in where.split("."):
        value = value[name]
    match value:
        case dict():
            return "an object"
        case list():
            return "a list"
        case str():
            return f"'{value[:_SHOWN]}'"
        case None | bool():
            return json.dumps(value)
        case _:
            return str(value) if abs(value) < 1e18 else "a huge number"
