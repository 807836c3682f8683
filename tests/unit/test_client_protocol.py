"""The client's state machine, without a socket."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response
from whispergpt_client import Client, WhisperGPTError
from whispergpt_client.continuation import parse_server_timing
from whispergpt_client.errors import refused_upgrade
from whispergpt_client.protocol import Phase, StreamProtocol, StreamRequest
from whispergpt_client.request import Pieces
from whispergpt_client.resumption import Checkpoint, Resumption

from whispergpt.server.parameters import frames_for

DONE = {"id", "status", "frames", "seed", "time_to_first_audio_ms", "realtime_factor"}
"""Fields of ``response.done``'s response (docs/protocol.md)."""


def event(type: str, **fields: Any) -> str:
    return json.dumps({"type": type, **fields})


def sent(protocol: StreamProtocol) -> list[dict[str, Any]]:
    return [json.loads(message) for message in protocol.take_outgoing()]


def created(request: StreamRequest) -> StreamProtocol:
    """A response that waits for its slot."""
    protocol = StreamProtocol(request)
    protocol.receive(event("session.created", session={"id": "s"}))
    protocol.receive(event("session.updated", session={"model": "speech"}))
    protocol.uploaded()
    protocol.receive(event("input_audio_buffer.committed", seconds=1.0))
    return protocol


def playing(request: StreamRequest) -> StreamProtocol:
    protocol = created(request)
    protocol.receive(event("response.created", response={"id": "r", "seed": 4}))
    return protocol


def test_a_whole_response() -> None:
    protocol = playing(StreamRequest(seconds=None, pace="fast", sample_rate=16_000, seed=3, temperature=0))
    messages = sent(protocol)
    assert [message["type"] for message in messages] == [
        "session.update",
        "input_audio_buffer.commit",
        "response.create",
    ]
    assert messages[0]["session"] == {
        "input": {"format": "pcm_s16le", "sample_rate": 16_000},
        "output": {"format": "pcm_s16le"},
        "pace": "fast",
        "seed": 3,
        "temperature": 0,
    }
    assert messages[2]["response"] == {"seconds": None}
    assert protocol.session == {"id": "s", "model": "speech"}
    assert protocol.receive(b"audio") == b"audio"
    protocol.cancel()
    assert sent(protocol) == [{"type": "response.cancel"}]
    assert protocol.receive(event("some.newer.event")) == b""
    assert protocol.receive(event("response.output_audio.done")) == b""
    assert protocol.receive(event("response.done", response={"status": "cancelled", "frames": 1})) == b""
    assert protocol.phase is Phase.DONE
    assert protocol.response == {"status": "cancelled", "frames": 1}
    protocol.cancel()
    assert sent(protocol) == []


def test_an_error_event_is_raised_as_it_is() -> None:
    protocol = playing(StreamRequest(seconds=1))
    error = {"type": "capacity_error", "code": "no_capacity", "message": "All slots play.", "param": None}
    with pytest.raises(WhisperGPTError, match="All slots play") as raised:
        protocol.receive(event("error", error=error))
    assert (raised.value.type, raised.value.code, raised.value.param) == ("capacity_error", "no_capacity", None)


def test_a_failed_response_is_not_done_before_its_error_came() -> None:
    protocol = playing(StreamRequest(seconds=1))
    protocol.receive(event("response.done", response={"status": "failed"}))
    assert protocol.response == {"status": "failed"}
    assert protocol.phase is Phase.FAILED
    with pytest.raises(WhisperGPTError, match="engine stopped"):
        protocol.receive(event("error", error={"message": "The engine stopped."}))


@pytest.mark.parametrize("message", ["not JSON", "[]", "{}", event("response.created"), event("session.updated")])
def test_a_server_that_breaks_the_protocol(message: str) -> None:
    with pytest.raises(WhisperGPTError) as raised:
        StreamProtocol(StreamRequest(seconds=1)).receive(message)
    assert raised.value.type == "protocol_error"


def test_audio_before_a_response_breaks_the_protocol() -> None:
    with pytest.raises(WhisperGPTError, match="audio while this client was opening"):
        StreamProtocol(StreamRequest(seconds=1)).receive(b"audio")


def test_server_timing() -> None:
    assert parse_server_timing('queue;dur=0.5, encode;desc="x";dur=12, total') == {"queue": 0.5, "encode": 12.0}
    assert parse_server_timing("") == {}


def lost_after(frames: int) -> StreamProtocol:
    protocol = playing(StreamRequest(seconds=2.0))
    protocol.receive(event("response.checkpoint", frame=0, resume_token="t"))
    protocol.receive(bytes(640 * frames))
    return protocol


def test_a_response_goes_on_from_what_was_heard() -> None:
    protocol = StreamProtocol(StreamRequest(seconds=2.0, seed=4, model="speech", pace="fast"), lost_after(40))
    protocol.cancel()
    protocol.receive(event("session.created", session={"sample_rate": 24_000, "frame_rate": 75}))
    protocol.receive(event("session.updated", session={}))
    update, create = sent(protocol)
    assert update["session"] == {"output": {"format": "pcm_s16le"}, "pace": "fast"}, "the rest is in the token"
    assert create["response"] == {"resume_token": "t", "from_frame": 40}
    protocol.receive(event("response.created"))
    assert sent(protocol) == [{"type": "response.cancel"}], "asked for while there was no connection"
    protocol.receive(bytes(640))
    assert protocol.frames == 41 and not protocol.whole


def test_all_was_heard() -> None:
    protocol = lost_after(150)
    assert protocol.whole
    assert protocol.finish() and protocol.phase is Phase.DONE
    assert protocol.response is not None and protocol.response["status"] == "completed"
    assert protocol.response["frames"] == 150 and protocol.response["seed"] == 4
    assert protocol.response.keys() == DONE, "what programs read of any response"
    protocol = lost_after(149)
    assert not protocol.whole and not protocol.finish()
    protocol.cancel()
    assert protocol.finish() and protocol.response is not None and protocol.response["status"] == "cancelled"


def test_what_is_wished_for_while_the_response_waits_is_asked_once_it_plays() -> None:
    protocol = created(StreamRequest(seconds=2.0))
    protocol.take_outgoing()
    protocol.pause(True)
    protocol.fork(7)
    protocol.change_sampling(0.5, None, None)
    assert sent(protocol) == []
    protocol.receive(event("response.created", response={"seed": 4}))
    assert [message["type"] for message in sent(protocol)] == ["session.update", "response.fork", "response.pause"]
    protocol = created(StreamRequest(seconds=2.0))
    protocol.take_outgoing()
    protocol.cancel()
    protocol.receive(event("response.created", response={"seed": 4}))
    assert [message["type"] for message in sent(protocol)] == ["response.cancel"], "once"


@pytest.mark.parametrize("pieces", [[b"abc", b"d", b"", b"efg"], [b"a", b"b", b"cdefg"]])
def test_no_sample_is_divided(pieces: list[bytes]) -> None:
    samples, file = Pieces("pcm"), Pieces("wav")
    whole = [samples.whole(piece) for piece in pieces]
    assert all(len(piece) % 2 == 0 for piece in whole) and b"".join(whole) == b"abcdef"
    assert [file.whole(piece) for piece in pieces] == pieces


@pytest.mark.parametrize("url", ["http://localhost:80O0", "http://", "localhost:8000", "ws://host"])
def test_a_url_that_is_none_is_said_in_a_sentence(url: str) -> None:
    with pytest.raises(ValueError, match="^The server's URL must look like http://host:port, not "):
        Client(url)


def test_a_proxy_that_needs_a_package_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(ValueError, match="names a proxy .* install the package, or unset the variable"):
        Client("http://127.0.0.1:9")


@pytest.mark.parametrize("field", ["seconds", "temperature", "top_p"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_say_is_not_asked(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{field} must be a finite number, not {value}\\.$"):
        StreamRequest(**{"seconds": 1.0, field: value})
    if field != "seconds":
        with pytest.raises(ValueError, match=f"^{field} must be a finite number, not {value}\\.$"):
            playing(StreamRequest(seconds=1.0)).change_sampling(
                **{"temperature": None, "top_k": None, "top_p": None, field: value}
            )


@pytest.mark.parametrize("seconds", [0, -1.0])
def test_nothing_is_not_asked(seconds: float) -> None:
    with pytest.raises(ValueError, match="^seconds must be above 0, not "):
        StreamRequest(seconds=seconds)


@pytest.mark.parametrize("seconds", [0.001, 0.28, 1.0, 1.12, 2.0, 2.24, 4.48, 20.0, 20.01])
def test_all_is_what_the_server_makes(seconds: float) -> None:
    """Not a frame more, where 0.28 · 75 is a little above 21 in binary: it could not be resumed for."""
    protocol, makes = StreamProtocol(StreamRequest(seconds=seconds)), frames_for(seconds)
    protocol.frames = makes - 1
    assert not protocol.whole
    protocol.frames = makes
    assert protocol.whole


def test_losses_without_progress_share_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("whispergpt_client.resumption.time.monotonic", lambda: now)
    lost = WhisperGPTError("server_error", "engine_lost", "gone")
    tries, point = Resumption(1.0), Checkpoint(0, "t")
    assert tries.begin(lost, point, frames=7) == 0.0
    assert tries.wait_after(lost) == 0.1 and tries.begin(lost, point, frames=7) == 0.2
    now += 0.9
    with pytest.raises(WhisperGPTError, match="gone"):
        tries.wait_after(lost)
    assert tries.begin(lost, point, frames=8) == 0.0, "more was heard: the time begins anew"
    with pytest.raises(WhisperGPTError, match="gone"):
        tries.begin(lost, None, frames=9)
    with pytest.raises(WhisperGPTError, match="no such key"):
        tries.wait_after(WhisperGPTError("authentication_error", "wrong_key", "no such key"))


@pytest.mark.parametrize(
    ("body", "code", "again"),
    [
        (
            b'{"error": {"type": "unavailable_error", "code": "too_many_connections", "message": "m."}}',
            "too_many_connections",
            5,
        ),
        (b'{"status": "bad gateway"}', "unreachable", None),
        (b"<html>", "unreachable", None),
    ],
)
def test_a_refused_upgrade_is_the_servers_word_or_no_connection(body: bytes, code: str, again: float | None) -> None:
    """Either way another try may help: a stream goes on after it."""
    refusal = InvalidStatus(Response(503, "", Headers({"Retry-After": "5"}), body))
    told = refused_upgrade("ws://here", refusal)
    assert (told.code, told.retry_after) == (code, again)
    tries = Resumption(5)
    tries.begin(told, Checkpoint(0, "t"), 0)
