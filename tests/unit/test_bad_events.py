"""Every kind of message that does not fit its event: the sentence, code and field that its client is told."""

from __future__ import annotations

import pytest

from whispergpt.server.errors import ApiError
from whispergpt.server.session.events import parse_event

_TYPES = (
    "session.update, input_audio_buffer.clear, input_audio_buffer.commit, response.create, response.cancel, "
    "response.fork, response.pause, response.resume, response.feed, response.feed.cancel, playback.report."
)

SESSION_HAS = "there is model, input, output, seed, temperature, top_k, top_p, pace."
RESPONSE_HAS = "there is seconds, seed, temperature, top_k, top_p, resume_token, from_frame, feed."


@pytest.mark.parametrize(
    ("text", "code", "param", "told"),
    [
        (
            '{"type": 5}',
            "unknown_type",
            "type",
            f"There is no type 5; there is {_TYPES}",
        ),
        (
            '{"type": null}',
            "missing_field",
            "type",
            f"The message has no 'type'; there is {_TYPES}",
        ),
        (
            '{"type": ["response.create"]}',
            "unknown_type",
            "type",
            f"There is no type a list; there is {_TYPES}",
        ),
        (
            '{"type": {"a": 1}}',
            "unknown_type",
            "type",
            f"There is no type an object; there is {_TYPES}",
        ),
        (
            '{"type": ""}',
            "unknown_type",
            "type",
            f"There is no type ''; there is {_TYPES}",
        ),
        (
            '{"type": "response.create", "event_id": 5}',
            "bad_value",
            "event_id",
            "event_id must be text or null, not 5.",
        ),
        (
            '{"event_id": [], "type": "response.cancel"}',
            "bad_value",
            "event_id",
            "event_id must be text or null, not a list.",
        ),
        (
            '{"type": "response.cancel", "response": {}}',
            "unknown_field",
            "response",
            "There is no field 'response' here; there is event_id.",
        ),
        (
            '{"type": "input_audio_buffer.clear", "": 1}',
            "unknown_field",
            "",
            "There is no field '' here; there is event_id.",
        ),
        (
            '{"type": "input_audio_buffer.commit", "a.b": 1}',
            "unknown_field",
            "a.b",
            "There is no field 'a.b' here; there is event_id.",
        ),
        (
            '{"type": "response.pause", "' + "x" * 150 + '": 1}',
            "unknown_field",
            "" + "x" * 100,
            "There is no field '" + "x" * 100 + "' here; there is event_id.",
        ),
        ('{"type": "session.update", "event_id": "a"}', "missing_field", "session", "The field 'session' is missing."),
        ('{"type": "session.update", "event_id": 1}', "bad_value", "event_id", "event_id must be text or null, not 1."),
        ('{"type": "session.update", "session": null}', "bad_value", "session", "session must be an object, not null."),
        ('{"session": [], "type": "session.update"}', "bad_value", "session", "session must be an object, not a list."),
        (
            '{"type": "session.update", "session": "speech"}',
            "bad_value",
            "session",
            "session must be an object, not 'speech'.",
        ),
        (
            '{"type": "session.update", "session": {}, "extra": 1}',
            "unknown_field",
            "extra",
            "There is no field 'extra' here; there is event_id, session.",
        ),
        ('{"type": "playback.report"}', "missing_field", "played_frames", "The field 'played_frames' is missing."),
        (
            '{"type": "playback.report", "played_frames": "1"}',
            "bad_value",
            "played_frames",
            "played_frames must be a whole number, not '1'.",
        ),
        (
            '{"type": "playback.report", "played_frames": null}',
            "bad_value",
            "played_frames",
            "played_frames must be a whole number, not null.",
        ),
        (
            '{"type": "playback.report", "played_frames": 1.5}',
            "bad_value",
            "played_frames",
            "played_frames must be a whole number, not 1.5.",
        ),
        (
            '{"type": "playback.report", "played_frames": 1, "underruns": true}',
            "bad_value",
            "underruns",
            "underruns must be a whole number or null, not true.",
        ),
        (
            '{"type": "playback.report", "underruns": "x"}',
            "bad_value",
            "underruns",
            "underruns must be a whole number or null, not 'x'.",
        ),
        (
            '{"type": "playback.report", "underruns": 1}',
            "missing_field",
            "played_frames",
            "The field 'played_frames' is missing.",
        ),
        (
            '{"type": "response.fork", "seed": 1.0}',
            "bad_value",
            "seed",
            "seed must be a whole number or null, not 1.0.",
        ),
        (
            '{"type": "response.fork", "seed": {}}',
            "bad_value",
            "seed",
            "seed must be a whole number or null, not an object.",
        ),
        (
            '{"type": "response.fork", "sed": 1}',
            "unknown_field",
            "sed",
            "There is no field 'sed' here; there is event_id, seed.",
        ),
        (
            '{"type": "response.resume", "seed": 1}',
            "unknown_field",
            "seed",
            "There is no field 'seed' here; there is event_id.",
        ),
        (
            '{"type": "response.create", "response": null}',
            "bad_value",
            "response",
            "response must be an object, not null.",
        ),
        ('{"type": "response.create", "response": 5}', "bad_value", "response", "response must be an object, not 5."),
        (
            '{"type": "response.create", "response": {"seconds": null, "resume_token": 5}}',
            "bad_value",
            "response.resume_token",
            "response.resume_token must be text or null, not 5.",
        ),
        (
            '{"type": "response.create", "response": {"seconds": true}}',
            "bad_value",
            "response.seconds",
            "response.seconds must be a number or null, not true.",
        ),
        (
            '{"type": "response.create", "response": {"from_frame": 1.0}}',
            "bad_value",
            "response.from_frame",
            "response.from_frame must be a whole number or null, not 1.0.",
        ),
        (
            '{"type": "response.create", "response": {"from_frame": "0", "seconds": "x"}}',
            "bad_value",
            "response.from_frame",
            "response.from_frame must be a whole number or null, not '0'.",
        ),
        (
            '{"type": "response.create", "response": {"seconds": "x", "from_frame": "0"}}',
            "bad_value",
            "response.seconds",
            "response.seconds must be a number or null, not 'x'.",
        ),
        (
            '{"type": "response.create", "response": {"resume_token": ["a"]}}',
            "bad_value",
            "response.resume_token",
            "response.resume_token must be text or null, not a list.",
        ),
        (
            '{"type": "response.create", "response": {"session": {}}}',
            "unknown_field",
            "response.session",
            f"There is no field 'response.session' here; {RESPONSE_HAS}",
        ),
        (
            '{"type": "response.create", "response": {"response": {}}}',
            "unknown_field",
            "response.response",
            f"There is no field 'response.response' here; {RESPONSE_HAS}",
        ),
        (
            '{"type": "session.update", "session": {"model": 5, "seed": "x"}}',
            "bad_value",
            "session.model",
            "session.model must be text or null, not 5.",
        ),
        (
            '{"type": "session.update", "session": {"seed": "x", "model": 5}}',
            "bad_value",
            "session.seed",
            "session.seed must be a whole number or null, not 'x'.",
        ),
        (
            '{"type": "session.update", "session": {"seed": 1, "bogus": 2, "model": 5}}',
            "unknown_field",
            "session.bogus",
            f"There is no field 'session.bogus' here; {SESSION_HAS}",
        ),
        (
            '{"type": "session.update", "session": {"input": null}}',
            "bad_value",
            "session.input",
            "session.input must be an object, not null.",
        ),
        (
            '{"type": "session.update", "session": {"input": []}}',
            "bad_value",
            "session.input",
            "session.input must be an object, not a list.",
        ),
        (
            '{"type": "session.update", "session": {"input": {"format": null}}}',
            "bad_value",
            "session.input.format",
            "session.input.format must be file or pcm_s16le, not null.",
        ),
        (
            '{"type": "session.update", "session": {"input": {"format": ["file"]}}}',
            "bad_value",
            "session.input.format",
            "session.input.format must be file or pcm_s16le, not a list.",
        ),
        (
            '{"type": "session.update", "session": {"input": {"sample_rate": null}}}',
            "bad_value",
            "session.input.sample_rate",
            "session.input.sample_rate must be a whole number, not null.",
        ),
        (
            '{"type": "session.update", "session": {"input": {"sample_rate": 16000.0}}}',
            "bad_value",
            "session.input.sample_rate",
            "session.input.sample_rate must be a whole number, not 16000.0.",
        ),
        (
            '{"type": "session.update", "session": {"input": {"sample_rate": "16000"}}}',
            "bad_value",
            "session.input.sample_rate",
            "session.input.sample_rate must be a whole number, not '16000'.",
        ),
        (
            '{"type": "session.update", "session": {"input": {"rate": 16000}}}',
            "unknown_field",
            "session.input.rate",
            "There is no field 'session.input.rate' here; there is format, sample_rate.",
        ),
        (
            '{"type": "session.update", "session": {"input": {"sample_rate": 1, "format": "wav"}}}',
            "bad_value",
            "session.input.format",
            "session.input.format must be file or pcm_s16le, not 'wav'.",
        ),
        (
            '{"type": "session.update", "session": {"output": {"format": "mp3"}}}',
            "bad_value",
            "session.output.format",
            "session.output.format must be pcm_s16le or opus, not 'mp3'.",
        ),
        (
            '{"type": "session.update", "session": {"output": {"format": {}}}}',
            "bad_value",
            "session.output.format",
            "session.output.format must be pcm_s16le or opus, not an object.",
        ),
        (
            '{"type": "session.update", "session": {"output": {"sample_rate": 24000}}}',
            "unknown_field",
            "session.output.sample_rate",
            "There is no field 'session.output.sample_rate' here; there is format.",
        ),
        (
            '{"type": "session.update", "session": {"output": 5}}',
            "bad_value",
            "session.output",
            "session.output must be an object, not 5.",
        ),
        (
            '{"type": "session.update", "session": {"temperature": "1"}}',
            "bad_value",
            "session.temperature",
            "session.temperature must be a number or null, not '1'.",
        ),
        (
            '{"type": "session.update", "session": {"temperature": false}}',
            "bad_value",
            "session.temperature",
            "session.temperature must be a number or null, not false.",
        ),
        (
            '{"type": "session.update", "session": {"top_p": []}}',
            "bad_value",
            "session.top_p",
            "session.top_p must be a number or null, not a list.",
        ),
        (
            '{"type": "session.update", "session": {"top_k": 1e17}}',
            "bad_value",
            "session.top_k",
            "session.top_k must be a whole number or null, not 1e+17.",
        ),
        (
            '{"type": "session.update", "session": {"seed": -1.5}}',
            "bad_value",
            "session.seed",
            "session.seed must be a whole number or null, not -1.5.",
        ),
        (
            '{"type": "session.update", "session": {"pace": null}}',
            "bad_value",
            "session.pace",
            "session.pace must be realtime or fast, not null.",
        ),
        (
            '{"type": "session.update", "session": {"pace": true}}',
            "bad_value",
            "session.pace",
            "session.pace must be realtime or fast, not true.",
        ),
        (
            '{"type": "session.update", "session": {"pace": "Fast"}}',
            "bad_value",
            "session.pace",
            "session.pace must be realtime or fast, not 'Fast'.",
        ),
        (
            '{"type": "session.update", "session": {"pace": {}}}',
            "bad_value",
            "session.pace",
            "session.pace must be realtime or fast, not an object.",
        ),
        (
            '{"type": "session.update", "session": {"pace": "' + "x" * 60 + '"}}',
            "bad_value",
            "session.pace",
            "session.pace must be realtime or fast, not '" + "x" * 40 + "'.",
        ),
        (
            '{"type": "session.update", "session": {"model": false}}',
            "bad_value",
            "session.model",
            "session.model must be text or null, not false.",
        ),
        (
            '{"type": "session.update", "session": {"model": 1e300}}',
            "bad_value",
            "session.model",
            "session.model must be text or null, not a huge number.",
        ),
        (
            '{"type": "session.update", "session": {"' + "é" * 120 + '": 1}}',
            "unknown_field",
            "session." + "é" * 100,
            "There is no field 'session." + "é" * 100 + f"' here; {SESSION_HAS}",
        ),
        (
            '{"type": "session.update", "session": {"event_id": "a"}}',
            "unknown_field",
            "session.event_id",
            f"There is no field 'session.event_id' here; {SESSION_HAS}",
        ),
        (
            '{"type": "session.update", "session": {"type": "x"}}',
            "unknown_field",
            "session.type",
            f"There is no field 'session.type' here; {SESSION_HAS}",
        ),
    ],
)
def test_a_message_that_does_not_fit_is_told_its_first_mistake(
    text: str, code: str, param: str | None, told: str
) -> None:
    with pytest.raises(ApiError) as refused:
        parse_event(text)
    assert (refused.value.code, refused.value.param, refused.value.message) == (code, param, told)
    assert refused.value.status == 400
