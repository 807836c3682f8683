"""Events of OpenAI's Realtime API: what is taken, and what is told of all else."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from openai.types.realtime import RealtimeResponseCreateParams, RealtimeSessionCreateRequest

from whispergpt.server.errors import ApiError
from whispergpt.server.realtime import client_events
from whispergpt.server.realtime.client_events import (
    ResponseFields,
    SessionFields,
    decode_append,
    metadata_of,
    parse,
    seconds_of,
)
from whispergpt.server.session.events import MAX_TEXT_BYTES

PCM = {"type": "audio/pcm", "rate": 24_000}


def message(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})


def refusal(text: str) -> ApiError:
    with pytest.raises(ApiError) as refused:
        parse(text)
    assert refused.value.message.endswith(".")
    return refused.value


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("session.audio.input.turn_detection", {"type": "server_vad"}, "send null, then input_audio_buffer.commit"),
        ("session.audio.input.transcription", {"model": "whisper-1"}, "leave it out"),
        ("session.audio.input.noise_reduction", {"type": "near_field"}, "leave it out"),
        ("session.audio.output.voice", "marin", "the voice is that of the prompt"),
        ("session.audio.output.speed", 1.5, "leave it out"),
        ("session.instructions", "Be kind.", "leave them out"),
        ("session.output_modalities", ["text"], "send ['audio']"),
        ("session.tools", [{"type": "function", "name": "f"}], "leave them out"),
        ("session.prompt", {"id": "a"}, "leave it out"),
        ("response.input", [], "audio that was committed last"),
        ("response.instructions", "Be kind.", "leave them out"),
        ("response.audio.output.voice", {"id": "a"}, "leave it out"),
        ("session.audio.input.format.type", "audio/pcmu", "must be audio/pcm"),
        ("session.audio.input.format.rate", 16_000, "must be 24000"),
        ("session.type", "transcription", "must be realtime or null"),
        ("session.modalities", ["audio"], "its name is session.output_modalities now"),
        ("session.turn_detection", None, "its name is session.audio.input.turn_detection now"),
        ("session.seed", "1", "must be a whole number or null"),
        ("session.nonsense", 1, "no field"),
        ("response.seconds", "1", "must be a number or null"),
    ],
)
def test_a_field_that_cannot_be(place: str, value: Any, words: str) -> None:
    top, *between, last = place.split(".")
    fields: Any = {last: value}
    for name in reversed(between):
        fields = {name: fields}
    error = refusal(message("session.update" if top == "session" else "response.create", **{top: fields}))
    assert words in error.message and error.param == place and error.status == 400


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (message("conversation.item.create", item={}), "unsupported", "keeps no conversation"),
        (message("output_audio_buffer.clear"), "unsupported", "send response.cancel"),
        (message("response.fork"), "unknown_type", "there is session.update, input_audio_buffer.append"),
        (message("input_audio_buffer.append", audio="a b"), "bad_value", "audio must be base64"),
        (message("input_audio_buffer.append"), "missing_field", "'audio' is missing"),
        (message("session.update", session={"instructions": "a" * MAX_TEXT_BYTES}), "too_large", "at most 262144"),
        ("[]", "invalid_json", "JSON object"),
    ],
)
def test_a_message_that_cannot_be(text: str, code: str, words: str) -> None:
    error = refusal(text)
    assert error.code == code and words in error.message


def test_values_that_ask_for_nothing_are_taken() -> None:
    heard = {"format": PCM, "noise_reduction": None, "transcription": None, "turn_detection": None}
    session = {
        "type": "realtime",
        "model": "speech",
        "audio": {"input": heard, "output": {"format": PCM, "speed": 1.0}},
    }
    session |= {"instructions": "", "output_modalities": ["audio"], "tools": [], "tool_choice": "auto", "prompt": None}
    session |= {"include": [], "tracing": "auto", "truncation": "disabled", "parallel_tool_calls": True}
    update = parse(message("session.update", session={**session, "reasoning": None, "max_output_tokens": "inf"}))
    assert isinstance(update, client_events.SessionUpdate) and update.session.model == "speech"
    assert update.session.seed is UNSET and update.session.max_output_tokens == "inf"
    fields = {"conversation": "none", "metadata": {"a": "b"}, "output_modalities": ["audio"], "tool_choice": "none"}
    create = parse(message("response.create", event_id="a", response={**fields, "seconds": 1, "seed": 2}))
    assert isinstance(create, client_events.ResponseCreate) and (create.event_id, create.response.seconds) == ("a", 1)
    append = parse(message("input_audio_buffer.append", audio=base64.b64encode(b"\0\1\2").decode()))
    assert isinstance(append, client_events.BufferAppend) and append.audio == b"\0\1\2"


def test_every_field_of_the_api_is_known() -> None:
    assert set(SessionFields.__struct_fields__) >= RealtimeSessionCreateRequest.model_fields.keys()
    assert set(ResponseFields.__struct_fields__) >= RealtimeResponseCreateParams.model_fields.keys()


@pytest.mark.parametrize(
    ("fields", "limit", "seconds", "limited"),
    [
        ({}, None, 5, False),
        ({}, UNSET, 5, False),
        ({}, "inf", None, False),
        ({}, 75, 1, True),
        ({"max_output_tokens": 150}, 75, 2, True),
        ({"max_output_tokens": "inf"}, 75, None, False),
        ({"seconds": 3.0}, 75, 3, False),
        ({"seconds": None}, 75, None, False),
    ],
)
def test_how_long_a_response_is(fields: dict[str, Any], limit: Any, seconds: float | None, limited: bool) -> None:
    assert seconds_of(ResponseFields(**fields), limit, 60.0) == (seconds, limited)


@pytest.mark.parametrize(
    "fields", [{"max_output_tokens": 0}, {"max_output_tokens": 60 * 75 + 1}, {"max_output_tokens": 10, "seconds": 1.0}]
)
def test_a_length_that_cannot_be(fields: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refused:
        seconds_of(ResponseFields(**fields), None, 60.0)
    assert refused.value.param == "response.max_output_tokens"


@pytest.mark.parametrize("metadata", [{str(i): "" for i in range(17)}, {"a": "b" * 513}, {"a" * 65: ""}, {"a": 1}, []])
def test_metadata_is_bounded_as_in_the_api(metadata: Any) -> None:
    with pytest.raises(ApiError, match="at most 16 texts"):
        metadata_of(ResponseFields(metadata=metadata))


def test_a_long_message_is_audio_or_is_not_read() -> None:
    assert decode_append(message("session.update", session={})) is None
    append = decode_append(message("input_audio_buffer.append", audio=base64.b64encode(bytes(2_880_000)).decode()))
    assert append is not None and append.audio == bytes(2_880_000)
    for text, code, words in (
        (message("input_audio_buffer.append", audio="*" * MAX_TEXT_BYTES), "bad_value", "must be base64"),
        (message("input_audio_buffer.append", audio="", a=[[]] * MAX_TEXT_BYTES), "too_large", "unless it is"),
        (message("session.update", session={"instructions": "a" * MAX_TEXT_BYTES}), "too_large", "unless it is"),
        (message("input_audio_buffer.append", audio="AAAA" * 2**20), "too_long", "60 s"),
    ):
        with pytest.raises(ApiError, match=words) as refused:
            decode_append(text)
        assert refused.value.code == code and refused.value.close_code is not None


NAMES = [("session", name) for name in SessionFields.__struct_fields__]
NAMES += [("response", name) for name in ResponseFields.__struct_fields__]
VALUES = st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=9), lambda v: st.lists(v, max_size=3))


@given(st.sampled_from(NAMES), VALUES)
def test_no_value_is_too_odd(place: tuple[str, str], value: Any) -> None:
    kind = "session.update" if place[0] == "session" else "response.create"
    try:
        parse(message(kind, **{place[0]: {place[1]: value}}))
    except ApiError as error:
        assert error.status == 400 and error.message
