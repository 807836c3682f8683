"""Events of a client of OpenAI's Realtime API, checked for form and for what this server cannot do.

The names are those of the API's types (``openai.types.realtime``). Sampling and ``seconds`` are additions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from whispergpt.engine.audio.audio_file import MAX_PROMPT_SECONDS, too_long
from whispergpt.engine.config import FRAME_RATE, SAMPLE_RATE
from whispergpt.engine.stream_plan import Pace
from whispergpt.server.admission.held_bytes import MAX_TEXT_BYTES
from whispergpt.server.errors import POLICY_VIOLATION, ApiError, bad_value, from_audio
from whispergpt.server.parameters import DEFAULT_SECONDS, Range
from whispergpt.server.session import events

APPEND = "input_audio_buffer.append"
TokenLimit: TypeAlias = int | Literal["inf"] | UnsetType | None
"""Most tokens of a response; a token is a frame here."""


class AudioFormat(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[24_000] = 24_000


class AudioInput(msgspec.Struct, forbid_unknown_fields=True):
    format: AudioFormat | None = None
    noise_reduction: Any = None
    transcription: Any = None
    turn_detection: Any = None


class AudioOutput(msgspec.Struct, forbid_unknown_fields=True):
    format: AudioFormat | None = None
    speed: Any = None
    voice: Any = None


class Audio(msgspec.Struct, forbid_unknown_fields=True):
    input: AudioInput | None = None
    output: AudioOutput | None = None


class _InertFields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Fields of sessions and responses that change nothing here, or are refused."""

    instructions: Any = None
    output_modalities: Any = None
    parallel_tool_calls: Any = None
    prompt: Any = None
    reasoning: Any = None
    tool_choice: Any = None
    tools: Any = None


class SessionFields(_InertFields, forbid_unknown_fields=True, kw_only=True):
    """Fields of ``session.update``; those left out stay as they are."""

    type: Literal["realtime"] | None = None
    model: str | UnsetType | None = UNSET
    audio: Audio | None = None
    max_output_tokens: TokenLimit = UNSET
    seed: int | UnsetType | None = UNSET
    temperature: float | UnsetType | None = UNSET
    top_k: int | UnsetType | None = UNSET
    top_p: float | UnsetType | None = UNSET
    pace: Pace | UnsetType = UNSET
    include: Any = None
    tracing: Any = None
    truncation: Any = None


class ResponseFields(_InertFields, forbid_unknown_fields=True, kw_only=True):
    """Fields of ``response.create``; sampling that is left out is the session's."""

    seconds: float | UnsetType | None = UNSET
    max_output_tokens: TokenLimit = UNSET
    seed: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    metadata: Any = None
    audio: Audio | None = None
    conversation: Any = None
    input: Any = None


class BufferAppend(events.Event, tag=APPEND, kw_only=True):
    """Audio; its base64 is decoded with the message."""

    audio: bytes


class BufferClear(events.Event, tag="input_audio_buffer.clear"):
    pass


class BufferCommit(events.Event, tag="input_audio_buffer.commit"):
    pass


class SessionUpdate(events.Event, tag="session.update", kw_only=True):
    session: SessionFields


class ResponseCreate(events.Event, tag="response.create", kw_only=True):
    response: ResponseFields = msgspec.field(default_factory=ResponseFields)


class ResponseCancel(events.Event, tag="response.cancel"):
    response_id: str | None = None


RealtimeEvent: TypeAlias = SessionUpdate | BufferAppend | BufferClear | BufferCommit | ResponseCreate | ResponseCancel
_EVENTS = events.by_type(RealtimeEvent)
_APPEND = msgspec.json.Decoder(BufferAppend)
_MOST_CHARACTERS = int(MAX_PROMPT_SECONDS * SAMPLE_RATE) * 2 * 4 // 3 + 4_096
"""Characters of a message with the base64 of the longest prompt."""
_NO_ITEMS = "keeps no conversation: a response continues the audio that was committed last"
_ELSEWHERE = {
    **dict.fromkeys(
        (f"conversation.item.{what}" for what in ("create", "delete", "retrieve", "truncate")),
        f"This server {_NO_ITEMS}.",
    ),
    "output_audio_buffer.clear": "This server has no output buffer; send response.cancel, and stop playing.",
}
"""Events of the API that there is nothing for, and what is told."""
_MOST_ID = 512
"""Characters of an event's id that an error repeats; the API allows no longer ones."""
_Metadata: TypeAlias = Annotated[
    dict[Annotated[str, msgspec.Meta(max_length=64)], Annotated[str, msgspec.Meta(max_length=512)]],
    msgspec.Meta(max_length=16),
]
_CONTINUES = "the model only continues audio"
_CANNOT: dict[str, tuple[list[Any], str]] = {
    "audio.input.noise_reduction": ([], "the prompt is taken as it is; leave it out"),
    "audio.input.transcription": ([], "nothing is transcribed here; leave it out"),
    "audio.input.turn_detection": (
        [],
        "turns are not detected here; send null, then input_audio_buffer.commit and response.create",
    ),
    "audio.output.speed": ([1], "audio has one speed here; leave it out"),
    "audio.output.voice": ([], "the voice is that of the prompt; leave it out"),
    "input": ([], f"this server {_NO_ITEMS}; leave it out"),
    "instructions": ([""], f"{_CONTINUES} and follows no instructions; leave them out"),
    "output_modalities": ([["audio"]], f"{_CONTINUES} and writes no text; send ['audio']"),
    "prompt": ([], f"{_CONTINUES} and has no prompt templates; leave it out"),
    "reasoning": ([], f"{_CONTINUES} and does not reason; leave it out"),
    "tools": ([[]], f"{_CONTINUES} and calls no tools; leave them out"),
}
"""Fields that would change the answer, the values besides null that do not, and what is told of all others."""
_MOVED = {
    "input_audio_format": "audio.input.format",
    "input_audio_transcription": "audio.input.transcription",
    "max_response_output_tokens": "max_output_tokens",
    "modalities": "output_modalities",
    "output_audio_format": "audio.output.format",
    "turn_detection": "audio.input.turn_detection",
    "voice": "audio.output.voice",
}
"""Fields of the API's beta, and where they are now."""


def parse(text: str) -> RealtimeEvent:
    """Return a text message as an event.

    Raises:
        ApiError: it is too long, is not JSON, has no known type, a field is unknown, missing or of the wrong type, or
            it asks for something that this server cannot do. It has the event's id, where there is one to repeat.
    """
    events.require_text_size(text)
    message = events.parse_object(text, f"as base64 into {APPEND}")
    try:
        return _event_of(message)
    except ApiError as error:
        event_id = message.get("event_id")
        error.event_id = repeatable(event_id) if isinstance(event_id, str) else None
        raise


def _event_of(message: dict[str, Any]) -> RealtimeEvent:
    """Return the object of a message as an event. Raises ApiError, as ``parse``."""
    kind = message.get("type")
    if isinstance(kind, str) and kind in _ELSEWHERE:
        raise bad_value("type", _ELSEWHERE[kind], "unsupported")
    for place in ("session", "response"):
        for name in _MOVED.keys() & _fields(message, place):
            told = f"{place}.{name} is of the API's beta; its name is {place}.{_MOVED[name]} now."
            raise bad_value(f"{place}.{name}", told, "unknown_field")
    event: RealtimeEvent = events.convert_event(message, _EVENTS)
    match event:
        case SessionUpdate():
            _require_possible(event.session, "session")
        case ResponseCreate():
            _require_possible(event.response, "response")
        case _:
            pass
    return event


def decode_append(text: str) -> BufferAppend | None:
    """Return a message of any length as audio; None for a shorter one that is none, which ``parse`` reads.

    Raises:
        ApiError: it is longer than other messages may be, or than the longest prompt. It closes the session: a client
            that went on would cause the same work again and again.
    """
    if len(text) > _MOST_CHARACTERS:
        raise from_audio(too_long())
    try:
        return _APPEND.decode(text)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        if len(text) <= MAX_TEXT_BYTES:
            return None
        base64 = "$.audio" in str(error)
    if base64:
        raise ApiError(400, "bad_value", "audio must be base64.", "audio", close_code=POLICY_VIOLATION)
    told = f"A text message holds at most {MAX_TEXT_BYTES} characters, unless it is {APPEND} with base64."
    raise ApiError(413, "too_large", told)


def repeatable(event_id: str | None) -> str | None:
    """Return the id of an event for an error, None where it is too long."""
    return None if event_id is None or len(event_id) > _MOST_ID else event_id


def frames_of(limit: TokenLimit, most_seconds: float, param: str) -> int | None:
    """Return the most frames of a response by its most tokens; None for no end.

    Raises:
        ApiError: 400, it is not in the range.
    """
    if not isinstance(limit, int):
        return None
    most = int(most_seconds * FRAME_RATE)
    Range(1, most, f"1 to {most} frames, {FRAME_RATE} a second, or 'inf'").check(limit, param)
    return limit


def seconds_of(fields: ResponseFields, session_limit: TokenLimit, most_seconds: float) -> tuple[float | None, bool]:
    """Return the seconds of a response, None until it is cancelled, and whether its most tokens decide.

    Raises:
        ApiError: 400, its most tokens are not in the range, or are given besides its seconds.
    """
    if fields.seconds is not UNSET:
        if isinstance(fields.max_output_tokens, int):
            told = "response.seconds and response.max_output_tokens say the same; leave one out."
            raise bad_value("response.max_output_tokens", told)
        return fields.seconds, False
    own = fields.max_output_tokens
    limit = session_limit if own is None or own is UNSET else own
    if limit is None or limit is UNSET:
        return DEFAULT_SECONDS, False
    frames = frames_of(limit, most_seconds, "response.max_output_tokens")
    return (None, False) if frames is None else (frames / FRAME_RATE, True)


def metadata_of(fields: ResponseFields) -> dict[str, str] | None:
    """Return the metadata, which the response repeats.

    Raises:
        ApiError: 400, there is more than the API allows.
    """
    if fields.metadata is None:
        return None
    try:
        return msgspec.convert(fields.metadata, _Metadata)
    except msgspec.ValidationError:
        told = "response.metadata is at most 16 texts of 512 characters, each under a name of at most 64."
        raise bad_value("response.metadata", told) from None


def _fields(message: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    found = message.get(place)
    return found if isinstance(found, dict) else {}


def _require_possible(fields: SessionFields | ResponseFields, place: str) -> None:
    for path, (neutral, told) in _CANNOT.items():
        value: Any = fields
        for name in path.split("."):
            value = getattr(value, name, None)
        if value is not None and value not in neutral:
            raise bad_value(f"{place}.{path}", f"{place}.{path} is not supported: {told}.", "unsupported")
