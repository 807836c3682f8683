"""Events of a client on ``/stream``, checked for form; ranges are checked where they are used."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import msgspec
from msgspec import UNSET, UnsetType

from whispergpt.engine.messages import Pace
from whispergpt.server.admission.held_bytes import MAX_TEXT_BYTES
from whispergpt.server.errors import ApiError, bad_value
from whispergpt.server.session.mistakes import first_mistake, shown

OutputFormat: TypeAlias = Literal["pcm_s16le", "opus"]
"""Format of binary messages to the client: samples, or the pages of one Ogg Opus stream a response."""
InputFormat: TypeAlias = Literal["file", "pcm_s16le"]


class InputFields(msgspec.Struct, forbid_unknown_fields=True):
    format: InputFormat | UnsetType = UNSET
    sample_rate: int | UnsetType = UNSET


class OutputFields(msgspec.Struct, forbid_unknown_fields=True):
    format: OutputFormat | UnsetType = UNSET


class SessionFields(msgspec.Struct, forbid_unknown_fields=True):
    """Fields of ``session.update``: those left out stay as they are, null goes back to the default."""

    model: str | UnsetType | None = UNSET
    input: InputFields | UnsetType = UNSET
    output: OutputFields | UnsetType = UNSET
    seed: int | UnsetType | None = UNSET
    temperature: float | UnsetType | None = UNSET
    top_k: int | UnsetType | None = UNSET
    top_p: float | UnsetType | None = UNSET
    pace: Pace | UnsetType = UNSET


class ResponseFields(msgspec.Struct, forbid_unknown_fields=True):
    """Fields of ``response.create``. With ``resume_token`` an earlier response goes on, from ``from_frame``."""

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
    """Report of a listener on the response so far; underruns left out, or null, are unchanged."""

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

_EVENTS: dict[str, type[msgspec.Struct]] = {str(event.__struct_config__.tag): event for event in get_args(ClientEvent)}
"""Events by their type."""
_BASE64_AUDIO = "input_audio_buffer.append"
"""Event that carries audio in OpenAI's Realtime API."""


def parse_event(text: str) -> ClientEvent:
    """Return a text message as an event.

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
        raise bad_value(
            None, "The text message is not valid JSON; audio goes into binary messages.", "invalid_json"
        ) from None
    if not isinstance(message, dict):
        raise bad_value(None, "The message must be a JSON object with a 'type'.", "invalid_json")
    kind = message.get("type")
    if kind == _BASE64_AUDIO:
        told = f"/stream takes audio as binary messages, not as base64 in {_BASE64_AUDIO}; send the bytes themselves."
        raise bad_value("type", told, "unknown_type")
    if kind is None:
        raise bad_value("type", f"The message has no 'type'; there is {', '.join(_EVENTS)}.", "missing_field")
    known = _EVENTS.get(kind) if isinstance(kind, str) else None
    if known is None:
        named = f"'{kind[:100]}'" if isinstance(kind, str) else shown(kind)
        raise bad_value("type", f"There is no type {named}; there is {', '.join(_EVENTS)}.", "unknown_type")
    try:
        event: ClientEvent = msgspec.convert(message, ClientEvent)
    except msgspec.ValidationError:
        raise first_mistake(message, known) from None
    return event


def require_audio(data: bytes) -> None:
    """Refuse a binary message that is an event.

    Raises:
        ApiError: it is one whole JSON object with a type, which is not audio.
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
