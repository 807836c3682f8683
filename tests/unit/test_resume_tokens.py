"""Resume tokens: sealed with a key, and nothing else is taken for one."""

from __future__ import annotations

import base64

import pytest

from whispergpt.engine.messages.events import ModelInfo, SnapshotTaken
from whispergpt.engine.stream_plan import DecoderState, SamplingParams, Snapshot
from whispergpt.server.errors import ApiError
from whispergpt.server.tokens.resume_tokens import MOST_SKIPPED, ResumeTokens, model_of

SAMPLING = SamplingParams(7, 0.9, 10, 0.95)
POINT = SnapshotTaken(3, 150, SAMPLING, Snapshot(bytes(range(80)), DecoderState(40, b"state")))
MODEL = ModelInfo("speech", 1, 24_000, 75, {}, "unknown", "f", 16, digest="abcd1234", resumable=True)
KEY = "a key that two servers share"


def test_a_token_says_what_was_sealed() -> None:
    token = ResumeTokens(KEY).open(ResumeTokens(KEY).seal(POINT, MODEL, 600))
    assert (token.model, token.digest, token.frame, token.frames) == ("speech", "abcd1234", 150, 600)
    assert (token.sampling, token.snapshot) == (SAMPLING, POINT.snapshot)
    assert model_of(token, {"speech": MODEL}) is MODEL


def test_only_the_same_key_opens_it() -> None:
    sealed = ResumeTokens(KEY).seal(POINT, MODEL, 600)
    for other in (ResumeTokens(KEY + "!"), ResumeTokens(None)):
        with pytest.raises(ApiError, match="none of this server's"):
            other.open(sealed)
    own = ResumeTokens(None)
    assert own.open(own.seal(POINT, MODEL, None)).frames is None


def test_no_bit_can_be_changed() -> None:
    tokens = ResumeTokens(KEY)
    data = base64.urlsafe_b64decode(tokens.seal(POINT, MODEL, 600))
    for place in range(0, len(data), 7):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(ApiError) as refused:
            tokens.open(base64.urlsafe_b64encode(changed).decode())
        assert (refused.value.status, refused.value.code, refused.value.param) == (
            400,
            "bad_token",
            "response.resume_token",
        )


@pytest.mark.parametrize("text", ["", "no", "ü", "A" * 100_000, "%%%%"])
def test_what_is_no_token(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        ResumeTokens(KEY).open(text)
    assert refused.value.code == "bad_token"


def test_a_model_must_be_here_with_the_same_weights() -> None:
    token = ResumeTokens(KEY).open(ResumeTokens(KEY).seal(POINT, MODEL, 600))
    with pytest.raises(ApiError, match="is not here"):
        model_of(token, {"piano": MODEL})
    with pytest.raises(ApiError, match="had other weights"):
        model_of(token, {"speech": ModelInfo("speech", 1, 24_000, 75, {}, "unknown", "f", 16, digest="00000000")})


def test_where_a_listener_may_go_on() -> None:
    tokens = ResumeTokens(KEY)
    ends, endless = (tokens.open(tokens.seal(POINT, MODEL, frames)) for frames in (200, None))
    assert (ends.first_sent(None), ends.first_sent(199), endless.first_sent(150 + MOST_SKIPPED)) == (150, 199, 450)
    for token, frame in ((ends, 149), (ends, 200), (endless, 451), (endless, -1)):
        with pytest.raises(ApiError) as refused:
            token.first_sent(frame)
        assert (refused.value.code, refused.value.param) == ("out_of_range", "response.from_frame")
