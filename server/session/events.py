"""Events of a client on ``/stream``, checked for form; ranges are checked where they are used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import msgspec
from msgspec import UNSET, UnsetType

from whispergpt.engine.stream_plan import Pace
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
    """Fields of ``response.create``. Sampling that is left out is the session's. With ``resume_token`` an earlier
    response goes on, from ``from_frame``. With ``feed`` others can listen to it."""

    seconds: float | None = None
    seed: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    resume_token: str | None = None
    from_frame: int | None = None
    feed: bool = False


class Event(msgspec.Struct, tag_field="type", forbid_unknown_fields=True):
    """An event that a client may give an id."""

    event_id: str | None = None


class SessionUpdate(Event, tag="session.update", kw_only=True):
    session: SessionFields


class BufferClear(Event, tag="input_audio_buffer.clear"):
    pass


class BufferCommit(Event, tag="input_audio_buffer.commit"):
    pass


class ResponseCreate(Event, tag="response.create", kw_only=True):
    response: ResponseFields = msgspec.field(default_factory=ResponseFields)


class ResponseCancel(Event, tag="response.cancel"):
    pass


class ResponseFork(Event, tag="response.fork"):
    seed: int | None = None


class ResponsePause(Event, tag="response.pause"):
    pass


class ResponseResume(Event, tag="response.resume"):
    pass


class ResponseFeed(Event, tag="response.feed"):
    pass


class ResponseFeedCancel(Event, tag="response.feed.cancel"):
    pass


class PlaybackReport(Event, tag="playback.report", kw_only=True):
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
    | ResponseFeed
    | ResponseFeedCancel
    | PlaybackReport
)

_BASE64_AUDIO = "input_audio_buffer.append"
"""Event that carries audio in OpenAI's Realtime API."""
_BASE64_TOLD = (
    f"/stream takes audio as binary messages, not as base64 in {_BASE64_AUDIO}; send the bytes themselves, or open "
    "/v1/realtime, which serves clients of OpenAI's Realtime API."
)


def by_type(union: Any) -> dict[str, type[msgspec.Struct]]:
    """Return the events of a union by their types."""
    return {str(event.__struct_config__.tag): event for event in get_args(union)}


_EVENTS = by_type(ClientEvent)


def parse_event(text: str) -> ClientEvent:
    """Return a text message as an event.

    Raises:
        ApiError: it is not JSON, has no known type, or a field is unknown, missing or of the wrong type.
    """
    require_text_size(text)
    message = parse_object(text)
    if message.get("type") == _BASE64_AUDIO:
        raise bad_value("type", _BASE64_TOLD, "unknown_type")
    event: ClientEvent = convert_event(message, _EVENTS)
    return event


def require_text_size(text: str) -> None:
    """Refuse a text that is longer than any control message.

    Raises:
        ApiError: 413.
    """
    if len(text) > MAX_TEXT_BYTES:
        raise ApiError(413, "too_large", f"A text message holds at most {MAX_TEXT_BYTES} characters.")


def parse_object(text: str, audio_goes: str = "into binary messages") -> dict[str, Any]:
    """Return the object of a text message; ``audio_goes`` says in an error where the route takes audio.

    Raises:
        ApiError: it is not a JSON object.
    """
    try:
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        if "out of range" in str(error):
            raise bad_value(None, "The message holds a number that is too large.", "out_of_range") from None
        told = f"The text message is not valid JSON; audio goes {audio_goes}."
        raise bad_value(None, told, "invalid_json") from None
    if not isinstance(message, dict):
        raise bad_value(None, "The message must be a JSON object with a 'type'.", "invalid_json")
    return message


def convert_event(message: dict[str, Any], events: Mapping[str, type[msgspec.Struct]]) -> Any:
    """Return a message as one of ``events``, which are given by their types.

    Raises:
        ApiError: its type is missing or not among them, or a field is unknown, missing or of the wrong type.
    """
    kind = message.get("type")
    if kind is None:
        raise bad_value("type", f"The message has no 'type'; there is {', '.join(events)}.", "missing_field")
    known = events.get(kind) if isinstance(kind, str) else None
    if known is None:
        named = f"'{kind[:100]}'" if isinstance(kind, str) else shown(kind)
        raise bad_value("type", f"There is no type {named}; there is {', '.join(events)}.", "unknown_type")
    try:
        return msgspec.convert(message, known)
    except msgspec.ValidationError:
        raise first_mistake(message, known) from None


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
